"""Which frame of several is analysed when the request names none."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from app.images.ingest import ingest
from app.images.multiframe import FRAMES_MAX, coarse_to_fine, ingest_frames
from app.jobs.queue import CANCELLED, EXPIRED
from app.settings import Settings
from app.standalone import analyze
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.worker.frame_selection import TOGETHER, chosen
from app.worker.worker import Worker
from planner.case import Request
from reports.model import Box, ExamCode
from specialists.errors import Declined, Unavailable
from specialists.image import Image
from specialists.result import Result
from tests.app.conftest import Serve, encoded, starting
from tests.app.dicom_files import LIMIT_PIXELS, a_dicom, a_region, speckle
from tests.app.stand_in import StandInTools
from tests.builders import an_exam_result, an_image_info


def a_cine(count: int = 4) -> npt.NDArray[np.uint8]:
    return np.stack([np.roll(speckle(), 7 * index, axis=1) for index in range(count)])


def a_file(count: int = 4, **changes: Any) -> bytes:
    return a_dicom(a_cine(count), SequenceOfUltrasoundRegions=[a_region()], **changes)


class Router(StandInTools):
    """Specialists of which the router knows each frame of `a_cine` by its pixels."""

    def know(self, breast: Sequence[float | None], nerve: float = 0.01) -> None:
        """Takes the router's score for breast of each frame; None declines it."""
        self.known = {
            frame.key: score
            for frame, score in zip(
                ingest_frames(a_file(len(breast)), LIMIT_PIXELS).frames, breast, strict=True
            )
        }
        self.nerve = nerve

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        if specialist_id != "exam_cls":
            return super().run(specialist_id, image, roi)
        self.calls.append(specialist_id)
        score = self.known[image.key]
        if score is None:
            raise Declined("It is unlike the training images.")
        scores = {code.value: 0.01 for code in ExamCode} | {"breast": score, "nerve": self.nerve}
        return an_exam_result(scores=scores)


@pytest.fixture
def tools() -> Router:
    return Router()


async def test_the_frame_of_the_highest_score_is_analysed_and_the_report_says_why(
    client: httpx.AsyncClient, tools: Router
) -> None:
    tools.know([0.7, None, 0.95, 0.95])
    answer = await client.post("/analyze", files={"image": ("x", a_file())})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert report["image"]["frame"] == 2
    assert report["request"]["frame"] is None
    assert "of its 4 frames, 3 of them scored" in report["image"]["frame_reason"]
    assert "breast (0.95)" in report["image"]["frame_reason"]
    assert any("since of its 4 frames" in line for line in report["limitations"])
    picture = await client.get(f"/analyses/{report['analysis_id']}/image.png")
    assert picture.content == ingest(a_file(), LIMIT_PIXELS, 2).png
    here = (await client.get(f"/analyses/{report['analysis_id']}")).json()
    assert here["screening"] == {"screened": 4, "frames": 4}


class SlowRouter(Router):
    """One that begins a round of frames and waits."""

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        self.rounds += 1
        self.gate.wait(30)
        return super().screen(specialist_id, images)

    rounds = 0


@pytest.mark.parametrize("deadline_s", [None, "0.5"])
async def test_screening_ends_after_its_round_when_it_is_cancelled_or_late(
    settings: Settings, deadline_s: str | None
) -> None:
    tools = SlowRouter()
    tools.know([0.9] * (TOGETHER + 2))
    tools.gate.clear()
    given = {} if deadline_s is None else {"deadline_s": deadline_s}
    async with starting(settings, tools)() as client:
        sent = await client.post(
            "/analyze",
            files={"image": ("x", a_file(TOGETHER + 2))},
            data=given,
            headers={"Prefer": "respond-async"},
        )
        here = sent.headers["location"]
        while not tools.rounds:
            await asyncio.sleep(0.01)
        if deadline_s is None:
            await client.post(f"{here}/cancel")
        else:
            await asyncio.sleep(float(deadline_s))
        tools.gate.set()
        for _ in range(200):
            if (await client.get(here)).json()["state"] == "failed":
                break
            await asyncio.sleep(0.02)
        problem = (await client.get(here)).json()["problem"]
    # The service has ended, and so has whoever could have gone on.
    assert problem == (CANCELLED if deadline_s is None else EXPIRED)
    assert tools.rounds == 1


