"""Specialists and networks that are timed and counted while they answer as they would."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from app import metrics
from app.metrics import Refusal
from planner.run import Tools
from reports.model import Box
from specialists.errors import Declined
from specialists.image import Image
from specialists.manifest import Manifest
from specialists.result import Result

if TYPE_CHECKING:
    from torch import Tensor

    from specialists.backbones.transunet import Features
    from specialists.features import FeatureCache
    from specialists.model import Output
    from specialists.runtime import Runner


class WatchedTools:
    """Specialists of one analysis or one question; `declined` is why one of them declined last."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.declined: Refusal | None = None

    @property
    def manifest(self) -> Manifest:
        """That of the specialists inside."""
        return self._tools.manifest

    @property
    def runtime(self) -> str:
        """That of the specialists inside."""
        return self._tools.runtime

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """As the specialist inside.

        Raises:
            Declined: it cannot answer for this image.
        """
        try:
            return self._tools.run(specialist_id, image, roi)
        except Declined as error:
            self.declined = metrics.refusal_of(error)
            metrics.DECLINES.labels(specialist_id, self.declined).inc()
            raise

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """As the specialists inside."""
        return self._tools.screen(specialist_id, images)


@runtime_checkable
class HasNetworks(Protocol):
    """Specialists that run networks and keep features; `specialists.engine.Engine` is one, stand-ins are not."""

    runner: "Runner"
    cache: "FeatureCache"


def watch_networks(tools: Tools) -> None:
    """Nothing; from now on the passes of these specialists, and looks for their features, are counted."""
    if isinstance(tools, HasNetworks) and not isinstance(tools.runner, WatchedRunner):
        tools.runner = WatchedRunner(tools.runner)
        tools.cache.looked = metrics.count_look


class WatchedRunner:
    """A `specialists.runtime.Runner` whose passes are timed; of several images in a pass, each waits for all."""

    def __init__(self, runner: "Runner") -> None:
        self._runner = runner

    @property
    def name(self) -> str:
        """That of the runner inside."""
        return self._runner.name

    def backbone(self, model_id: str, pixels: "Tensor") -> "Features":
        """As the runner inside."""
        started = time.perf_counter()
        features = self._runner.backbone(model_id, pixels)
        metrics.BACKBONE_SECONDS.labels(model_id).observe(time.perf_counter() - started)
        metrics.BACKBONE_IMAGES.labels(model_id).observe(len(pixels))
        return features

    def distance(self, model_id: str, features: "Features", field: "Tensor") -> "Tensor | None":
        """As the runner inside."""
        return self._runner.distance(model_id, features, field)

    def head(
        self, specialist_id: str, features: "Features", field: "Tensor", roi: "Tensor | None"
    ) -> "Output":
        """As the runner inside."""
        started = time.perf_counter()
        output = self._runner.head(specialist_id, features, field, roi)
        metrics.HEAD_SECONDS.labels(specialist_id).observe(time.perf_counter() - started)
        metrics.HEAD_IMAGES.labels(specialist_id).observe(len(field))
        return output
