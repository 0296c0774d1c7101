"""Turn one image into its report in this process, without the store, the queue and HTTP."""

import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.images.burned_in.finder import text_finder
from app.images.dicom.uids import UidMap
from app.images.ingest import Ingested, ingest, load_image
from app.images.multiframe import ingest_frames
from app.settings import Settings, code_version
from app.storage.frames import Scores
from app.storage.store import utc_now
from app.worker.frame_selection import chosen, screen
from app.worker.loading import load_planning, load_tools
from planner.case import Record, Request
from planner.conclusion.report import Identity, conclude
from planner.protocols import read_protocols
from planner.run import Tools, run
from reports.errors import FormNotInstalled, NoBiometry, NothingOutlined
from reports.forms.evidence_png import draw
from reports.forms.render import Subject, forms_of, render
from reports.model import Report


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A report and the image it is about, as PNG bytes."""

    report: Report
    png: bytes


class _Forgetful:
    """A journal that keeps nothing: an analysis that is not stored cannot be resumed."""

    def append(self, record: Record) -> None:
        """Drop the record."""


def analyze(
    data: bytes, request: Request, settings: Settings, tools: Tools | None = None
) -> Reported:
    """Analyse the image in those bytes and return its report.

    `tools` are loaded from the settings unless given.

    Raises:
        ImageRejected: the bytes are not an image that can be read.
        RequestRejected: the requested frame does not exist.
        WeightsError: a manifest or a weights file is missing, truncated or altered.
        SettingsError: burned-in text is to be blackened, and what finds it is not installed.
    """
    find_text = text_finder(settings.blacken_text)
    uids = UidMap.of(settings.data_dir)
    if request.frame is None:
        ingested = ingest_frames(data, settings.limit_pixels, uids, find_text)
    else:
        ingested = ingest(data, settings.limit_pixels, request.frame, uids, find_text)
    tools = tools or load_tools(settings)
    ingested = _with_a_frame(ingested, request, tools)
    policy = load_planning(settings, tools).policy
    case = run(ingested.image, request, tools, policy, _Forgetful())
    identity = Identity(
        report_id=uuid.uuid4().hex,
        analysis_id=uuid.uuid4().hex,
        version=1,
        supersedes=None,
        external_id=None,
        created_at=utc_now(),
        code_version=code_version(),
        runtime=tools.runtime,
        study_id=uids.study_id(
            request.details.study,
            None if ingested.image.info.dicom is None else ingested.image.info.dicom.study_uid,
        ),
    )
    return Reported(report=conclude(case, identity), png=ingested.png)


def _with_a_frame(ingested: Ingested, request: Request, tools: Tools) -> Ingested:
    """Choose, of several frames, the one that the router scores highest for the requested exam.

    Without a requested exam the highest score for any exam counts. An image without several frames
    is returned as it is.
    """
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
    """Write the report in every form, and return a sentence for each form that was left out.

    The folder gets report.* (the HTML is complete in itself) and evidence/ID.png.

    Raises:
        OSError: the folder cannot be made or written.
    """
    pictures = folder / "evidence"
    pictures.mkdir(parents=True, exist_ok=True)
    for item in reported.report.evidence:
        (pictures / f"{item.id}.png").write_bytes(draw(item, reported.report, reported.png))
    subject = Subject(report=reported.report, png=reported.png)
    left_out = []
    for form in forms_of(reported.report):
        try:
            (folder / f"report.{form}").write_bytes(render(form, subject))
        except (NothingOutlined, NoBiometry, FormNotInstalled) as error:
            left_out.append(f"Not written, report.{form}: {error}")
    return tuple(left_out)
