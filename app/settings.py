"""The settings: environment variables with the prefix USTRI_, listed in docs/settings.md."""

import hashlib
import ipaddress
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.errors import SettingsError

_SECRETS = ("api_key", "database_url", "redis_url")
"""Settings that a file may hold instead, as containers and service managers hand out secrets."""

ADDRESS_MAX = 500
"""Maximum length of a DICOMweb address in characters; the outbox stores no longer one."""


def _default_data_dir() -> Path:
    """Return the folder `ustri` in the XDG data home."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "ustri"


class Settings(BaseSettings):
    """How this installation runs; docs/settings.md lists the fields with their descriptions."""

    model_config = SettingsConfigDict(env_prefix="USTRI_", frozen=True, extra="forbid")

    data_dir: Annotated[
        Path,
        Field(description="Folder of the database, the images and your own specialists."),
    ] = Field(default_factory=_default_data_dir)
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy address of the store; unset: `ustri.db` in the data folder.",
    )
    database_url_file: Path | None = Field(
        default=None, description="File whose first line is that address, with its password."
    )
    redis_url: str | None = Field(
        default=None,
        description="Redis that wakes workers and viewers at once; "
        "unset: they look into the store.",
    )
    redis_url_file: Path | None = Field(
        default=None, description="File whose first line is that address, with its password."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    api_key: SecretStr | None = Field(
        default=None,
        description="Key that every request must carry; required unless the host is loopback.",
    )
    api_key_file: Path | None = Field(
        default=None, description="File whose first line is that key."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Further host names that the service answers to, as a JSON list.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where networks run."
    )
    runtime: Literal["auto", "torch", "openvino"] = Field(
        default="auto", description="What runs networks; `auto`: OpenVINO on the CPU, else torch."
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        default="auto",
        description="Arithmetic of networks in OpenVINO; `auto`: `fp32`, but `bf16` in heads and "
        "`int8` in networks that were shown to lose nothing by it, where the CPU is faster so. "
        "`int8`: in every network that has such a form, on any CPU.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="Cores that one network pass takes; unset: all."
    )
    planner: str = Field(
        default="auto",
        description="Who chooses the next step: `auto` (the planner that ships, where it is not "
        "worse than the rules and was trained on this backbone and for all exams of the router; "
        "else the rules), `rules`, or the folder of a LLaVA planner.",
    )
    planner_precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Precision of the planner; `auto`: bf16 on CUDA, fp32 on a CPU."
    )
    planner_margin: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="Margin below which the rules decide; unset: the planner's own.",
    )
    planner_step_s: float = Field(
        default=60.0,
        gt=0.0,
        description="Processor time in s that a planner's step may use; then the rules decide.",
    )
    planner_blind: bool = Field(
        default=False,
        description="Whether a planner may plan that failed the test of `ustri doctor`; "
        "its reports say so.",
    )
    accept_research_licence: Literal["no", "plan", "release"] = Field(
        default="no",
        description="What is accepted of weights for research only. `plan`: LLaVA-Med may plan; "
        "`release`: and reports that such weights made, all that ship among them, "
        "may become final and leave.",
    )
    limit_bytes: int = Field(
        default=33_554_432,
        ge=1024,
        description="Largest image file, and largest request of one image, in bytes.",
    )
    limit_batch_bytes: int = Field(
        default=134_217_728,
        ge=1024,
        description="Largest request of several files or of a ZIP archive, in bytes.",
    )
    limit_batch_files: int = Field(
        default=500,
        ge=1,
        description="Most files in one request, and most entries in one archive.",
    )
    limit_unpacked_bytes: int = Field(
        default=536_870_912,
        ge=1024,
        description="Most bytes that the archives of one request may hold unpacked.",
    )
    limit_pixels: int = Field(
        default=25_000_000, ge=4096, description="Largest image that is decoded, in pixels."
    )
    blacken_text: bool = Field(
        default=True,
        description="Whether text burned into pictures is found and blackened "
        "before they are stored and analysed.",
    )
    queue_limit: int = Field(
        default=64, ge=1, description="Analyses that may wait; more are answered with 429."
    )
    attempts_limit: int = Field(
        default=3, ge=1, description="Attempts at one step before an analysis is given up."
    )
    worker_threads: int = Field(
        default=2,
        ge=0,
        le=64,
        description="Analyses that one process works on at once; "
        "0: `ustri serve` leaves all to `ustri worker`.",
    )
    asks_limit: int = Field(
        default=32,
        ge=1,
        description="Direct questions to specialists that may wait; more are answered with 429.",
    )
    ask_s: float = Field(
        default=60.0, gt=0.0, description="Time within which such a question must be answered."
    )
    lease_s: float = Field(
        default=30.0, gt=0.0, description="Time after which a silent worker's job is taken over."
    )
    busy_s: float = Field(
        default=5.0, ge=0.0, description="Time to wait for a locked database before a 503."
    )
    start_wait_s: float = Field(
        default=60.0,
        ge=0.0,
        description="Time that a start waits for a database server that is not there yet.",
    )
    wait_s: float = Field(
        default=120.0,
        ge=0.0,
        description="Time that `POST /analyze` waits for its report before it answers 202.",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="Lines of the log; `auto`: text at a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of lines that are logged."
    )
    metrics_open: bool = Field(
        default=False,
        description="Whether `GET /metrics` of `ustri serve` is answered without the API key.",
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="Address at which `ustri worker` shows its metrics."
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port at which `ustri worker` shows its metrics, to anyone who reaches it; "
        "unset: nowhere.",
    )

    link_key_file: Path | None = Field(
        default=None,
        description="File of the keys that encrypt the way back to original DICOM files; "
        "unset: none is kept.",
    )
    dicomweb_url: str | None = Field(
        default=None, description="DICOMweb server that reports are sent to; unset: nowhere."
    )
    dicomweb_token_file: Path | None = Field(
        default=None, description="File whose first line is the bearer token for that server."
    )
    dicomweb_user: str | None = Field(default=None, description="User name at that server.")
    dicomweb_password_file: Path | None = Field(
        default=None, description="File whose first line is that user's password."
    )
    dicomweb_plain_http: bool = Field(
        default=False,
        description="Whether that server may be spoken to without TLS beyond this machine.",
    )
    push_attempts: int = Field(
        default=10, ge=1, description="Attempts at sending one instance before it is given up."
    )
    push_retry_s: float = Field(
        default=5.0,
        gt=0.0,
        description="Wait after the first failed attempt; doubled after each, up to an hour.",
    )

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, given: dict[str, object]) -> dict[str, object]:
        read = {name: _first_line(given, name) for name in _SECRETS if given.get(f"{name}_file")}
        return given | read

    @field_validator(
        *("api_key", "database_url", "redis_url", "link_key_file", "dicomweb_url", "dicomweb_user"),
        *("dicomweb_token_file", "dicomweb_password_file"),
        *("api_key_file", "database_url_file", "redis_url_file", "metrics_port"),
        mode="before",
    )
    @classmethod
    def _empty_is_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _key_beyond_loopback(self) -> Self:
        if self.api_key is None and not is_loopback(self.host):
            raise ValueError(
                f"USTRI_HOST is {self.host!r}, which other machines can reach, and USTRI_API_KEY "
                "is not set. Set USTRI_API_KEY, or listen on 127.0.0.1."
            )
        return self

    @model_validator(mode="after")
    def _openvino_on_the_cpu(self) -> Self:
        if self.runtime == "openvino" and self.device == "cuda":
            raise ValueError(
                "USTRI_RUNTIME is 'openvino', which runs on the CPU, and USTRI_DEVICE is 'cuda'."
            )
        return self

    @model_validator(mode="after")
    def _encrypted_destination(self) -> Self:
        if self.dicomweb_url is not None:
            try:
                address_of(self.dicomweb_url, self.dicomweb_plain_http)
            except ValueError as error:
                raise ValueError(f"USTRI_DICOMWEB_URL: {error}") from None
        return self

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        if (self.dicomweb_user is None) != (self.dicomweb_password_file is None):
            raise ValueError("USTRI_DICOMWEB_USER and USTRI_DICOMWEB_PASSWORD_FILE go together.")
        if self.dicomweb_user is not None and self.dicomweb_token_file is not None:
            raise ValueError(
                "Set USTRI_DICOMWEB_TOKEN_FILE, or USTRI_DICOMWEB_USER with its password file, "
                "not both."
            )
        return self

    @property
    def store_url(self) -> str:
        """The address of the store: as set, or else a SQLite file in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'ustri.db'}"

    @property
    def research_accepted(self) -> bool:
        """Whether reports made with weights for research only may become final and leave."""
        return self.accept_research_licence == "release"

    @property
    def images_dir(self) -> Path:
        """The folder of the stored images."""
        return self.data_dir / "images"

    @property
    def specialists_dir(self) -> Path:
        """The folder of the user's own manifest and weights."""
        return self.data_dir / "specialists"

    @property
    def cache_dir(self) -> Path:
        """The folder of compiled networks; it may be deleted at any time."""
        return self.data_dir / "cache"

    @property
    def key_digest(self) -> bytes | None:
        """SHA-256 digest of the API key; None where the service is open."""
        if self.api_key is None:
            return None
        return hashlib.sha256(self.api_key.get_secret_value().encode()).digest()


