"""Pictures that just came in, as arrays: a worker of the same process need not decode again what was decoded for the check."""

import threading
from dataclasses import replace

from reports.model import ImageInfo
from specialists.image import Image

KEPT_PX = 32_000_000
"""Pixels, and so bytes, that wait here for a worker at most; of more, the oldest are read from the store again."""


class Arrivals:
    """Images by the key of their stored picture, each until it is taken; safe between threads."""

    def __init__(self, limit_px: int = KEPT_PX) -> None:
        self._limit_px = limit_px
        self._images: dict[str, Image] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, image: Image) -> None:
        """Nothing; that image waits to be taken, unless it alone is too large."""
        with self._lock:
            self._images.pop(key, None)
            self._images[key] = image
            while sum(one.pixels.size for one in self._images.values()) > self._limit_px:
                del self._images[next(iter(self._images))]

    def take(self, key: str, info: ImageInfo) -> Image | None:
        """The image of that key with what is now known of it, once; None where it does not wait here."""
        with self._lock:
            image = self._images.pop(key, None)
        return None if image is None else replace(image, info=info)
