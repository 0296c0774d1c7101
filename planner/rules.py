"""The rule planner: the protocol in order. Always there; also the baseline, the teacher and the fallback."""

from planner.case import STOP, Case
from planner.choose import STOP_ACTION, Action, Choice
from planner.legal import plan_for
from planner.protocols import Protocols
from reports.model import ChosenBy, PlannerRef
from reports.wording import RULES
from specialists.image import Image


class Rules:
    """Chooses the first legal specialist that the request's keywords want, and `stop` when there is none."""

    def __init__(self, protocols: Protocols) -> None:
        self.sees = False
        self.ref = PlannerRef(id=RULES, sha256=protocols.sha256)

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """The first of `legal` that is wanted; the image is not looked at, and the router is asked without a guess."""
        slots = {case.protocols.router.slot, *plan_for(case).wanted}
        action = next((action for action in legal if action.slot in slots), STOP_ACTION)
        if action.name == STOP:
            reason = "Nothing more is asked for."
        else:
            reason = f"The first legal specialist in protocol order fills {action.slot}."
        return Choice(action=action, chosen_by=ChosenBy.RULES, reason=reason)
