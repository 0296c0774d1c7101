"""The DICOMweb server that reports are sent to: its address and the credentials for it."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.errors import SettingsError
from app.settings import Settings, address_of


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A server's address without a trailing slash, and credentials; secrets are not in the repr."""

    url: str
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

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
        return cls(
            url=address_of(settings.dicomweb_url, settings.dicomweb_plain_http),
            token=secret_of(settings.dicomweb_token_file),
            user=settings.dicomweb_user,
            password=secret_of(settings.dicomweb_password_file),
        )


def check_client() -> None:
    """Check that dicomweb-client is installed.

    Raises:
        SettingsError: dicomweb-client is not installed.
    """
    if importlib.util.find_spec("dicomweb_client") is None:
        raise SettingsError("dicomweb-client is not installed: pip install 'ustri[dicom]'.")


def secret_of(path: Path | None) -> str | None:
    """Return the first line of a file; None for no file.

    Raises:
        SettingsError: the file cannot be read, or is empty.
    """
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {path} cannot be read as text.") from error
    if not lines or not lines[0].strip():
        raise SettingsError(f"The file {path} is empty; its first line is the token or password.")
    return lines[0].strip()
