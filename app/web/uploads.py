"""Parsing of multipart requests into an image and parameters, or a sentence about the error."""

import logging
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from app.errors import FieldRejected, ImageUnsupported, RequestRejected
from app.images.burned_in.finder import text_finder
from app.images.dicom.reader import is_dicom
from app.images.dicom.sealing import KeyMaker
from app.images.ingest import Ingested, ingest
from app.images.multiframe import ingest_frames
from app.jobs.pubsub import Work
from app.observability.logs import about
from app.storage.analysis import Accepted, NewAnalysis
from app.storage.details import DETAILS, SCOPE, read_details, read_scope
from app.storage.uid_key import uid_map
from app.web.dependencies import Services, services
from app.web.multipart import FILES_MAX, parse_multipart
from app.web.openapi import DEADLINE_MAX_S, EXTERNAL_ID, QUESTION_LIMIT
from reports.model import Box, ExamCode
from specialists.manifest import Roi, SpecialistEntry

log = logging.getLogger(__name__)

ANALYSIS_FIELDS = ("exam", "question", SCOPE, "frame", *DETAILS, "external_id", "deadline_s")
ROI_FIELDS = ("x_min", "y_min", "x_max", "y_max")
SPECIALIST_FIELDS = (*ROI_FIELDS, "frame")
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a UTF-16 pair, which charsets such as UTF-7 can write and no database stores."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One image of a request and its text fields; an empty field counts as absent."""

    image: bytes
    fields: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The files of a request in their order, and its text fields; an empty field is absent."""

    files: tuple[UploadFile, ...]
    fields: dict[str, str]


async def accept(request: Request) -> Accepted:
    """Start the analysis of this multipart request, or return the one its idempotency key started.

    Raises:
        ImageRejected: the image cannot be analysed.
        RequestRejected: a field is missing, unknown or invalid.
        Conflict: the idempotency key belongs to another request.
        QueueFull: too many analyses are waiting.
    """
    form = await read_form(request, ANALYSIS_FIELDS)
    return await accept_form(request, form, request.headers.get("idempotency-key"))


async def accept_form(request: Request, form: Form, idempotency_key: str | None) -> Accepted:
    """Start the analysis of one image, or return the one that the key started.

    Raises:
        ImageRejected, RequestRejected, Conflict, QueueFull: as for `accept`.
    """
    served = services(request)
    new = new_analysis(form, idempotency_key)
    link = None if served.link_keys is None else served.link_keys.new_link()
    ingested = await read_image(request, form, cine=True, keys=link)
    if link is not None and ingested.sealed is not None:
        new = replace(new, link=link.link(ingested.sealed))
    new = replace(new, study_id=await run_in_threadpool(_study_id, served, new, ingested))
    accepted = await run_in_threadpool(
        served.store.accept, ingested, new, served.settings.queue_limit
    )
    with about(analysis_id=accepted.analysis_id):
        log.info("The analysis %s.", "was asked for before" if accepted.replayed else "is accepted")
    await run_in_threadpool(served.publisher.offer, Work.ANALYSIS)
    return accepted


def _study_id(served: Services, new: NewAnalysis, ingested: Ingested) -> str | None:
    """Return the id of the study that the sender names, or that the DICOM file belongs to."""
    label, dicom = new.details.study, ingested.image.info.dicom
    if label is None and dicom is None:
        return None
    uids = uid_map(served.settings, served.store)
    return uids.study_id(label, None if dicom is None else dicom.study_uid)


async def read_form(request: Request, allowed: tuple[str, ...]) -> Form:
    """Read the one image and the text fields of a multipart request.

    Raises:
        ImageUnsupported: the body is not multipart/form-data.
        RequestRejected: the image is missing, not alone, or not a file; or a field is unknown,
            given twice or holds a zero byte or half a character.
        BodyTooLarge: the body exceeds the byte limit.
    """
    async with read_parts(request, allowed) as parts:
        if len(parts.files) != 1:
            count = "no image" if not parts.files else f"{len(parts.files)} images"
            raise RequestRejected(f"The request holds {count}; send one, in a part named image.")
        return Form(image=await parts.files[0].read(), fields=parts.fields)


@asynccontextmanager
async def read_parts(
    request: Request, allowed: tuple[str, ...], files_max: int = FILES_MAX
) -> AsyncIterator[Parts]:
    """Read the files and the text fields of a multipart request; the files close at the end.

    Raises:
        ImageUnsupported: the body is not multipart/form-data.
        RequestRejected: there are more files than `files_max`, an image is not a file, or a field
            is unknown, given twice or holds a zero byte or half a character.
        BodyTooLarge: the body exceeds the byte limit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "multipart/form-data":
        raise ImageUnsupported(
            f"Send multipart/form-data with the file in a part named image, not {kind[:80]}."
        )
    files: list[UploadFile] = []
    fields: dict[str, str] = {}
    async with _multipart(request, files_max) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "image":
                    raise RequestRejected(f"The field {name[:40]!r} is not a file.")
                files.append(value)
                continue
            if name == "image":
                raise RequestRejected("The field image is text; send it as a file.")
            if name not in allowed:
                raise RequestRejected(
                    f"There is no field {name[:40]!r}; there are image, {', '.join(allowed)}."
                )
            if name in fields:
                raise RequestRejected(f"The field {name} is given twice.")
            fields[name] = _checked_text(name, value).strip()
        given = {name: text for name, text in fields.items() if text}
        yield Parts(files=tuple(files), fields=given)


