"""One image to its report in this process: the way of the service without its store, queue and HTTP."""

import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.cine import Scores, chosen, screen
from app.dicom_privacy import UidMap
from app.drawing import draw
from app.errors import NotAcceptable, NotFound
from app.frames import ingest_frames
from app.ingest import Ingested, ingest, load_image
from app.planning import load_planning
from app.rendering import ReportForm, Subject, render
from app.settings import Settings, code_version
from app.store import utc_now
from app.worker import load_tools
from planner.case import Record, Request
from planner.conclude import Identity, conclude
from planner.protocols import read_protocols
from planner.run import Tools, run
from reports.model import Report


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A report with the picture it is about, as PNG bytes."""

    report: Report
    png: bytes


class _Forgetful:
    """A journal that keeps nothing: what is not stored cannot be resumed."""

    def append(self, record: Record) -> None:
        """Nothing."""


def analyze(
    data: bytes, request: Request, settings: Settings, tools: Tools | None = None
) -> Reported:
    """The report of the image in those bytes; `tools` are loaded from the settings unless given.

    Raises:
        ImageRejected: the bytes are not an image that is read.
        RequestRejected: the frame is not there, or not chosen where there are several.
        WeightsError: a manifest or a weights file is missing, truncated or altered.
    """
    uids = UidMap.of(settings.data_dir)
    if request.frame is None:
        ingested = ingest_frames(data, settings.limit_pixels, uids)
    else:
        ingested = ingest(data, settings.limit_pixels, request.frame, uids)
    tools = tools or load_tools(settings)
    ingested = _with_a_frame(ingested, request, tools)
    chooser = load_planning(settings, tools).chooser
    case = run(ingested.image, request, tools, chooser, _Forgetful())
    identity = Identity(
        report_id=uuid.uuid4().hex,
        analysis_id=uuid.uuid4().hex,
        version=1,
        supersedes=None,
        external_id=None,
        created_at=utc_now(),
        code_version=code_version(),
        runtime=tools.runtime,
        released=settings.releases,
    )
    return Reported(report=conclude(case, identity), png=ingested.png)


def _with_a_frame(ingested: Ingested, request: Request, tools: Tools) -> Ingested:
    """Of several frames the one that the router scores highest; any other image as it is."""
    if not ingested.frames:
        return ingested
    pictures = {
        picture.key: partial(load_image, picture.png, picture.info) for picture in ingested.frames
    }
    scores: dict[str, Scores] = {}
    for found in screen(pictures, tools, read_protocols().router.specialist):
        scores |= found
    infos = [picture.info for picture in ingested.frames]
    info = chosen(infos, [scores[picture.key] for picture in ingested.frames], request.exam)
    picture = next(one for one in ingested.frames if one.info.frame == info.frame)
    return Ingested(image=load_image(picture.png, info), png=picture.png, key=picture.key)


def write_all(reported: Reported, folder: Path) -> tuple[str, ...]:
    """Why forms were left out; writes report.* (HTML complete in itself) and evidence/ID.png into the folder.

    Raises:
        OSError: the folder cannot be made or written.
    """
    pictures = folder / "evidence"
    pictures.mkdir(parents=True, exist_ok=True)
    for item in reported.report.evidence:
        (pictures / f"{item.id}.png").write_bytes(draw(item, reported.png))
    subject = Subject(report=reported.report, png=reported.png)
    left_out = []
    for form in ReportForm:
        try:
            (folder / f"report.{form}").write_bytes(render(form, subject))
        except (NotFound, NotAcceptable) as error:
            left_out.append(f"Not written, report.{form}: {error}")
    return tuple(left_out)
