"""STOW-RS (PS3.18 10.5) by dicomweb-client: sends instances and returns the result of each.

The client's own retries are off: they send an exhausted body again, and would not survive this
process. The outbox retries. No text of the server's is passed on, because it may quote the patient.
"""

import io
import re
from collections.abc import Mapping, Sequence, Set
from http import HTTPStatus

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset
from requests.auth import AuthBase

from app.errors import CredentialsRefused, DestinationAway, DestinationRefuses
from app.pacs.outbox import StoreResult
from app.pacs.server import Credentials, Destination
from app.pacs.store_response import StoreResponse, store_response

CONNECT_S, READ_S = 10.0, 120.0
"""Time limits for the server to accept a connection, and then to send anything."""

BODY_MAX_BYTES = 2**30
"""More than any instance of this service.

dicomweb-client sends a smaller body in one piece, which a server can check.
"""

_STORED_REASONS = frozenset([0x0111, 0xB00E, 0xB000, 0xB006, 0xB007])
"""Reasons that mean that the server holds the instance.

It is already there: Duplicate SOP Instance, and Azure's code for the same; or it was stored with a
warning (PS3.4 B.2.3). No other instance can be meant, since the UID is hashed from the report.
"""

_HELD = re.compile(rb"already[ _-]*(exist|stored|present|there)|duplicate", re.IGNORECASE)
"""How servers say in words that they hold an instance."""

_JSON = "application/dicom+json"
_BEING_STORED = 0xB00F
"""Azure's code for an instance that another request is storing at the moment."""

_REASONS = {
    0x0110: "it failed while processing it",
    0x0122: "it does not store this kind of instance",
    0x0124: "we are not authorised to store it",
    0x0131: "its identifiers are not allowed there",
    0x0132: "its identifiers are not allowed there",
    _BEING_STORED: "it is storing it at the moment",
    0xA710: "it disagrees with what is stored",
    0xC122: "it does not take its transfer syntax",
    0xC123: "it cannot transcode it",
}
"""Failure reasons (PS3.18 table I.2-2 and PS3.4 B.2.3) in this service's own words."""

_BUSY: Set[int] = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.INSUFFICIENT_STORAGE,
}
_SUCCESS: Set[int] = {
    HTTPStatus.OK,
    HTTPStatus.CREATED,
    HTTPStatus.ACCEPTED,
    HTTPStatus.NO_CONTENT,
}
_WORDS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "does not accept the credentials, or wants some",
    HTTPStatus.FORBIDDEN: "does not allow these credentials to store",
    HTTPStatus.NOT_FOUND: "has no DICOMweb service at this address",
    HTTPStatus.METHOD_NOT_ALLOWED: "has no DICOMweb service at this address",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "does not take instances of this size",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "does not take DICOM by STOW-RS",
}


def send(destination: Destination, instances: Sequence[bytes]) -> Mapping[str, StoreResult]:
    """Send all instances in one request; return the result of each by its SOP Instance UID.

    Raises:
        CredentialsUnreadable: a credentials file cannot be read at the moment.
        DestinationAway: the server cannot be reached, is busy, or broke off.
        CredentialsRefused: it does not accept the credentials.
        DestinationRefuses: it refused the request as a whole, or is no DICOMweb server.
    """
    datasets = [pydicom.dcmread(io.BytesIO(data)) for data in instances]
    credentials = destination.credentials()
    seen = _Seen()
    with requests.Session() as session:
        session.auth = _Auth(credentials)
        session.max_redirects = 0  # A redirect would send the report and credentials elsewhere.
        try:
            client = DICOMwebClient(
                destination.url,
                session=session,
                headers={"Accept": _JSON},
                callback=seen,
                chunk_size=BODY_MAX_BYTES,
                timeout=(CONNECT_S, READ_S),
            )
            client.set_http_retry_params(retry=False)
            client.store_instances(datasets)
        except (requests.exceptions.HTTPError, requests.exceptions.JSONDecodeError):
            pass  # The response was recorded; it is interpreted below.
        except requests.exceptions.RequestException as error:
            raise _unanswered(error) from None
        except (ValueError, KeyError, TypeError, AttributeError, SyntaxError):
            pass  # dicomweb-client could not parse the body; `store_response` does.
        if seen.status == HTTPStatus.UNAUTHORIZED and destination.credentials() != credentials:
            raise DestinationAway("The credentials were renewed while they were being used.")
        response = _response(seen)
        return {
            str(dataset.SOPInstanceUID): _result(seen, response, dataset, destination, session)
            for dataset in datasets
        }


class _Auth(AuthBase):
    """Adds credentials to a request; also keeps requests from reading them from a .netrc file."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # dicomweb-client sets Host without the port, which RFC 9110 7.2 requires.
        request.headers.pop("Host", None)
        ours = self._credentials
        if ours.token is not None:
            request.headers["Authorization"] = f"Bearer {ours.token}"
        elif ours.user is not None:
            basic = requests.auth.HTTPBasicAuth(ours.user.encode(), (ours.password or "").encode())
            request = basic(request)
        return request


class _Seen:
    """The server's store response, recorded by a hook because dicomweb-client drops its status."""

    def __init__(self) -> None:
        self.status = 0
        self.kind = ""
        self.body = b""

    def __call__(self, response: requests.Response, *_: object, **__: object) -> requests.Response:
        if response.request.method != "POST":
            return response
        self.status = response.status_code
        self.kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.body = response.content
        return response


