"""Wrappers that time and count specialists and networks without changing their results."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from app.observability import metrics
from app.observability.metrics import Refusal
from planner.run import Tools
from reports.model import Box
from specialists.deadline import Deadline
from specialists.errors import Declined
from specialists.image import Image
from specialists.manifest import Manifest
from specialists.result import Result

if TYPE_CHECKING:
    from torch import Tensor

    from specialists.backbones.transunet import Features
    from specialists.model import Output
    from specialists.runtime.feature_cache import FeatureCache
    from specialists.runtime.runner import Runner


class InstrumentedTools:
    """The specialists of one analysis or one inference request.

    `declined` is why one of them last declined.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.declined: Refusal | None = None

    @property
    def manifest(self) -> Manifest:
        """Manifest of the wrapped specialists."""
        return self._tools.manifest

    @property
    def runtime(self) -> str:
        """Runtime of the wrapped specialists."""
        return self._tools.runtime

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Run the wrapped specialist.

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
        """Screen with the wrapped specialists."""
        return self._tools.screen(specialist_id, images)

    def with_deadline(self, deadline: Deadline) -> "InstrumentedTools":
        """Return the wrapped specialists with a deadline, counted on their own."""
        return InstrumentedTools(self._tools.with_deadline(deadline))


@runtime_checkable
class HasNetworks(Protocol):
    """Specialists that run networks and cache features.

    `specialists.engine.Engine` is one, stand-ins are not.
    """

    runner: "Runner"
    cache: "FeatureCache"


def watch_networks(tools: Tools) -> None:
    """Start to count the passes of these specialists and their feature cache requests."""
    if isinstance(tools, HasNetworks) and not isinstance(tools.runner, WatchedRunner):
        tools.runner = WatchedRunner(tools.runner)
        tools.cache.on_lookup = metrics.count_look


class WatchedRunner:
    """A `specialists.runtime.runner.Runner` whose passes are timed.

    Where several images share a pass, the time of each is that of the whole pass.
    """

    def __init__(self, runner: "Runner") -> None:
        self._runner = runner

    @property
    def name(self) -> str:
        """Name of the wrapped runner."""
        return self._runner.name

    def backbone(self, model_id: str, pixels: "Tensor") -> "Features":
        """Run the wrapped runner's backbone, timed."""
        started = time.perf_counter()
        features = self._runner.backbone(model_id, pixels)
        metrics.BACKBONE_SECONDS.labels(model_id).observe(time.perf_counter() - started)
        metrics.BACKBONE_IMAGES.labels(model_id).observe(len(pixels))
        return features

    def distance(self, model_id: str, features: "Features", field: "Tensor") -> "Tensor | None":
        """Return the distance from the wrapped runner."""
        return self._runner.distance(model_id, features, field)

    def head(
        self, specialist_id: str, features: "Features", field: "Tensor", roi: "Tensor | None"
    ) -> "Output":
        """Run the wrapped runner's head, timed."""
        started = time.perf_counter()
        output = self._runner.head(specialist_id, features, field, roi)
        metrics.HEAD_SECONDS.labels(specialist_id).observe(time.perf_counter() - started)
        metrics.HEAD_IMAGES.labels(specialist_id).observe(len(field))
        return output
