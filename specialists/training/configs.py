"""Training configurations from TOML, so that a whole run follows from one file and one seed."""

import tomllib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from specialists.errors import TrainingError
from specialists.training.generalist import GeneralistConfig

GENERALIST = Path(__file__).with_name("generalist.toml")


def read_generalist_config(path: Path | None) -> GeneralistConfig:
    """Return the Stage I configuration from that file, or the shipped backbone's.

    Raises:
        TrainingError: the file is not readable or has wrong keys or values.
    """
    path = path or GENERALIST
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(GeneralistConfig).validate_python(document)
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise TrainingError(f"The configuration {path} cannot be used: {error}") from error
