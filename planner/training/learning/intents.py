"""The meaning of a request as a vector.

The small planner must be able to predict it at the end of the request.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from planner.protocols import Protocols
from planner.training.data.teacher import due
from planner.training.requests.grammar import Want, Wish
from reports.model import ExamCode

ASKS_NOTHING = {Want.NONE, Want.UNSERVED, Want.IRRELEVANT}
"""Kinds of request whose words belong to none of our exams."""

HEAD = "meaning"
"""The attribute of a network in training that predicts the meaning; it does not ship."""


class Meanings:
    """Encodes wishes as rows of zeros and ones.

    A row encodes the kind of request, the questions, the exam that it names, the exam of its words,
    and the slots that it needs of an image of that exam.
    """

    def __init__(self, protocols: Protocols) -> None:
        self._protocols = protocols
        questions = [q.id for exam in protocols.exams.values() for q in exam.questions]
        marks = [*Want, *(("asks", question) for question in questions)]
        marks += [(role, exam) for role in ("names", "about") for exam in ExamCode]
        slots = {step.slot for exam in protocols.exams.values() for step in exam.steps}
        marks += [("needs", slot) for slot in sorted(slots)]
        self._places = {mark: place for place, mark in enumerate(marks)}

    def __len__(self) -> int:
        return len(self._places)

    def of(self, wishes: Sequence[Wish]) -> Tensor:
        """Return the rows of those wishes, (B, M) float32 of 0 and 1."""
        rows = torch.zeros(len(wishes), len(self))
        for row, wish in zip(rows, wishes, strict=True):
            row[self._places[wish.want]] = 1
            for item in wish.items:
                row[self._places["asks", item]] = 1
            if wish.exam is not None:
                row[self._places["names", wish.exam]] = 1
            if wish.want not in ASKS_NOTHING:
                row[self._places["about", wish.about]] = 1
                for slot in due(wish, wish.about, self._protocols).needed:
                    row[self._places["needs", slot]] = 1
        return rows


def head_of(network: nn.Module, width: int, meanings: Meanings) -> nn.Linear:
    """Return the network's layer that predicts the meaning, and add it the first time.

    It is kept in the network so that its state is saved with it.
    """
    if not hasattr(network, HEAD):
        network.add_module(HEAD, nn.Linear(width, len(meanings)))
    return cast(nn.Linear, network.get_submodule(HEAD))


def drop_head(network: nn.Module) -> None:
    """Remove the layer that predicts the meaning: nothing uses it once the planner is trained."""
    delattr(network, HEAD)
