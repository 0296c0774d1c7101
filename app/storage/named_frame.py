"""A new analysis of another frame of a stored cine, without the file being sent again."""

from sqlalchemy import select

from app.errors import NotFound
from app.images.ingest import Ingested, load_image
from app.storage.analysis import Accepted, NewAnalysis, SealedLink
from app.storage.store import Store
from app.storage.tables import AnalysisRow, FrameRow, LinkRow
from reports.model import ImageInfo


def accept_frame(store: Store, analysis_id: str, index: int, queue_limit: int) -> Accepted:
    """Start an analysis of that frame, counted from 0, of an analysis that keeps its frames.

    It has the exam and the details of the earlier one, but no question, whose words are not kept,
    so that the whole protocol is reported. The frames are added after it is accepted: a crash in
    between costs nothing but the way from it to them.

    Raises:
        NotFound: there is no analysis of that id, or it keeps no such frame.
        QueueFull: `queue_limit` analyses are waiting or running.
    """
    earlier = store.analysis(analysis_id)
    with store.read() as session:
        frame = session.get(FrameRow, (analysis_id, index))
        if frame is None:
            raise NotFound(f"The analysis keeps no frame {index + 1}.")
        key, info = frame.image_key, ImageInfo.model_validate_json(frame.image_info)
        row = session.get(LinkRow, analysis_id)
        link = None if row is None else SealedLink(key_id=row.key_id, sealed=row.sealed)
        patient_key = session.get_one(AnalysisRow, analysis_id).patient_key
    png = store.png(key)
    new = NewAnalysis(
        exam=earlier.exam,
        frame=index,
        details=earlier.details,
        external_id=earlier.external_id,
        link=link,
        study_id=earlier.study_id,
    )
    ingested = Ingested(image=load_image(png, info), png=png, key=key, patient_key=patient_key)
    accepted = store.accept(ingested, new, queue_limit)
    _copy_frames(store, analysis_id, accepted.analysis_id)
    return accepted


def _copy_frames(store: Store, analysis_id: str, new_id: str) -> None:
    with store.write() as session:
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
