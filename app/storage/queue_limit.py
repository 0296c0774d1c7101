"""The limit of the queue: how many analyses may wait or run."""

import time

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.errors import QueueFull
from app.storage.tables import JobRow, JobState


def check_queue(session: Session, queue_limit: int) -> None:
    """Check that one more analysis may wait.

    Raises:
        QueueFull: `queue_limit` analyses are waiting or running.
    """
    in_time = or_(JobRow.deadline_at.is_(None), JobRow.deadline_at >= time.time())
    waiting = (JobRow.state == JobState.QUEUED) & in_time
    unfinished = session.scalar(
        select(func.count()).where(or_(waiting, JobRow.state == JobState.RUNNING))
    )
    if (unfinished or 0) >= queue_limit:
        raise QueueFull(f"{unfinished} analyses are waiting; try again in a few seconds.")
