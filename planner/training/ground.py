"""What training and evaluation rest on: manifest, protocols, requests, and surveyed images."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from planner.exam import routed_exams, unserved
from planner.protocols import Protocols, read_protocols
from planner.training.config import PlannerConfig
from planner.training.data.images import Kind
from planner.training.data.survey import Eyes, Survey, choose_pictures, survey
from planner.training.learning.network import tower_of
from planner.training.requests.grammar import RequestSampler, read_grammar
from reports.model import ExamCode
from specialists.backbones.transunet import Features
from specialists.errors import TrainingError
from specialists.image import Image
from specialists.manifest import Manifest, read_manifest
from specialists.model import level_widths


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What training and evaluation rest on.

    It holds the models of the survey, the manifest, the protocols and the grammar of requests.
    """

    eyes: Eyes
    manifest: Manifest
    protocols: Protocols
    sampler: RequestSampler

    @property
    def routed(self) -> tuple[ExamCode, ...]:
        """The exams that the router distinguishes."""
        return routed_exams(self.manifest, self.protocols.router.specialist)

    @property
    def taught(self) -> tuple[ExamCode, ...]:
        """Those of the router's exams that the grammar of requests has words for."""
        return tuple(exam for exam in self.routed if exam in self.sampler.grammar.exams)

    @property
    def shown(self) -> tuple[ExamCode, ...]:
        """The exams taught and, so that a planner recognises them, those refused by name."""
        return tuple(exam for exam in self.routed if exam in self.taught or self.refused(exam))

    def refused(self, exam: ExamCode) -> str | None:
        """Return why the exam is refused by name, or None if it is served."""
        return unserved(exam, self.protocols, self.manifest)


def stand_on(user_dir: Path | None) -> Ground:
    """Return what training and evaluation rest on, with the user's own specialists if any.

    Raises:
        TrainingError: the router is not installed.
    """
    manifest, protocols = read_manifest(user_dir), read_protocols()
    router = manifest.specialists[protocols.router.specialist]
    if not router.installed:
        raise TrainingError("The router is not installed, so that there is no state to plan from.")
    eyes = Eyes(user_dir=user_dir, tower=tower_of(manifest.models[router.model]))
    return Ground(
        eyes=eyes,
        manifest=manifest,
        protocols=protocols,
        sampler=RequestSampler(read_grammar(), protocols),
    )


def survey_of(ground: Ground, data: Path, out: Path, split: str, config: PlannerConfig) -> Survey:
    """Return the survey of that split of the data, kept in `out`.

    Raises:
        TrainingError: the data cannot be used.
    """
    labels = ground.manifest.specialists[ground.protocols.router.specialist].labels
    shows = {labels.index(exam): exam for exam in ground.shown}
    wanted = [item for item in choose_pictures(data, shows, config.extent) if item.split == split]
    return survey(ground.eyes, wanted, out, config.jobs)


class SurveyedBackbone:
    """A stand-in for the backbone that returns surveyed cells: no image is encoded again.

    With `blind`, every image has the mean cells of all real images.
    """

    def __init__(self, ground: Ground, surveyed: Survey, *, blind: bool = False) -> None:
        self._ground = ground
        self._features = surveyed.features
        self._places = {row.info.sha256: index for index, row in enumerate(surveyed.rows)}
        real = surveyed.of("val", Kind.REAL)
        self._mean = surveyed.features[real].float().mean(0) if blind else None

    def backbone_sha256(self, model_id: str) -> str | None:
        """Return the SHA-256 of the backbone that the survey used; None for another model."""
        tower = self._ground.eyes.tower
        return tower.backbone_sha256 if model_id == tower.model else None

    def features(self, image: Image, model_id: str) -> Features:
        """Return the image's levels, as coarse as the planner's grid."""
        if self._mean is not None:
            return self._levels(self._mean)
        return self._levels(self._features[self._places[image.key]].float())

    def _levels(self, cells: Tensor) -> Features:
        """Return (g², C) cells as levels, (1, C, g, g).

        Pooling to the same grid leaves these levels unchanged.
        """
        tower = self._ground.eyes.tower
        widths = level_widths(self._ground.manifest.models[tower.model])
        grid = cells.T.reshape(1, -1, tower.grid, tower.grid)
        parts = torch.split(grid, [widths[level] for level in tower.levels], dim=1)
        return dict(zip(tower.levels, parts, strict=True))
