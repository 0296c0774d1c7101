"""The client's deadline reaches the networks' queue: no work for a client that has gone."""

import threading
from dataclasses import dataclass

import pytest

from app.errors import DeadlinePassed
from app.images.ingest import ingest
from app.jobs.inference_requests import Limits
from app.jobs.queue import EXPIRED
from app.settings import Settings
from app.web.inference_client import LocalInferenceClient
from planner.run import Tools
from reports.model import Box
from specialists.deadline import Deadline
from specialists.image import Image
from specialists.manifest import Manifest
from specialists.result import Result
from tests.app.conftest import a_png, starting
from tests.app.stand_in import StandInTools
from tests.app.worker.test_stopping import ended, send
from tests.one_by_one import OneByOne


class Queued:
    """A network that is busy for others: whoever asks waits until nobody wants the answer."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def infer(
        self, specialist_id: str, image: Image, roi: Box | None, deadline: Deadline
    ) -> Result:
        self.asked.set()
        while True:
            deadline.check()
            threading.Event().wait(0.01)


class Late(StandInTools):
    """Stand-ins with a deadline, which wait in a queue that does not move."""

    def with_deadline(self, deadline: Deadline) -> Tools:
        return Waiting(manifest=self.manifest, deadline=deadline)


@dataclass(kw_only=True)
class Waiting(OneByOne):
    manifest: Manifest
    deadline: Deadline
    runtime: str = "stand-in"

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        return Queued().infer(specialist_id, image, roi, self.deadline)


async def test_a_question_whose_client_went_away_leaves_the_networks_queue(
    settings: Settings,
) -> None:
    queued = Queued()
    reach = LocalInferenceClient(queued.infer, Limits(waiting=4, deadline_s=60.0))

    async def gone() -> bool:
        return queued.asked.is_set()

    with pytest.raises(DeadlinePassed, match="given up"):
        await reach.infer("breast_lesion", ingest(a_png(), settings.limit_pixels), None, gone)


async def test_a_question_that_is_overdue_leaves_the_networks_queue(settings: Settings) -> None:
    reach = LocalInferenceClient(Queued().infer, Limits(waiting=4, deadline_s=0.1))

    async def gone() -> bool:
        return False

    with pytest.raises(DeadlinePassed, match="no time"):
        await reach.infer("breast_lesion", ingest(a_png(), settings.limit_pixels), None, gone)


async def test_an_analysis_that_is_late_leaves_the_networks_queue(settings: Settings) -> None:
    async with starting(settings, Late())() as client:
        here = (await send(client, deadline_s="0.3")).headers["location"]
        standing = await ended(client, here)
    assert (standing["state"], standing["problem"]) == ("failed", EXPIRED)
