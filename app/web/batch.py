"""Many images in one request: each file, and each file of a ZIP archive, is an analysis of its own.

One bad file stops none: each has its result, as in a response of status 207.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from app.errors import ImageRejected, ImageTooLarge, QueueFull, RequestRejected, ServiceError
from app.images.archive import Budget, Member, is_archive, members, shown_name
from app.observability.metrics import count_refused
from app.web.dependencies import services
from app.web.problems import ACCEPTED, OK, Problem, problem_of
from app.web.progress import Standing, standing
from app.web.uploads import Form, Parts, accept_form, new_analysis

log = logging.getLogger(__name__)


class Entry(BaseModel):
    """What became of one file: an analysis, a problem, or the reason why it was skipped.

    `name` and `archive` are the sender's names, of the file and of the ZIP archive that it lay in,
    as they may be shown; they are not kept. `status` is what the file alone would have got.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    archive: str | None
    status: int
    analysis: Standing | None = None
    problem: Problem | None = None
    skipped: str | None = None


class Counts(BaseModel):
    """How many files became an analysis, were refused, and were skipped as no images."""

    model_config = ConfigDict(frozen=True)

    accepted: int
    refused: int
    skipped: int


class Batch(BaseModel):
    """The files of one request in their order, each with its result."""

    model_config = ConfigDict(frozen=True)

    counts: Counts
    entries: tuple[Entry, ...]


def counts_of(entries: Sequence[Entry]) -> Counts:
    """Count the entries by what became of them."""
    return Counts(
        accepted=sum(entry.analysis is not None for entry in entries),
        refused=sum(entry.problem is not None for entry in entries),
        skipped=sum(entry.skipped is not None for entry in entries),
    )


async def accept_all(
    request: Request, parts: Parts, idempotency_key: str | None = None
) -> tuple[Entry, ...]:
    """Start the analysis of every image in the request, and say of each file what became of it.

    When the queue is full, the files after it are refused unread; the same request with the same
    key starts only what is not started yet.

    Raises:
        RequestRejected: there is no file, or a field is invalid, for all files alike.
        ClientDisconnect: the client went away; what was started until then goes on.
    """
    new_analysis(Form(image=b"", fields=parts.fields), idempotency_key)
    batch = _Batch(request=request, fields=parts.fields, idempotency_key=idempotency_key)
    # Browsers send an empty part for a file input in which nothing is chosen.
    files = [file for file in parts.files if file.filename or file.size]
    if not files:
        raise RequestRejected("The request holds no image; send one or more, in parts named image.")
    settings = services(request).settings
    budget = Budget(
        entries=settings.limit_batch_files,
        entry_bytes=settings.limit_bytes,
        total_bytes=settings.limit_unpacked_bytes,
    )
    for file in files:
        name = shown_name(file.filename or "")
        if await run_in_threadpool(is_archive, file.file):
            async for member, archive in _opened(file, name, budget):
                await batch.add(member, archive)
        else:
            await batch.add(await _alone(file, name, settings.limit_bytes), None)
    return tuple(batch.entries)


async def _opened(
    file: UploadFile, name: str, budget: Budget
) -> AsyncIterator[tuple[Member, str | None]]:
    """Yield the files of an archive with its name; an archive that is not opened is a bad file."""
    try:
        async for member in iterate_in_threadpool(members(file.file, budget)):
            yield member, name
    except ImageRejected as error:
        yield Member(name=name, refused=error), None


async def _alone(file: UploadFile, name: str, limit_bytes: int) -> Member:
    if (file.size or 0) > limit_bytes:
        return Member(name=name, refused=ImageTooLarge(f"It has more than {limit_bytes} bytes."))
    return Member(name=name, data=await file.read())


@dataclass(kw_only=True)
class _Batch:
    request: Request
    fields: dict[str, str]
    idempotency_key: str | None
    entries: list[Entry] = field(default_factory=list)
    full: QueueFull | None = None
    """Why no further file is read."""

    async def add(self, member: Member, archive: str | None) -> None:
        """Start the analysis of one file, and note what became of it.

        Raises:
            ClientDisconnect: the client went away.
        """
        if await self.request.is_disconnected():
            raise ClientDisconnect
        if member.skipped is not None:
            entry = Entry(name=member.name, archive=archive, status=OK, skipped=member.skipped)
            self.entries.append(entry)
            return
        try:
            found = await self._accept(member)
        except ServiceError as error:
            if isinstance(error, QueueFull):
                self.full = error
            self._refuse(member, archive, error)
        except Exception as error:
            # The boundary of one file: whatever is wrong with it must not stop the others.
            log.exception("A file of a batch failed.")
            self._refuse(member, archive, error)
        else:
            entry = Entry(name=member.name, archive=archive, status=ACCEPTED, analysis=found)
            self.entries.append(entry)

    def _refuse(self, member: Member, archive: str | None, error: Exception) -> None:
        count_refused(error)
        problem = problem_of(error)
        entry = Entry(name=member.name, archive=archive, status=problem.status, problem=problem)
        self.entries.append(entry)

    async def _accept(self, member: Member) -> Standing:
        if member.refused is not None:
            raise member.refused
        if self.full is not None:
            raise self.full
        key = self.idempotency_key
        if key is not None:
            key = hashlib.sha256(f"{len(self.entries)} of {key}".encode()).hexdigest()
        form = Form(image=member.data, fields=self.fields)
        accepted = await accept_form(self.request, form, key)
        return await run_in_threadpool(standing, services(self.request).store, accepted.analysis_id)
