"""The backbone's features of an image, kept so that every specialist of an analysis shares one pass."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from specialists.backbones.transunet import Features
from specialists.batching import Patience
from specialists.gate import Place
from specialists.letterbox import Letterbox
from specialists.quality import Quality
from specialists.views import PLAIN, View


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """One image after the backbone."""

    features: Features
    field: Tensor
    """(1, 1, S, S) float32, 1 where the letterbox holds image."""
    box: Letterbox
    place: Place
    """Where it lies among the training images."""
    view: View = PLAIN
    quality: Quality | None = None
    """Whether the picture can be read; null where the model states no limits."""


@dataclass(frozen=True, kw_only=True)
class FeatureKey:
    """What features depend on."""

    image: str
    input_px: int
    backbone_sha256: str
    runtime: str
    view: View = PLAIN


class FeatureCache:
    """Least recently used features, at most `limit` images; safe between threads."""

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self.passes = 0
        """How often features had to be computed."""
        self.looked: Callable[[bool], None] = _untold
        """Told of every look, with whether the features were there or on their way."""
        self._kept: OrderedDict[FeatureKey, Encoded] = OrderedDict()
        self._coming: dict[FeatureKey, threading.Event] = {}
        self._lock = threading.Lock()

    def get(
        self, key: FeatureKey, encode: Callable[[], Encoded], patience: Patience | None = None
    ) -> Encoded:
        """The kept features, or those of `encode`, which runs once however many ask; other images do not wait.

        Raises:
            Overdue: another thread computes them, and `patience` ended first.
            Cancelled: they are no longer wanted.
        """
        patience = patience or Patience()
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    self.looked(True)
                    return self._kept[key]
                others = self._coming.get(key)
                if others is None:
                    mine = self._coming[key] = threading.Event()
                    self.looked(False)
                    break
            others.wait(patience.remaining_s)
            patience.check()
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


def _untold(_hit: bool) -> None:
    """Nothing; nobody counts."""
