"""The interface through which a planner reads the frozen backbones' features of an image."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from specialists.image import Image

if TYPE_CHECKING:  # torch takes a second to load; callers without backbones import this too
    from specialists.backbones.transunet import Features


@runtime_checkable
class Backbones(Protocol):
    """The frozen backbones that a planner may use, such as `specialists.engine.Engine`."""

    def backbone_sha256(self, model_id: str) -> str | None:
        """Return the SHA-256 of that backbone; None if there is none."""

    def features(self, image: Image, model_id: str) -> "Features":
        """Return the feature levels of the image, from the cache where they are kept.

        Raises:
            Declined: the image is too narrow for the network.
        """
