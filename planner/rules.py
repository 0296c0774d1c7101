"""The rule planner, which follows the protocol in order.

It is always available, as the baseline of evaluations and as the fallback of the vision-language
planner.
"""

from planner.case import STOP, Case
from planner.plan import plan_for
from planner.policy import STOP_ACTION, Action, Choice
from planner.protocols import Protocols
from reports.model import ChosenBy
from reports.provenance import PlannerRef
from reports.wording.phrases import RULES
from specialists.image import Image


class Rules:
    """Chooses the first legal specialist that protocol or question want, or else `stop`."""

    def __init__(self, protocols: Protocols) -> None:
        self.sees = False
        self.ref = PlannerRef(id=RULES, sha256=protocols.sha256)

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Choose the first of `legal` that is wanted.

        The image is not used, and the router is run without an expected exam.
        """
        slots = {case.protocols.router.slot, *plan_for(case).wanted}
        action = next((action for action in legal if action.slot in slots), STOP_ACTION)
        if action.name == STOP:
            reason = "Nothing more is wanted."
        else:
            reason = f"The first legal specialist in protocol order fills {action.slot}."
        return Choice(action=action, chosen_by=ChosenBy.RULES, reason=reason)
