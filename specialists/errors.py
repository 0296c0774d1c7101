"""What can go wrong with a specialist, named for what is wrong.

SpecialistError
├── Declined      the specialist cannot answer for this image: say "not assessed", with the reason
│   ├── Illegible   no specialist could read it: black, overexposed, a screenshot …
│   └── Foreign     it is unlike what the specialist was trained on
├── Rejected      the caller asked for something that is not there or does not fit
├── Unavailable   the specialist cannot run now: not installed, or trained on another backbone
│   ├── Overloaded  too many questions wait: ask again later
│   ├── Overdue     the answer did not come in the time that was given for it
│   └── Cancelled   the question was withdrawn
├── WeightsError  a weights file is missing, truncated or altered: the service must not start
└── TrainingError the data or the configuration of a training cannot be used
"""


class SpecialistError(Exception):
    """Any error of this package; the message is a sentence for a person."""


class Declined(SpecialistError):
    """The specialist cannot answer for this image; the message is the reason to print."""


class Illegible(Declined):
    """The picture cannot be read at all, whatever it shows."""


class Foreign(Declined):
    """The image is unlike all that the specialist was trained on."""


class Rejected(SpecialistError):
    """The specialist, its region or its parameters do not exist or do not fit."""


class Unavailable(SpecialistError):
    """The specialist is listed but cannot run; the message says what is missing."""


class Overloaded(Unavailable):
    """Too many questions wait for the network."""


class Overdue(Unavailable):
    """The time that was given for the answer is over."""


class Cancelled(Unavailable):
    """Whoever asked no longer wants the answer."""


class WeightsError(SpecialistError):
    """A weights file is missing, truncated or altered; the message names the file."""


class TrainingError(SpecialistError):
    """Data or configuration that cannot be trained on; the message names the row or the key."""
