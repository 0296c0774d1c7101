"""What can be wrong with a report's data, named for what is wrong.

ReportError
├── CodeNotAllowed    a FHIR element holds a code outside the value set that binds it
├── OutlineDegenerate an outline has no area: say "not assessed"
├── NotMeasurable     what was seen admits no number: say "not assessed" with its message
├── EvidenceMissing   a statement names evidence that the report does not hold
├── NothingOutlined   a form that is made of outlines was asked for, and there are none
└── ReasonMissing     something was not assessed or refused and nobody said why
"""


class ReportError(Exception):
    """Any error of this package; the message is a sentence for a person."""


class CodeNotAllowed(ReportError):
    """A FHIR element holds a code outside the value set that binds it; the message names both."""


class OutlineDegenerate(ReportError):
    """An outline has fewer than three points or no area, so it has no axes."""


class NotMeasurable(ReportError):
    """Results contradict each other, are cut off or too few; the message is the reason to print."""


class EvidenceMissing(ReportError):
    """A finding or measurement names evidence that the report does not hold; the message names both."""


class NothingOutlined(ReportError):
    """The report holds no outline, so that there is no segmentation of it."""


class ReasonMissing(ReportError):
    """A silent gap: something was not assessed or was refused without a reason."""