def _unanswered(error: requests.exceptions.RequestException) -> Exception:
    match error:
        case requests.exceptions.SSLError():
            return DestinationRefuses(
                "The server's certificate is not trusted here, or it speaks no TLS."
            )
        case requests.exceptions.TooManyRedirects():
            return DestinationRefuses(
                "The server sends us to another address; name that one if it is right."
            )
        case requests.exceptions.Timeout():
            return DestinationAway("The server took too long to answer.")
        case requests.exceptions.ConnectionError() | requests.exceptions.ChunkedEncodingError():
            return DestinationAway("The server cannot be reached, or broke off.")
        case _:
            return DestinationRefuses("The request cannot be sent to this address.")


def _response(seen: _Seen) -> StoreResponse:
    """Return what the server says of the instances.

    Raises:
        DestinationAway: the server is busy.
        CredentialsRefused: it does not accept the credentials.
        DestinationRefuses: it refused the request as a whole, or is no DICOMweb server.
    """
    status = seen.status
    response = store_response(seen.body, seen.kind)
    if response is not None and (response.stored or response.failed):
        return response
    if status in _BUSY:
        raise DestinationAway(f"The server is busy or failing (HTTP {status}).")
    nothing = StoreResponse(stored=frozenset(), failed={}, others_failed=False)
    if status == HTTPStatus.CONFLICT:
        return nothing
    if status in _SUCCESS and (response is not None or not seen.body):
        return response or nothing
    if status < HTTPStatus.BAD_REQUEST:
        raise DestinationRefuses(
            "What answers at this address is no DICOMweb server "
            f"(HTTP {status} without a store's answer)."
        )
    problem = f"The server {_WORDS.get(status, 'refuses the request')} (HTTP {status})."
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise CredentialsRefused(problem)
    raise DestinationRefuses(problem)


def _result(
    seen: _Seen,
    response: StoreResponse,
    dataset: Dataset,
    destination: Destination,
    session: requests.Session,
) -> StoreResult:
    """Return the result of one instance; the server is asked whether it holds one it did not take.

    Servers have codes of their own for an instance that is already there. Where they do not say
    whether they hold it, a conflict for a reason of no standard, or in such words, is that one.
    """
    uid = str(dataset.SOPInstanceUID)
    reason = response.failed.get(uid)
    unnamed = not (response.stored or response.failed or response.others_failed)
    whole = unnamed and seen.status in _SUCCESS and seen.status != HTTPStatus.ACCEPTED
    if whole or uid in response.stored or reason in _STORED_REASONS:
        return StoreResult(stored=True)
    held = holds(session, destination, dataset)
    conflict = seen.status == HTTPStatus.CONFLICT
    if held is None and conflict and uid not in response.stored:
        held = bool(_HELD.search(seen.body)) or _is_own(reason)
    if held:
        return StoreResult(stored=True)
    if reason is not None:
        return _failure(reason)
    if conflict and unnamed:
        return StoreResult(
            stored=False, problem=f"The server refuses the request (HTTP {seen.status})."
        )
    return StoreResult(
        stored=False, again=True, problem="The server did not say that it is stored."
    )


def holds(session: requests.Session, destination: Destination, dataset: Dataset) -> bool | None:
    """Ask the server (QIDO-RS, PS3.18 10.6) whether it holds an instance; None: it does not say."""
    uid = str(dataset.SOPInstanceUID)
    try:
        answer = session.get(
            f"{destination.url}/studies/{dataset.StudyInstanceUID}/instances",
            params={"SOPInstanceUID": uid, "limit": "1"},
            headers={"Accept": _JSON},
            timeout=(CONNECT_S, READ_S),
        )
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return False
        found = answer.json() if answer.status_code == HTTPStatus.OK else None
    except (requests.exceptions.RequestException, RecursionError):
        return None
    if found == []:
        return False
    ours = isinstance(found, list) and any(_is_of(item, uid) for item in found)
    return True if ours else None


def _is_of(item: object, uid: str) -> bool:
    """Return whether an item of the server's answer is the instance of that UID."""
    named = item.get("00080018") if isinstance(item, dict) else None
    return isinstance(named, dict) and named.get("Value") == [uid]


def _is_own(reason: int | None) -> bool:
    """Return whether a failure reason is the server's own.

    The standard gives it no meaning, neither for storage nor for any service (PS3.7 annex C).
    """
    if not reason or reason in _REASONS or reason >= 0xFE00:
        return False
    return reason >> 8 not in (0x01, 0x02, 0xA7, 0xA9) and reason >> 12 != 0xC


def _failure(reason: int) -> StoreResult:
    busy = reason in (0x0110, _BEING_STORED) or 0xA700 <= reason <= 0xA7FF and reason != 0xA710
    if reason in _REASONS:
        words = _REASONS[reason]
    elif 0xA700 <= reason <= 0xA7FF:
        words = "it is out of resources"
    elif 0xA900 <= reason <= 0xA9FF:
        words = "it finds that the instance is not what its class says"
    elif 0xC000 <= reason <= 0xCFFF:
        words = "it cannot understand the instance"
    else:
        words = "it gives no reason that we know"
    return StoreResult(
        stored=False,
        again=busy,
        problem=f"The server did not store it: {words} (failure reason {reason:#06x}).",
    )
