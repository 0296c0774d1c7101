"""What can go wrong while planning, named for what is wrong.

PlannerError
├── ProtocolInvalid   the protocol table cannot be used
├── ThresholdMissing  the manifest states no threshold that a decision needs
├── ActionIllegal     a chooser chose what was not legal
├── ResultMisfit      a specialist answered with another kind or other labels than its slot holds
├── HashMissing       a model that took part has no SHA-256 to be named by
├── BackboneMisfit    a planner sees through a backbone that is not here
├── ExamsMisfit       a planner was not taught all exams that the router tells apart
└── PlannerFailed     a planning model gave no scores to rely on: the rules decide
"""

from specialists.errors import WeightsError


class PlannerError(Exception):
    """Any error of this package; the message is a sentence for a person."""


class ProtocolInvalid(PlannerError):
    """The protocol table is not readable or contradicts itself; the message names the place."""


class ThresholdMissing(PlannerError):
    """A threshold has no default; the message names the specialist and the threshold."""


class ActionIllegal(PlannerError):
    """A chooser left the closed set; the message names the action and what was legal."""


class ResultMisfit(PlannerError):
    """A result does not fit its slot; the message names the specialist and the slot."""


class HashMissing(PlannerError):
    """A report cannot name a model that it rests on; the message names the manifest entry."""


class BackboneMisfit(PlannerError, WeightsError):
    """A planner was trained on the features of another backbone; the message names both."""


class ExamsMisfit(PlannerError, WeightsError):
    """A planner was taught fewer exams than the router tells apart; the message names those it lacks."""


class PlannerFailed(PlannerError):
    """A planning model gave no usable scores; the rules decide."""
