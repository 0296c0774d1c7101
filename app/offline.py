"""One image to its report in this process: the way of the service without its store, queue and HTTP."""

import base64
import uuid
from dataclasses import dataclass
from pathlib import Path

from app.dicom_privacy import UidMap
from app.drawing import draw
from app.ingest import ingest
from app.settings import Settings, code_version
from app.store import utc_now
from app.worker import load_tools
from planner.case import Record, Request
from planner.conclude import Identity, conclude
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import Tools, run
from reports.content import to_json
from reports.html import to_html
from reports.model import Report
from reports.text import to_text


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
    ingested = ingest(data, settings.limit_pixels, request.frame, UidMap.of(settings.data_dir))
    tools = tools or load_tools(settings)
    case = run(ingested.image, request, tools, Rules(read_protocols()), _Forgetful())
    identity = Identity(
        report_id=uuid.uuid4().hex,
        analysis_id=uuid.uuid4().hex,
        version=1,
        supersedes=None,
        external_id=None,
        created_at=utc_now(),
        code_version=code_version(),
        runtime=tools.runtime,
    )
    return Reported(report=conclude(case, identity), png=ingested.png)


def write_all(reported: Reported, folder: Path) -> None:
    """Nothing; writes report.json, .txt, .html (complete in itself) and evidence/ID.png into the folder.

    Raises:
        OSError: the folder cannot be made or written.
    """
    pictures = folder / "evidence"
    pictures.mkdir(parents=True, exist_ok=True)
    for item in reported.report.evidence:
        (pictures / f"{item.id}.png").write_bytes(draw(item, reported.png))
    picture = "data:image/png;base64," + base64.b64encode(reported.png).decode()
    (folder / "report.json").write_bytes(to_json(reported.report))
    (folder / "report.txt").write_text(to_text(reported.report), encoding="utf-8")
    (folder / "report.html").write_text(to_html(reported.report, picture), encoding="utf-8")
