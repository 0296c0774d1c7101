"""The error types of specialists.

SpecialistError
├── Declined      the specialist cannot answer for this image: report "not assessed" with the reason
│   ├── Illegible   no specialist can read it: black, overexposed, a screenshot …
│   └── Foreign     it is unlike the images that the specialist was trained on
├── Rejected      the caller requested something that does not exist or does not fit
├── Unavailable   the specialist cannot run now: not installed, or trained on another backbone
│   ├── Overloaded  too many inference requests are waiting: try again later
│   ├── Overdue     the deadline passed before the answer was ready
│   └── Cancelled   the request was withdrawn
├── PictureRejected     the bytes are no picture that can be analysed
│   ├── PictureTooLarge     more pixels than are read
│   ├── PictureUnsupported  not a kind of file that is read
│   └── PictureUnreadable   the right kind of file, but damaged or not usable
├── WeightsError  a weights file is missing, truncated or altered: the service must not start
└── TrainingError the data or the configuration of a training run cannot be used
"""


class SpecialistError(Exception):
    """Base class of this package's errors; the message is a sentence for a person."""


class Declined(SpecialistError):
    """The specialist cannot answer for this image; the message is the reason to print."""


class Illegible(Declined):
    """The image cannot be read at all, whatever it shows."""


class Foreign(Declined):
    """The image is unlike all images that the specialist was trained on."""


class Rejected(SpecialistError):
    """The specialist, its region or its parameters do not exist or do not fit."""


class Unavailable(SpecialistError):
    """The specialist is listed but cannot run; the message says what is missing."""


class Overloaded(Unavailable):
    """Too many inference requests are waiting for the network."""


class Overdue(Unavailable):
    """The deadline passed before the answer was ready."""


class Cancelled(Unavailable):
    """The caller no longer wants the answer."""


class PictureRejected(SpecialistError):
    """The bytes are no picture that can be analysed."""


class PictureTooLarge(PictureRejected):
    """The picture has more pixels than are read."""


class PictureUnsupported(PictureRejected):
    """The bytes are not a kind of file that is read."""


class PictureUnreadable(PictureRejected):
    """The bytes are the right kind of file, but damaged or not usable."""


class WeightsError(SpecialistError):
    """A weights file is missing, truncated or altered; the message names the file."""


class TrainingError(SpecialistError):
    """Data or configuration unfit for training; the message names the row or the key."""
