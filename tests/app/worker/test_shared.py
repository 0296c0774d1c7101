"""The workers of one process share a planner, which plans for each as it would alone.

Nobody waits for ever.
"""

import threading
import time
from pathlib import Path

import PIL.Image
import pytest

from app.images.ingest import Ingested, ingest
from app.jobs.pubsub import LocalPublisher
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.worker.loading import load_planning
from app.worker.pool import WorkerPool
from app.worker.shared import Gate
from planner.case import Case, Request
from planner.conclusion.report import conclude
from planner.policy import Policy
from planner.run import run
from reports.model import ChosenBy, Report
from specialists.image import Image
from tests.app.conftest import encoded, some_pixels
from tests.app.stacks import until
from tests.app.worker.test_loading import Tools
from tests.builders import an_image
from tests.planner.stand_ins import MemoryJournal, an_identity
from tests.planner.tiny_llava import write_ours

THREADS = 4
IMAGES = 6


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a planner that sees; its weights are random, so that it need not look."""
    folder = write_ours(tmp_path / "planner")
    changes = {"planner": str(folder), "planner_blind": True, "worker_threads": THREADS}
    return Settings.model_validate(settings.model_dump() | changes | {"lease_s": 30.0})


def said(case: Case) -> tuple[str, list[tuple[str, ChosenBy, float | None]]]:
    """The content of its report and what chose each step."""
    report = conclude(case, an_identity())
    steps = [(step.action, step.chosen_by, step.margin) for step in report.steps]
    return report.provenance.content_sha256, steps


def case_of(image: Image, policy: Policy) -> Case:
    return run(image, Request(), Tools(), policy, MemoryJournal())


def test_a_planner_that_threads_share_plans_as_it_does_alone(planned: Settings) -> None:
    images = [an_image(seed=seed) for seed in range(IMAGES)]
    alone = [said(case_of(image, load_planning(planned, Tools()).policy)) for image in images]
    assert any(by is ChosenBy.MODEL for _, steps in alone for _, by, _ in steps)
    shared = load_planning(planned, Tools()).policy
    together: dict[tuple[int, int], Case] = {}
    ready = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        ready.wait(30)
        for index in range(IMAGES):  # Each thread in another order, so that images meet and part.
            at = (index + thread) % IMAGES
            together[thread, at] = case_of(images[at], shared)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert len(together) == THREADS * IMAGES
    for (_, at), case in together.items():
        assert said(case) == alone[at]


def test_the_workers_of_one_process_report_what_one_alone_reports(planned: Settings) -> None:
    uploads = [ingest(a_speckle(seed), planned.limit_pixels) for seed in range(IMAGES)]
    one = planned.model_copy(update={"worker_threads": 1})
    alone, together = contents(one, uploads), contents(planned, uploads)
    assert together == alone
    assert len(set(alone)) == IMAGES


def contents(settings: Settings, uploads: list[Ingested]) -> list[str]:
    """The content of each image's report, made by the crew of those settings."""
    store = Store.open(settings)
    pool = WorkerPool(settings, store, Tools(), LocalPublisher())
    ids = [store.accept(upload, NewAnalysis(), 100).analysis_id for upload in uploads]
    pool.start(responder=True)
    try:
        until(lambda: all(store.analysis(one).ended for one in ids), "They do not end.", 60)
        reports = [store.report(one) for one in ids]
    finally:
        pool.stop(30)
        store.close()
    assert all(isinstance(report, Report) for report in reports)
    return [report.provenance.content_sha256 for report in reports if report is not None]


def a_speckle(seed: int) -> bytes:
    return encoded(PIL.Image.fromarray(some_pixels(200 + seed, 240)))


def test_who_wants_to_be_alone_gets_in_and_is_alone() -> None:
    gate, inside, most = Gate(), 0, 0
    lock, stop, lonely = threading.Lock(), threading.Event(), []

    def come_and_go() -> None:
        nonlocal inside, most
        while not stop.is_set():
            with gate.shared():
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.002)
                with lock:
                    inside -= 1

    def be_alone() -> None:
        for _ in range(20):
            with gate.exclusive():
                lonely.append(inside)
                time.sleep(0.001)
                lonely.append(inside)

    crowd = [threading.Thread(target=come_and_go, daemon=True) for _ in range(THREADS)]
    alone = threading.Thread(target=be_alone, daemon=True)
    for thread in (*crowd, alone):
        thread.start()
    alone.join(30)
    assert not alone.is_alive()
    stop.set()
    for thread in crowd:
        thread.join(30)
    assert lonely == [0] * 40
    assert most > 1
