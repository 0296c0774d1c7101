"""The planner's exceptions.

PlannerError
├── ProtocolInvalid   the protocol table cannot be used
├── ThresholdMissing  the manifest states no threshold that a decision needs
├── ActionIllegal     a policy chose an action that was not legal
├── ResultMisfit      a specialist's result does not fit its slot in kind or labels
├── HashMissing       a model that was used has no SHA-256 to identify it
├── BackboneMisfit    a planner was trained on a backbone that is not installed
├── ExamsMisfit       a planner was not trained on every exam that is served
├── StepsMisfit       a planner was trained on other steps, or on other rules of what is legal
├── NotRevisable      the recorded results of a report do not suffice for a new version of it
└── PlannerFailed     a planning model returned no usable scores; the rules decide
"""

from specialists.errors import WeightsError


class PlannerError(Exception):
    """Base class of the planner's errors; the message is a sentence for the user."""


class ProtocolInvalid(PlannerError):
    """The protocol table is unreadable or contradicts itself; the message names the place."""


class ThresholdMissing(PlannerError):
    """A threshold that has no default is missing; the message names it and the specialist."""


class ActionIllegal(PlannerError):
    """A policy chose an action that is not legal; the message names it and the legal actions."""


class ResultMisfit(PlannerError):
    """A result does not fit its slot; the message names the specialist and the slot."""


class HashMissing(PlannerError):
    """A report cannot identify a model that it rests on; the message names the manifest entry."""


class BackboneMisfit(PlannerError, WeightsError):
    """A planner was trained on the features of another backbone; the message names both."""


class ExamsMisfit(PlannerError, WeightsError):
    """A planner was trained on fewer exams than the router distinguishes.

    The message names the exams that the planner lacks.
    """


class StepsMisfit(PlannerError, WeightsError):
    """A planner was trained on other protocol steps, or on other rules of which are legal."""


class NotRevisable(PlannerError):
    """A new version of a report cannot be concluded from its recorded results; says why."""


class PlannerFailed(PlannerError):
    """A planning model returned no usable scores; the rules decide."""
