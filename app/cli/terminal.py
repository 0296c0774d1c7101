"""What every command shares: exit codes, consoles, settings, and errors as one line."""

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.errors import (
    ImageRejected,
    RequestRejected,
    ServiceError,
    SettingsError,
    StoreUnavailable,
)
from app.settings import Settings, read_settings
from reports.errors import ReportError
from specialists.errors import (
    Rejected,
    SpecialistError,
    TrainingError,
    Unavailable,
    WeightsError,
)


class Exit(IntEnum):
    """The exit codes; the table in the help is made from `MEANING`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INPUT = 3
    SETUP = 4
    REFUSED = 5
    INCOMPLETE = 6


MEANING = {
    Exit.OK: "done",
    Exit.FAILED: "something failed that is not your input",
    Exit.USAGE: "wrong command or option",
    Exit.INPUT: "the image or the data cannot be read or used",
    Exit.SETUP: "weights, settings or an extra are missing or not right",
    Exit.REFUSED: "analyze: there is a report, and its outcome is refused",
    Exit.INCOMPLETE: "predict: no row could be predicted; "
    "push: some instances still wait to be sent",
}

EXTRAS = {
    "highdicom": "dicom",
    "matplotlib": "train",
    "nncf": "train",
    "pydicom": "dicom",
    "redis": "queue",
    "reportlab": "dicom",
}
"""The extra that brings a module, where that is not `ml`."""

out = Console()
err = Console(stderr=True)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store; over USTRI_DATA_DIR.")
]
BlackenText = Annotated[
    bool,
    typer.Option(
        "--blacken-text",
        help="Blacken text burned into the images, as the service does; else none is looked for.",
    ),
]


def settings_with(data_dir: Path | None = None, **changes: object) -> Settings:
    """Return the settings of the environment, changed where a command was given other values."""
    given = {name: value for name, value in changes.items() if value is not None}
    return read_settings(**given, **({} if data_dir is None else {"data_dir": data_dir}))


@contextlib.contextmanager
def errors_as_exits() -> Iterator[None]:
    """End the process with one line and the matching exit code for every known error."""
    try:
        yield
    except (ImageRejected, RequestRejected, Rejected, TrainingError) as error:
        _end(error, Exit.INPUT)
    except (SettingsError, StoreUnavailable, WeightsError, Unavailable) as error:
        _end(error, Exit.SETUP)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(str(error.name), "ml")
        _end(error, Exit.SETUP, f"{error.name} is not installed: pip install 'ustri[{extra}]'.")
    except (ServiceError, SpecialistError, ReportError) as error:
        _end(error, Exit.FAILED)
    except OSError as error:
        what = error.filename or "The file"
        _end(error, Exit.INPUT, f"{what}: {error.strerror or error}.")


@contextlib.contextmanager
def text_blackened(wanted: bool) -> Iterator[None]:
    """Blacken the text of every image of a data root that is read inside, where that is wanted.

    Raises:
        SettingsError: it is wanted, and what finds text is not installed.
    """
    if not wanted:
        yield
        return
    from app.images.burned_in.finder import Blackener, text_finder
    from specialists.training.data.readable import blackening

    text_finder(wanted)
    with blackening(Blackener()):
        yield


def _end(error: Exception, code: Exit, message: str | None = None) -> None:
    err.print(
        f"ustri: {message or error}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(code) from error
