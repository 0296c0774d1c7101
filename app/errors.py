"""The errors of the service, named for what is wrong.

`app.web.problems` gives each its HTTP status.

ServiceError
├── ImageRejected       the uploaded bytes cannot be analysed
│   ├── ImageTooLarge       more bytes or pixels than are read
│   ├── ImageUnsupported    not a kind of file that is read
│   ├── ImageUnreadable     the right kind of file, but damaged or not usable
│   │   └── FrameUnreadable     one frame of a DICOM file; its others may be whole
│   └── ArchiveRejected     an archive, or what it lists, is not opened
├── RequestRejected     a parameter is missing, unknown or of the wrong kind
│   └── FieldRejected       the value of one field of a form
├── BodyTooLarge        the request has more bytes than are read
├── NotAcceptable       none of the requested forms exists
├── NotFound            there is nothing under that address
├── Conflict            the idempotency key was used for another request
├── AnalysisDone        an analysis has its report: it is neither cancelled nor run again
├── NotRevised          no new version of a report can be made as requested
├── QueueFull           too many analyses are waiting
├── AnalysisFailed      an analysis was given up; the message is its problem
│   └── AnalysisStopped     it was cancelled, or missed its deadline
├── NotReady            the service cannot answer now
│   └── StoreUnavailable    the database or the image folder cannot be read or written
│       └── StoreAway           the database server starts, stops or cannot be reached
├── PushRefused         a report may not leave, or cannot be sent as requested
│   └── LinkClosed          the link to the original is encrypted with a key that is not here
├── DestinationError    a DICOMweb server stored nothing of what was sent to it
│   ├── DestinationAway     it cannot be reached or is busy: try again later
│   │   └── CredentialsUnreadable  the file of a token or password cannot be read at the moment
│   └── DestinationRefuses  it will refuse the same again: wrong address or contents
│       └── CredentialsRefused  it does not accept the credentials
├── HostRefused         the Host header names another site
├── OriginRefused       a page of another site sent the request
├── KeyRequired         the API key is missing or wrong
├── LeaseLost           another worker took the job over: stop, write nothing
├── DeadlinePassed      the deadline of a request is over: do no more for it
├── Draining            the worker is stopping: hand the job back
└── SettingsError       the service must not start with these settings
"""


class ServiceError(Exception):
    """Any error of this package; the message is a sentence for a person."""


class ImageRejected(ServiceError):
    """The uploaded bytes cannot be analysed."""


class ImageTooLarge(ImageRejected):
    """The image has more pixels than are read."""


class ImageUnsupported(ImageRejected):
    """The bytes are not a kind of file that is read."""


class ImageUnreadable(ImageRejected):
    """The bytes are the right kind of file, but damaged or not usable."""


class FrameUnreadable(ImageUnreadable):
    """A frame's compressed stream is cut short or damaged; other frames may be whole."""


class ArchiveRejected(ImageRejected):
    """An archive, or an entry of it, is not opened; the message says why."""


class RequestRejected(ServiceError):
    """A parameter is missing, unknown or of the wrong kind; the message names it."""


class FieldRejected(RequestRejected):
    """The value of the form's field `field` is not accepted."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class BodyTooLarge(ServiceError):
    """The request has more bytes than are read."""


class NotAcceptable(ServiceError):
    """The report or page exists in none of the forms that the request accepts."""


class NotFound(ServiceError):
    """There is nothing under that address."""


class Conflict(ServiceError):
    """The idempotency key was used before, for another request."""


class AnalysisDone(ServiceError):
    """The analysis has its report already; it is neither cancelled nor run again."""


class NotRevised(ServiceError):
    """No new version of the report can be made as requested; the message says why."""


class QueueFull(ServiceError):
    """Too many analyses are waiting; try again later."""


class AnalysisFailed(ServiceError):
    """An analysis was given up; the message is its problem."""


class AnalysisStopped(AnalysisFailed):
    """An analysis was cancelled or missed its deadline, as its client had asked."""


class NotReady(ServiceError):
    """The service cannot answer now; try again later."""


class StoreUnavailable(NotReady):
    """The database or the image folder cannot be read or written now."""


class StoreAway(StoreUnavailable):
    """The database server starts, stops or cannot be reached; it may be there soon."""


class PushRefused(ServiceError):
    """A report may not leave, or cannot be sent as requested; the message says which."""


class LinkClosed(PushRefused):
    """The link to the original is encrypted with a key that is not here, or was altered."""


class DestinationError(ServiceError):
    """A DICOMweb server stored nothing of what was sent; the message quotes none of its answer."""


class DestinationAway(DestinationError):
    """The server cannot be reached or is busy; the same request may work later."""


class DestinationRefuses(DestinationError):
    """The server will refuse the same again, until credentials, address or contents change."""


class CredentialsUnreadable(DestinationAway):
    """The file of a token or password cannot be read; it may be about to be renewed."""


class CredentialsRefused(DestinationRefuses):
    """The server does not accept the credentials, for whatever would be sent with them."""


class HostRefused(ServiceError):
    """The Host header names a site that this service is not."""


class OriginRefused(ServiceError):
    """A page of another site sent the request."""


class KeyRequired(ServiceError):
    """The API key is missing or wrong."""


class LeaseLost(ServiceError):
    """Another worker holds the job now; nothing more may be written for it."""


class DeadlinePassed(ServiceError):
    """The deadline of a request is over; nothing more is done for it."""


class Draining(ServiceError):
    """The worker is stopping; the job goes back to the queue with what is recorded."""


class SettingsError(ServiceError):
    """The service must not start with these settings; the message says which and why."""
