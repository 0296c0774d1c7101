"""The errors of this package, named for what is wrong with a report's data.

ReportError
├── CodeNotAllowed    a FHIR element holds a code outside the value set that binds it
├── OutlineDegenerate an outline has no area: report "not assessed"
├── NotMeasurable     the results admit no number: report "not assessed" with the message
├── EvidenceMissing   a statement names evidence that the report does not hold
├── NothingOutlined   a form made of outlines was requested, and the report has none
├── NoBiometry        a form of a fetal head's sizes in mm was requested, and there are none
├── NothingReported   a form made of reports was requested of a study that has none yet
├── SpacingKnown      a reader calibrates an image that states its millimetres itself
├── PointsUnusable    points that a reader marked lie outside the image, or too near for a scale
├── FormNotInstalled  a form needs a library that this installation lacks
└── ReasonMissing     something was not assessed or was refused without a reason
"""


class ReportError(Exception):
    """Base of all errors of this package; the message is a sentence for a person."""


class CodeNotAllowed(ReportError):
    """A FHIR element holds a code outside the value set that binds it; the message names both."""


class OutlineDegenerate(ReportError):
    """An outline has fewer than three points or no area, so it has no axes."""


class NotMeasurable(ReportError):
    """Results contradict each other, are cut off or too few; the message is the reason to print."""


class EvidenceMissing(ReportError):
    """A finding or measurement names evidence that the report lacks; the message names both."""


class NothingOutlined(ReportError):
    """The report holds no outline, so that no segmentation can be made of it."""


class NoBiometry(ReportError):
    """The report is not of a fetal head, or states no size of it in millimetres; says which."""


class NothingReported(ReportError):
    """No image of the study has a report, so that no form can be made of reports."""


class SpacingKnown(ReportError):
    """The image's source states millimetres, so that a reader's two points would contradict it."""


class PointsUnusable(ReportError):
    """Marked points lie outside the image, in different regions, or too near; says which."""


class FormNotInstalled(ReportError):
    """A form needs a library that this installation lacks; the message says what to install."""


class ReasonMissing(ReportError):
    """Something was not assessed or was refused, and no reason is given."""
