"""The card of a planner's weights: `planner.toml` beside them."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.errors import ExamsMisfit, StepsMisfit
from planner.protocols import Protocols
from reports.model import ExamCode
from specialists.errors import WeightsError
from specialists.manifest import Metric, Threshold

CARD = "planner.toml"

LLAVA_MED_LICENCE = (
    "LLaVA-Med v1.5 (llava-med-v1.5-mistral-7b): by its model card the weights may be used for "
    "research only, not for clinical care or any clinical decision, and not in a deployed system."
)
"""The intended and out-of-scope uses stated in the model card.

See https://huggingface.co/microsoft/llava-med-v1.5-mistral-7b.
"""

UNCALIBRATED = Threshold(
    value=0.25, source="not calibrated: no figures of this checkpoint are known here"
)
"""The margin required of weights that come without a card."""


class TemplateText(BaseModel):
    """The text before the image and after the answer's cue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: str = ""
    after: str = ""


class PlannerCard(BaseModel):
    """A planner's name, hash, licence and figures.

    `sha256` is that of `model.safetensors`. `not_worse_than_rules` says whether the evaluation
    allows the planner to be the default. `exams` are those that it was trained on. `steps_sha256`
    is that of the protocols' steps and rules (`Protocols.steps_sha256`) that it learnt; None in the
    cards of planners that were trained before cards stated it. `orders` is how many rotations of
    the actions' order a step is scored over, where fewer than all were measured to decide the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    research_only: bool = False
    margin: Threshold
    orders: Annotated[int, Field(ge=1)] | None = None
    not_worse_than_rules: bool = False
    exams: tuple[ExamCode, ...] = ()
    steps_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    template: TemplateText = TemplateText()
    metrics: tuple[Metric, ...] = ()


def read_card(folder: Path) -> PlannerCard | None:
    """Return the card in that folder; None if there is none.

    Raises:
        WeightsError: the card is unreadable; the message names the file.
    """
    path = folder / CARD
    if not path.exists():
        return None
    try:
        return PlannerCard.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise WeightsError(f"The planner's card {path} cannot be used: {error}") from error


def check_exams(card: PlannerCard, served: Iterable[ExamCode]) -> None:
    """Check that the planner was trained on every exam that is served.

    Raises:
        ExamsMisfit: it was not; the message names the exams that it lacks.
    """
    if lacking := [exam.value for exam in served if exam not in card.exams]:
        taught = ", ".join(card.exams) or "none that its card names"
        raise ExamsMisfit(
            f"The planner was taught these exams: {taught}; "
            f"the router tells {', '.join(lacking)} apart too: train the planner again."
        )


def check_steps(card: PlannerCard, protocols: Protocols) -> None:
    """Check that the planner was trained on the steps and rules that hold here.

    Raises:
        StepsMisfit: it was not, or its card does not say.
    """
    if card.steps_sha256 == protocols.steps_sha256:
        return
    learnt = "does not say which" if card.steps_sha256 is None else card.steps_sha256[:12] + "…"
    raise StepsMisfit(
        "The planner was taught other protocol steps, or other rules of when it may stop, than "
        f"hold here (its card: {learnt}; here: {protocols.steps_sha256[:12]}…): "
        "train the planner again."
    )
