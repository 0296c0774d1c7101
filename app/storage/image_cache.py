"""Cache of newly uploaded images as arrays.

A worker of the same process need not decode again what was decoded for the check at the upload.
"""

import threading
from dataclasses import replace

from reports.model import ImageInfo
from specialists.image import Image

KEPT_PX = 32_000_000
"""Most pixels, and so bytes, that wait here for a worker.

Beyond this limit the oldest images are dropped, and read from the store again.
"""


class Arrivals:
    """Uploaded images by the key of their stored PNG, each until it is taken; thread-safe."""

    def __init__(self, limit_px: int = KEPT_PX) -> None:
        self._limit_px = limit_px
        self._images: dict[str, Image] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, image: Image) -> None:
        """Keep the image until it is taken, unless it alone exceeds the limit."""
        with self._lock:
            self._images.pop(key, None)
            self._images[key] = image
            while sum(one.pixels.size for one in self._images.values()) > self._limit_px:
                del self._images[next(iter(self._images))]

    def take(self, key: str, info: ImageInfo) -> Image | None:
        """Remove the image of that key and return it with `info`; None if it is not cached."""
        with self._lock:
            image = self._images.pop(key, None)
        return None if image is None else replace(image, info=info)