async def test_the_frames_can_be_stepped_through(client: httpx.AsyncClient, tools: Router) -> None:
    tools.know([0.7, 0.8, 0.95])
    report = (await client.post("/analyze", files={"image": ("x", a_file(3))})).json()
    here = f"/analyses/{report['analysis_id']}"
    assert f"{here}/frames/2" in (await client.get(f"{here}/view")).text
    for index, score in enumerate(("0.70", "0.80", "0.95")):
        page = (await client.get(f"{here}/frames/{index}")).text
        assert ("data-analysed hidden" in page) == (index != 2)
        assert f'<span data-words aria-live="polite">Router scores: breast: {score}' in page
        assert (f'rel="prev" href="{here}/frames/{index - 1}">' in page) == (index > 0)
        assert (f'rel="next" href="{here}/frames/{index + 1}">' in page) == (index < 2)
        assert f"<span data-number>{index + 1}</span> of 3" in page
        picture = await client.get(f"{here}/frames/{index}.png")
        assert picture.content == ingest(a_file(3), LIMIT_PIXELS, index).png
    for beyond in ("3", "-1", "3.png"):
        assert (await client.get(f"{here}/frames/{beyond}")).status_code == 404


async def test_another_frame_is_analysed_with_the_same_details_and_in_the_same_study(
    client: httpx.AsyncClient, tools: Router
) -> None:
    tools.know([0.7, 0.8, 0.95])
    sent = {"exam": "breast", "laterality": "left", "label": "Case 12", "question": "How big?"}
    report = (await client.post("/analyze", files={"image": ("x", a_file(3))}, data=sent)).json()
    frames = f"/analyses/{report['analysis_id']}/frames"
    assert f'action="{frames}/0/analyse"' in (await client.get(f"{frames}/0")).text
    answer = await client.post(f"{frames}/0/analyse")
    assert answer.status_code == 303
    here = answer.headers["location"].removesuffix("/view")
    assert here != f"/analyses/{report['analysis_id']}"
    while (other := await client.get(f"{here}/report.json")).status_code == 404:
        await asyncio.sleep(0.05)
    made = other.json()
    assert made["image"] | {"frame_reason": report["image"]["frame_reason"]} == report["image"] | {
        "frame": 0
    }
    assert (made["request"]["frame"], made["request"]["question_given"]) == (0, False)
    assert (made["request"]["label"], made["request"]["laterality"]) == ("Case 12", "left")
    assert made["study"] == report["study"]
    study = (await client.get(f"/studies/{report['study']['id']}")).json()
    assert [image["frame"] for image in study["images"]] == [2, 0]
    page = (await client.get(f"{here}/view")).text
    assert "Frame 1 of 3: named in the request." in page
    assert f'href="{here}/frames/0"' in page
    gone = await client.post(f"{frames}/3/analyse")
    assert (gone.status_code, "keeps no frame 4" in gone.text) == (404, True)


async def test_the_requested_exam_decides_which_score_counts(
    client: httpx.AsyncClient, tools: Router
) -> None:
    tools.know([0.6, 0.3], nerve=0.7)
    answer = await client.post(
        "/analyze", files={"image": ("x", a_file(2))}, data={"exam": "breast"}
    )
    assert answer.json()["image"]["frame"] == 0
    assert "breast (0.60)" in answer.json()["image"]["frame_reason"]


