"""Cache of the backbone's features of an image.

With it all specialists of an analysis share one backbone pass.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from specialists.admission.limits import Place
from specialists.admission.quality import Quality
from specialists.backbones.transunet import Features
from specialists.deadline import Deadline
from specialists.letterbox import Letterbox
from specialists.views import PLAIN, View


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One image after the backbone."""

    features: Features
    field: Tensor
    """(1, 1, S, S) float32, 1 where the letterbox holds image."""
    box: Letterbox
    place: Place
    """Where the image lies among the training images."""
    view: View = PLAIN
    quality: Quality | None = None
    """Whether the image can be read; None where the model states no limits."""


@dataclass(frozen=True, kw_only=True)
class FeatureKey:
    """Everything that the features depend on."""

    image: str
    aspect: float
    """A pixel's height over its width; equal pixels of another aspect are another image."""
    input_px: int
    backbone_sha256: str
    runtime: str
    view: View = PLAIN


class FeatureCache:
    """Least-recently-used cache of the features of at most `limit` images; safe between threads."""

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self.passes = 0
        """How often features had to be computed."""
        self.on_lookup: Callable[[bool], None] = _ignore_lookup
        """Called at every lookup, with whether the features were there or being computed."""
        self._kept: OrderedDict[FeatureKey, Encoded] = OrderedDict()
        self._coming: dict[FeatureKey, threading.Event] = {}
        self._lock = threading.Lock()

    def get(
        self, key: FeatureKey, encode: Callable[[], Encoded], deadline: Deadline | None = None
    ) -> Encoded:
        """Return the cached features, or compute them with `encode`.

        `encode` runs once however many threads need the features; lookups of other images do not
        wait for it.

        Raises:
            Overdue: another thread computes the features, and `deadline` passed first.
            Cancelled: the features are no longer wanted.
        """
        deadline = deadline or Deadline()
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    self.on_lookup(True)
                    return self._kept[key]
                others = self._coming.get(key)
                if others is None:
                    mine = self._coming[key] = threading.Event()
                    self.on_lookup(False)
                    break
            others.wait(deadline.remaining_s)
            deadline.check()
        try:
            encoded = encode()
            with self._lock:
                self.passes += 1
                self._kept[key] = encoded
                while len(self._kept) > self.limit:
                    self._kept.popitem(last=False)
            return encoded
        finally:
            with self._lock:
                del self._coming[key]
            mine.set()


def _ignore_lookup(_hit: bool) -> None:
    """Ignore a lookup."""
