"""The rule planner: the protocol in order. Always there; also the baseline, the teacher and the fallback."""

from planner.case import STOP, Case
from planner.choose import STOP_ACTION, Action, Choice
from planner.protocols import Protocols
from reports.model import ChosenBy
from specialists.image import Image


class Rules:
    """Chooses the first legal specialist of the protocol, and `stop` when there is none."""

    id = "rules"

    def __init__(self, protocols: Protocols) -> None:
        self.sha256 = protocols.sha256

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """The first of `legal` that is not `stop`; the image is not looked at."""
        action = next((action for action in legal if action.name != STOP), STOP_ACTION)
        reason = (
            "The protocol asks for nothing more."
            if action.name == STOP
            else f"The first legal specialist in protocol order fills {action.slot}."
        )
        return Choice(action=action, chosen_by=ChosenBy.RULES, reason=reason)
