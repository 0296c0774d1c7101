"""What made a report: its weights, its planner, and what their licences permit."""

from pydantic import Field, model_validator

from reports.data import Data, is_none

TERMS_UNSTATED = "it was made before reports stated what their weights may be used for"
"""The reason that `Provenance.research_only` gives for stored reports that state none.

It withholds them: what is not known to be permitted does not leave the deployment.
"""


class ModelRef(Data):
    """A weights file that took part, identified by the SHA-256 of its content."""

    id: str
    sha256: str


def _is_false(value: object) -> bool:
    """Return whether to leave a flag out of the JSON: it is true of few planners."""
    return value is False


class PlannerRef(ModelRef):
    """The planner that chose the steps; `licence` is that of its model's weights.

    `research_only` says that the licence allows research only; `blind` that the planner failed the
    test of whether it uses the image.
    """

    licence: str | None = Field(default=None, exclude_if=is_none)
    research_only: bool = Field(default=False, exclude_if=_is_false)
    blind: bool = Field(default=False, exclude_if=_is_false)

    @model_validator(mode="before")
    @classmethod
    def _without_released(cls, given: object) -> object:
        """Drop `released` from older reports; that setting is read when a report is to leave."""
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if name != "released"}
        return given


class Provenance(Data):
    """What made the report; `content_sha256` covers the results and what follows from them.

    `research_only` says, as a clause, which of the weights that made it may be used for research
    only, and why; null where none of them. `reports.release` decides by it whether the report may
    become final or leave the deployment.
    """

    code_version: str
    runtime: str
    models: tuple[ModelRef, ...]
    planner: PlannerRef
    content_sha256: str
    research_only: str | None = TERMS_UNSTATED
