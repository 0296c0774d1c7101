"""The configuration of a training of the small planner, and of its evaluation."""

from dataclasses import dataclass, field
from pathlib import Path

from planner.training.data.survey import Extent
from planner.training.learning.decisions import LearnConfig
from planner.training.learning.pretraining import ReadConfig


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """The configuration of a whole training of the small planner.

    With the data and the specialists it determines the result.
    """

    read: ReadConfig = field(default_factory=ReadConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    extent: Extent = field(default_factory=Extent)
    episodes: int = 12_000
    words: Path | None = None
    """Word vectors for a new planner; without them it knows only the words of training requests."""
    init: Path | None = None
    """Folder of a planner whose language model a new one starts from; without it, at random."""
    judged: float = 1.0
    """Share of the usual number of scenes that the planner is calibrated and evaluated on."""
    jobs: int = 1