def test_an_exam_that_the_router_does_not_know_leaves_the_choice_to_any_score() -> None:
    infos = [an_image_info(frame=frame) for frame in (0, 1)]
    info = chosen(infos, [{"nerve": 0.4}, {"nerve": 0.8}], ExamCode.HEART)
    assert (info.frame, info.not_analysed) == (1, None)
    assert "the router does not know heart" in (info.frame_reason or "")


async def test_no_scored_frame_gives_a_refused_report_and_not_the_first_frame(
    client: httpx.AsyncClient, tools: Router
) -> None:
    tools.know([None, None])
    report = (await client.post("/analyze", files={"image": ("x", a_file(2))})).json()
    assert report["outcome"] == "refused"
    assert "No frame could be chosen" in report["reason"]


async def test_frames_screened_are_told_while_it_runs(serve: Serve, tools: Router) -> None:
    tools.know([0.7, 0.8, 0.9, 0.6])
    async with serve() as client:
        answer = await client.post(
            "/analyze", files={"image": ("x", a_file())}, headers={"Prefer": "respond-async"}
        )
        events = await client.get(f"{answer.headers['location']}/events")
    states = [json.loads(line[6:]) for line in events.text.splitlines() if line[:7] == "data: {"]
    assert states[-1]["screening"] == {"screened": 4, "frames": 4}
    assert states[-1]["image"]["frame"] == 2


def test_a_screening_that_was_cut_off_goes_on_where_it_was(settings: Settings) -> None:
    tools = Router()
    tools.know([0.7, 0.8, 0.9, 0.6])
    store = Store.open(settings)
    accepted = store.accept(ingest_frames(a_file(), LIMIT_PIXELS), NewAnalysis(), 9)
    kept = store.cine.frames(accepted.analysis_id)
    for frame, score in zip(kept[:2], (0.7, 0.99), strict=True):
        store.cine.note(accepted.analysis_id, {frame.key: {"breast": score}})
    worker = Worker(settings, store, tools)
    worker.start()
    while not store.analysis(accepted.analysis_id).ended:
        time.sleep(0.02)
    worker.stop(10)
    assert store.analysis(accepted.analysis_id).image.frame == 1
    assert tools.calls.count("exam_cls") == 3  # Two frames that were not yet seen, then the case.
    store.close()


def test_a_router_that_is_not_installed_chooses_nothing(settings: Settings) -> None:
    tools = StandInTools()
    tools.answers["exam_cls"] = Unavailable("No weights.")
    report = analyze(a_file(2), Request(), settings, tools).report
    assert report.outcome == "refused"
    assert "No frame could be chosen" in (report.reason or "")


def test_the_command_line_chooses_as_the_service_does(settings: Settings) -> None:
    tools = Router()
    tools.know([0.7, 0.9, 0.8])
    reported = analyze(a_file(3), Request(), settings, tools)
    assert reported.report.image.frame == 1
    assert reported.png == ingest(a_file(3), LIMIT_PIXELS, 1).png


def test_of_a_file_of_very_many_frames_every_so_many_are_kept() -> None:
    long = np.zeros((FRAMES_MAX + 2, 16, 16), dtype=np.uint8)
    long[:, 0, 0] = np.arange(len(long)) % 256
    frames = ingest_frames(a_dicom(long), LIMIT_PIXELS).frames
    assert [picture.info.frame for picture in frames] == list(range(0, FRAMES_MAX + 2, 2))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 300])
def test_frames_are_read_from_coarse_to_fine(count: int) -> None:
    order = list(coarse_to_fine(count))
    assert sorted(order) == list(range(count))
    for cut in range(2, count):
        gaps = np.diff(sorted([*order[:cut], count]))
        assert gaps.max() <= 2 * -(-count // cut) + 1


def test_a_still_has_nothing_to_choose(tmp_path: Path) -> None:
    assert ingest_frames(a_dicom(), LIMIT_PIXELS).frames == ()
    assert ingest_frames(encoded(PIL.Image.fromarray(speckle())), LIMIT_PIXELS).frames == ()
