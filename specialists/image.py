"""The analysed frame: grey pixels and what is known of their size, as every specialist reads it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.model import ImageInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """`pixels` is (H, W) uint8 after EXIF orientation; `key` names its content for the feature cache."""

    pixels: npt.NDArray[np.uint8]
    key: str
    """SHA-256 of shape and pixels."""
    info: ImageInfo
