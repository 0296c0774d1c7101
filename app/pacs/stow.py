"""STOW-RS (PS3.18 10.5) by dicomweb-client: sends instances and returns the result of each.

The client's own retries are off: they send an exhausted body again, and would not survive this
process. The outbox retries. No text of the server's is passed on, because it may quote the patient.
"""

import io
import json
from collections.abc import Mapping, Sequence, Set
from http import HTTPStatus

import pydicom
import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import Dataset
from requests.auth import AuthBase

from app.errors import DestinationAway, DestinationRefuses
from app.pacs.outbox import StoreResult
from app.pacs.server import Destination

CONNECT_S, READ_S = 10.0, 120.0
"""Time limits for the server to accept a connection, and then to send anything."""

BODY_MAX_BYTES = 2**30
"""More than any instance of this service.

dicomweb-client sends a smaller body in one piece, which a server can check.
"""

DUPLICATE = 0x0111
"""Duplicate SOP Instance: it is already there, under a UID that only this service issues."""

_JSON = "application/dicom+json"
_REASONS = {
    0x0110: "it failed while processing it",
    0x0122: "it does not store this kind of instance",
    0x0124: "we are not authorised to store it",
    0x0131: "its identifiers are not allowed there",
    0x0132: "its identifiers are not allowed there",
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
        DestinationAway: the server cannot be reached, is busy, or broke off.
        DestinationRefuses: it refused the request as a whole, or is no DICOMweb server.
    """
    datasets = [pydicom.dcmread(io.BytesIO(data)) for data in instances]
    seen = _Seen()
    with requests.Session() as session:
        session.auth = _Credentials(destination)
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
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # dicomweb-client could not parse the body; `_answer` cannot either.
    return _verdicts(seen, [str(dataset.SOPInstanceUID) for dataset in datasets])


class _Credentials(AuthBase):
    """Adds credentials to a request; also keeps requests from reading them from a .netrc file."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # dicomweb-client sets Host without the port, which RFC 9110 7.2 requires.
        request.headers.pop("Host", None)
        ours = self._destination
        if ours.token is not None:
            request.headers["Authorization"] = f"Bearer {ours.token}"
        elif ours.user is not None:
            basic = requests.auth.HTTPBasicAuth(ours.user.encode(), (ours.password or "").encode())
            request = basic(request)
        return request


class _Seen:
    """The server's last response, recorded by a hook because dicomweb-client drops its status."""

    def __init__(self) -> None:
        self.status = 0
        self.kind = ""
        self.body = b""

    def __call__(self, response: requests.Response, *_: object, **__: object) -> requests.Response:
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


def _verdicts(seen: _Seen, uids: Sequence[str]) -> dict[str, StoreResult]:
    status = seen.status
    if status in _BUSY:
        raise DestinationAway(f"The server is busy or failing (HTTP {status}).")
    answer = _answer(seen)
    failed = {uid: _failure(reason) for uid, reason in _failures(answer)}
    stored = set(_referenced(answer, "ReferencedSOPSequence"))
    if status in (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.CONFLICT) and (failed or stored):
        silent = StoreResult(
            stored=False, again=True, problem="The server did not say that it is stored."
        )
        return {
            uid: StoreResult(stored=True) if uid in stored else failed.get(uid, silent)
            for uid in uids
        }
    if status == HTTPStatus.OK and not seen.body:
        return {uid: StoreResult(stored=True) for uid in uids}
    if status < HTTPStatus.BAD_REQUEST:
        raise DestinationRefuses(
            "What answers at this address is no DICOMweb server "
            f"(HTTP {status} without a store's answer)."
        )
    what = _WORDS.get(status, "refuses the request")
    raise DestinationRefuses(f"The server {what} (HTTP {status}).")


def _answer(seen: _Seen) -> Dataset:
    """Parse the body of the store response (PS3.18 I.2); empty where it is not one."""
    if seen.kind not in (_JSON, "application/json"):
        return Dataset()
    try:
        parsed = json.loads(seen.body)
        first = parsed[0] if isinstance(parsed, list) and parsed else parsed
        return Dataset.from_json(first) if isinstance(first, dict) else Dataset()
    except Exception:  # noqa: BLE001 - a foreign server's body; pydicom raises anything.
        return Dataset()


def _failures(answer: Dataset) -> list[tuple[str, int]]:
    return [
        (str(item.get("ReferencedSOPInstanceUID", "")), int(item.get("FailureReason") or 0))
        for item in answer.get("FailedSOPSequence") or []
    ]


def _referenced(answer: Dataset, keyword: str) -> list[str]:
    return [str(item.get("ReferencedSOPInstanceUID", "")) for item in answer.get(keyword) or []]


def _failure(reason: int) -> StoreResult:
    if reason == DUPLICATE:
        return StoreResult(stored=True)
    busy = reason == 0x0110 or 0xA700 <= reason <= 0xA7FF and reason != 0xA710
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
