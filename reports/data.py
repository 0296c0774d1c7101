"""What every part of a report's data is: frozen, closed, and without NaN."""

from pydantic import BaseModel, ConfigDict


class Data(BaseModel):
    """Hold one part of a report; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def is_none(value: object) -> bool:
    """Return whether to leave a field out: the JSON of reports without it keeps its form."""
    return value is None
