"""The published pattern as an agent: the model writes text, and an expression reads an action.

The agent of the USTri paper (arXiv:2604.16914) is asked for the next tool in words. Here the same
language model writes freely where it would be scored by letters. Nothing keeps it to the legal
actions, so that an answer may be unreadable, or name what is not legal; the run then ends there.
The small planner was taught to answer by a letter and not to write, so that this shows what is lost
without the closed set, and not how well a model could write that was taught to.
"""

import re

from planner.case import Case
from planner.policy import Action, Choice
from planner.training.evaluation.scenarios import Unusable
from planner.vlm.policy import LlavaPolicy
from planner.vlm.prompt import LABELS, render_prefix, render_state, turn_of
from reports.model import ChosenBy
from specialists.image import Image

TOKENS = 8
"""Tokens that it may write: a name of an action is one to six."""
LETTER = re.compile(r"\s*([A-Z])\b")
NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*(?:@[a-z]+(?::[a-z]+)?)?")


class FreeText:
    """A policy that reads the action in what the model writes."""

    sees = True

    def __init__(self, planner: LlavaPolicy) -> None:
        self.ref = planner.ref
        self._planner = planner

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Return the action that the text names.

        Raises:
            Unusable: it names none, or one that is not legal.
        """
        turn = turn_of(case, legal)
        looked = self._planner.look(image, render_prefix(turn))
        state = render_state(turn, range(len(legal)))
        written = self._planner.network.write(looked, state, TOKENS)
        action = legal[named(written, turn.legal)]
        return Choice(action=action, chosen_by=ChosenBy.MODEL, reason="It was written.")


def named(written: str, legal: tuple[str, ...]) -> int:
    """Return the index of the legal action that the text names, by its letter or by its name.

    Raises:
        Unusable: it names none, or one that is not legal.
    """
    if (letter := LETTER.match(written)) is not None:
        place = LABELS.index(letter[1])
        if place >= len(legal):
            raise Unusable("the letter stands for no action", illegal=True)
        return place
    if (name := NAME.search(written)) is None:
        raise Unusable("there is no action in the text", illegal=False)
    if name[0] not in legal:
        raise Unusable("the action is not legal", illegal="_" in name[0] or name[0] == "stop")
    return legal.index(name[0])