def _first_line(given: dict[str, object], name: str) -> str:
    """Return the secret from the file that `<name>_file` names.

    Raises:
        ValueError: the secret is also set directly, or the file cannot be read or is empty.
    """
    variable = f"USTRI_{name.upper()}"
    if given.get(name):
        raise ValueError(f"Set {variable} or {variable}_FILE, not both.")
    try:
        text = Path(str(given[f"{name}_file"])).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{variable}_FILE names no file that can be read.") from None
    line = text.strip().partition("\n")[0].strip()
    if not line:
        raise ValueError(f"{variable}_FILE names an empty file.")
    return line


def read_settings(**overrides: object) -> Settings:
    """Read the settings from the environment, with the given fields taking precedence.

    Raises:
        SettingsError: a value is missing or not valid; the message names the variable.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = []
        for issue in error.errors(include_input=False, include_url=False):
            name = "".join(f"USTRI_{str(part).upper()}: " for part in issue["loc"][:1])
            lines.append(name + issue["msg"].removeprefix("Value error, "))
        raise SettingsError("; ".join(lines)) from None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address_of(url: str, plain_http: bool = False) -> str:
    """Return that address in the form in which it is stored, without a trailing slash.

    Raises:
        ValueError: it is not the address of a DICOMweb server, holds a password, or would be used
            without encryption.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("https", "http") or len(url) > ADDRESS_MAX:
        raise ValueError("A DICOMweb address looks like https://pacs.example/dicom-web.")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "The DICOMweb address takes no user, password, query or fragment; "
            "name a token file, or a user and a password file."
        )
    if parts.scheme == "http" and not (plain_http or is_loopback(host)):
        raise ValueError(
            "The DICOMweb address is not encrypted (http://): reports and credentials could be "
            "read on their way. Use https://, or allow plain HTTP explicitly."
        )
    return url.strip().rstrip("/")


def code_version() -> str:
    """Return the installed version of this package; `source` where it is not installed."""
    try:
        return version("ustri")
    except PackageNotFoundError:
        return "source"
