"""Answers of stand-in specialists for several images: each gets what it would get alone."""

from collections.abc import Sequence

from planner.run import Tools
from reports.model import Box
from specialists.deadline import Deadline
from specialists.errors import Declined
from specialists.image import Image
from specialists.result import Result


class OneByOne:
    """Screens images by `run`; a stand-in derives from it and says what `run` answers."""

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """The answer for one image."""
        raise NotImplementedError

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """The answers for several; None where one is declined."""
        return tuple(self._or_none(specialist_id, image) for image in images)

    def with_deadline(self, deadline: Deadline) -> "Tools":
        """Itself: a stand-in answers however late it is."""
        return self  # type: ignore[return-value]

    def _or_none(self, specialist_id: str, image: Image) -> Result | None:
        try:
            return self.run(specialist_id, image)
        except Declined:
            return None
