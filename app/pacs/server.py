"""The DICOMweb server that reports are sent to: its address and the credentials for it."""

import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.errors import CredentialsUnreadable, SettingsError
from app.settings import Settings, address_of

_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A bearer token, or a user with a password, or nothing; secrets are not in the repr."""

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A server's address without a trailing slash, and the files of the credentials for it."""

    url: str
    token_file: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the destination that the settings name; None where they name none.

        Raises:
            SettingsError: its token or password file cannot be read, or dicomweb-client is not
                installed.
        """
        if settings.dicomweb_url is None:
            return None
        check_client()
        made = cls(
            url=address_of(settings.dicomweb_url, settings.dicomweb_plain_http),
            token_file=settings.dicomweb_token_file,
            user=settings.dicomweb_user,
            password_file=settings.dicomweb_password_file,
        )
        made.check()
        return made

    def check(self) -> None:
        """Read the credentials once, so that a wrong file is told of at the start.

        Raises:
            SettingsError: the token or password file cannot be read.
        """
        try:
            self.credentials()
        except CredentialsUnreadable as error:
            raise SettingsError(str(error)) from error

    def credentials(self) -> Credentials:
        """Read the credentials as their files hold them now; they may be renewed at any time.

        Raises:
            CredentialsUnreadable: a file cannot be read, is empty, or holds no bearer token.
        """
        token = None if self.token_file is None else _secret(self.token_file)
        if token is not None and not _TOKEN.fullmatch(token):
            raise CredentialsUnreadable(
                f"The first line of {self.token_file} is no bearer token: "
                "those have neither blanks nor letters beyond ASCII."
            )
        password = None if self.password_file is None else _secret(self.password_file)
        return Credentials(token=token, user=self.user, password=password)


def check_client() -> None:
    """Check that dicomweb-client is installed.

    Raises:
        SettingsError: dicomweb-client is not installed.
    """
    if importlib.util.find_spec("dicomweb_client") is None:
        raise SettingsError("dicomweb-client is not installed: pip install 'ustri[dicom]'.")


def _secret(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        CredentialsUnreadable: the file cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsUnreadable(f"The file {path} cannot be read as text.") from error
    if not lines or not lines[0].strip():
        raise CredentialsUnreadable(
            f"The file {path} is empty; its first line is the token or password."
        )
    return lines[0].strip()
