"""The seam through which a planner sees: the frozen backbones' features of an image."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from specialists.image import Image

if TYPE_CHECKING:  # torch takes a second to load, and who has no such backbones asks this too.
    from specialists.backbones.transunet import Features


@runtime_checkable
class Backbones(Protocol):
    """The frozen backbones whose features a planner may see through; `specialists.engine.Engine` is one."""

    def backbone_sha256(self, model_id: str) -> str | None:
        """The content of that backbone; None where there is none."""

    def features(self, image: Image, model_id: str) -> "Features":
        """The levels of the image, from the cache where they are kept.

        Raises:
            Declined: the image is too narrow for the network.
        """
