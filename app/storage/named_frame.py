"""A new analysis of another frame of a stored cine, without the file being sent again."""

import hashlib
import time
import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.observability.logs import this_request
from app.storage.analysis import Accepted
from app.storage.database import Alone, alone
from app.storage.queue_limit import check_queue
from app.storage.store import Store, utc_now
from app.storage.tables import AnalysisRow, FrameRow, JobRow, JobState, LinkRow

_COPIED = (
    *("exam", "external_id", "scope", "label", "study", "laterality", "site", "indication"),
    *("gestational_age", "operator", "study_id", "patient_key"),
)
"""What the new analysis takes from the earlier one; a question's words are not kept."""


def accept_frame(store: Store, analysis_id: str, index: int, queue_limit: int) -> Accepted:
    """Start an analysis of that frame, counted from 0, of an analysis that keeps its frames.

    It has the exam and the details of the earlier one, and its frames.

    Raises:
        NotFound: there is no analysis of that id, or it keeps no such frame.
        QueueFull: `queue_limit` analyses are waiting or running.
    """
    with store.write() as session:
        alone(session, Alone.ACCEPT)
        frame = session.get(FrameRow, (analysis_id, index))
        if frame is None:
            raise NotFound(f"The analysis keeps no frame {index + 1}.")
        earlier = session.get_one(AnalysisRow, analysis_id)
        check_queue(session, queue_limit)
        now, new_id = utc_now(), uuid.uuid4().hex
        session.add(
            AnalysisRow(
                id=new_id,
                image_key=frame.image_key,
                image_info=frame.image_info,
                question_given=False,
                frame=index,
                request_sha256=hashlib.sha256(
                    f"{earlier.request_sha256}\0{index}".encode()
                ).hexdigest(),
                created_at=now,
                **{name: getattr(earlier, name) for name in _COPIED},
            )
        )
        session.flush()
        session.add(
            JobRow(
                analysis_id=new_id,
                version=1,
                state=JobState.QUEUED,
                request_id=this_request(),
                queued_at=time.time(),
            )
        )
        _copy_frames(session, analysis_id, new_id)
        link = session.get(LinkRow, analysis_id)
        if link is not None:
            session.add(
                LinkRow(analysis_id=new_id, key_id=link.key_id, sealed=link.sealed, created_at=now)
            )
    return Accepted(analysis_id=new_id, replayed=False)


def _copy_frames(session: Session, analysis_id: str, new_id: str) -> None:
    frames = select(FrameRow).where(FrameRow.analysis_id == analysis_id)
    for row in session.scalars(frames).all():
        session.add(
            FrameRow(
                analysis_id=new_id,
                index=row.index,
                image_key=row.image_key,
                image_info=row.image_info,
                scores=row.scores,
            )
        )
