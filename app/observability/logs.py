"""Logging: one line per event, as text or JSON, with the ids of its request and analysis.

No line holds anything that was sent to the service. This package's own messages are written so; the
message of a library or of a foreign exception may quote what it read, so only its kind and its
place are kept.
"""

import json
import logging
import re
import sys
import traceback
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from app.errors import NotReady
from app.settings import Settings
from planner.errors import PlannerError
from specialists.errors import SpecialistError

log = logging.getLogger(__name__)

OURS = ("app", "planner", "specialists", "reports", "uvicorn")
"""Loggers that never quote what was sent; `uvicorn` logs when it starts and stops."""

FIELDS = ("request_id", "analysis_id", "method", "route", "status", "duration_ms")
"""Fields that a line may carry beside time, level, logger and message."""

_SAYS_NOTHING = "said something that is not kept here, since it may quote what was sent"
_TOLD = (NotReady, PlannerError, SpecialistError)
"""Errors whose messages quote nothing that was sent."""

_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")
_CHAIN_MAX = 8


@dataclass(frozen=True, kw_only=True)
class About:
    """The ids that the log lines of the running code carry."""

    request_id: str | None = None
    analysis_id: str | None = None


_NOTHING = About()
_ABOUT: ContextVar[About] = ContextVar("about", default=_NOTHING)


def this_request() -> str | None:
    """Return the id of the request that is being answered, or that asked for the running work."""
    return _ABOUT.get().request_id


@contextmanager
def about(*, request_id: str | None = None, analysis_id: str | None = None) -> Iterator[None]:
    """Add ids to the log lines of this thread or task while the context is open.

    Ids that are not given keep their value from the surrounding context.
    """
    here = _ABOUT.get()
    if request_id is not None:
        here = replace(here, request_id=request_id)
    if analysis_id is not None:
        here = replace(here, analysis_id=analysis_id)
    token = _ABOUT.set(here)
    try:
        yield
    finally:
        _ABOUT.reset(token)


def request_id_of(given: str | None) -> str:
    """Return the given id if it has 8 to 64 letters, digits and . _ -; otherwise a new one."""
    return given if given is not None and _SANE.fullmatch(given) else uuid.uuid4().hex


class TextFormatter(logging.Formatter):
    """A formatter for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as time of day, level, message, then fields."""
        fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{time} {record.levelname:<7} {message_of(record)}"
        return "\n".join([f"{line}  {fields}".rstrip(), *trace_of(record)])


class JsonFormatter(logging.Formatter):
    """A formatter for machines: one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as an object; `trace` is present when an exception is logged."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
            **fields_of(record),
        }
        if trace := trace_of(record):
            line["trace"] = trace
        return json.dumps(line, ensure_ascii=False)


def message_of(record: logging.LogRecord) -> str:
    """Return the record's message in one line; for a library's record, only its origin."""
    if record.name.partition(".")[0] in OURS:
        return " ".join(record.getMessage().split())
    return f"{Path(record.pathname).name}:{record.lineno} {_SAYS_NOTHING}."


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the record's fields named in `FIELDS`, without those that are unknown."""
    around = _ABOUT.get()
    given = {name: getattr(record, name, getattr(around, name, None)) for name in FIELDS}
    return {name: value for name, value in given.items() if value is not None}


def trace_of(record: logging.LogRecord) -> list[str]:
    """Return the record's exception with its causes first, one line per frame and error.

    Only places and kinds are given; messages only of `_TOLD` errors.
    """
    error = record.exc_info[1] if record.exc_info else None
    chain: list[BaseException] = []
    while error is not None and len(chain) < _CHAIN_MAX:
        chain.append(error)
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
    lines: list[str] = []
    for one in reversed(chain):
        lines += [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(one.__traceback__)
        ]
        lines.append(f"{type(one).__name__}: {one}" if isinstance(one, _TOLD) else _kind(one))
    return lines


def _kind(error: BaseException) -> str:
    """Return the error's class name; for a group, also those of the errors in it."""
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{name} of {', '.join(_kind(one) for one in error.exceptions)}"
    return name


def handler_of(settings: Settings, stream: TextIO) -> logging.Handler:
    """Return a handler that writes to `stream` in the format of the settings."""
    handler = logging.StreamHandler(stream)
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and stream.isatty())
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    return handler


def set_up_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Set this process up to log to `stream` (standard error by default) as the settings state."""
    root = logging.getLogger()
    root.handlers[:] = [handler_of(settings, stream or sys.stderr)]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level.upper())
    warnings.showwarning = _show_warning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log where Python warned and of what kind; the message may quote what was sent."""
    log.warning("%s at %s:%d.", category.__name__, Path(filename).name, lineno)