def _checked_text(name: str, value: str) -> str:
    """Return the text of a field, which a database can store.

    Raises:
        FieldRejected: it holds a zero byte or half a character.
    """
    if "\0" in value:
        raise FieldRejected(name, f"The field {name} holds a zero byte.")
    if _SURROGATE.search(value):
        raise FieldRejected(
            name, f"The field {name} holds half a character (a lone surrogate); send whole ones."
        )
    return value


@asynccontextmanager
async def _multipart(request: Request, files_max: int) -> AsyncIterator[FormData]:
    """Parse the body into its parts, and close its files at the end."""
    form = await parse_multipart(request, "image", _part_limit(request), files_max)
    try:
        yield form
    finally:
        await form.close()


async def read_image(
    request: Request, form: Form, cine: bool = False, keys: KeyMaker | None = None
) -> Ingested:
    """Decode the form's image in a thread beside the event loop.

    With `cine`, all frames of a file are read if the form names none; with `keys`, the patient's
    fields of a DICOM file are sealed.

    Raises:
        ImageRejected: the image cannot be analysed.
        RequestRejected: the frame is not a number, does not exist, or is not named although there
            are several.
    """
    served = services(request)
    settings, uids = served.settings, None
    frame = _frame(form.fields.get("frame"))
    if is_dicom(form.image):
        uids = await run_in_threadpool(uid_map, settings, served.store)
    find_text = text_finder(settings.blacken_text)
    limit = settings.limit_pixels
    if cine and frame is None:
        return await run_in_threadpool(ingest_frames, form.image, limit, uids, find_text, keys)
    return await run_in_threadpool(ingest, form.image, limit, frame, uids, find_text, keys)


def new_analysis(form: Form, idempotency_key: str | None) -> NewAnalysis:
    """Return the analysis that the form requests.

    Raises:
        RequestRejected: a field is invalid; the message names it and never repeats free text.
    """
    fields = form.fields
    question = fields.get("question")
    if question is not None and len(question) > QUESTION_LIMIT:
        raise FieldRejected("question", f"The question has more than {QUESTION_LIMIT} characters.")
    external_id = fields.get("external_id")
    if external_id is not None and not EXTERNAL_ID.fullmatch(external_id):
        raise FieldRejected(
            "external_id", "external_id takes up to 64 letters, digits and . _ : - only."
        )
    if idempotency_key is not None and not 0 < len(idempotency_key) <= 255:
        raise RequestRejected("Idempotency-Key takes 1 to 255 characters.")
    return NewAnalysis(
        exam=_exam(fields.get("exam")),
        question=question,
        scope=read_scope(fields.get(SCOPE)),
        details=read_details(fields),
        frame=_frame(fields.get("frame")),
        external_id=external_id,
        idempotency_key=idempotency_key,
        deadline_s=_deadline(fields.get("deadline_s")),
    )


def region(form: Form, entry: SpecialistEntry, ingested: Ingested) -> Box | None:
    """Return the region of interest in pixels of the image; None if none is given.

    Raises:
        RequestRejected: the region is incomplete, is not a box within the image, or is missing or
            given contrary to what the specialist takes.
    """
    given = [name for name in ROI_FIELDS if name in form.fields]
    if not given:
        if entry.roi is Roi.REQUIRED:
            raise RequestRejected(f"{entry.id} needs a region: {', '.join(ROI_FIELDS)}.")
        return None
    if entry.roi is Roi.NONE:
        raise RequestRejected(f"{entry.id} takes no region; leave {', '.join(given)} out.")
    if len(given) < len(ROI_FIELDS):
        raise RequestRejected(f"A region needs all of {', '.join(ROI_FIELDS)}.")
    x_min, y_min, x_max, y_max = (_number(name, form.fields[name]) for name in ROI_FIELDS)
    info = ingested.image.info
    if not (0 <= x_min < x_max <= info.width_px and 0 <= y_min < y_max <= info.height_px):
        raise RequestRejected(
            f"The region must lie within the image, {info.width_px} × {info.height_px} pixels, "
            "with x_min < x_max and y_min < y_max."
        )
    return (x_min, y_min, x_max, y_max)


def _exam(text: str | None) -> ExamCode | None:
    if text is None:
        return None
    try:
        return ExamCode(text)
    except ValueError:
        known = ", ".join(ExamCode)
        raise FieldRejected("exam", f"There is no exam {text[:40]!r}; there are {known}.") from None


def _deadline(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= DEADLINE_MAX_S:
        raise FieldRejected(
            "deadline_s", f"deadline_s takes a number of seconds, up to {DEADLINE_MAX_S}."
        )
    return value


def _frame(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}", text):
        raise FieldRejected("frame", "frame takes a whole number, counted from 0.")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FieldRejected(name, f"{name} takes a number of pixels.")
    return value


def _part_limit(request: Request) -> int:
    """Return the largest size of a text field in bytes; the whole body has its own limit."""
    return min(65_536, services(request).settings.limit_bytes)
