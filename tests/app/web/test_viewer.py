import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.demo import loopback_socket
from app.web.pages.viewer import ONE_LAYER_FROM, ROWS, evidence_names, layers_of, utc_text
from reports.measure.intervals import caveat
from reports.model import ExamCode
from specialists.phantom.draw import png_bytes
from tests.builders import (
    a_component,
    a_report,
    a_segment_result,
    an_ellipse,
    some_evidence,
)
from tests.planner.stand_ins import StandInTools, breast_answers, routed_to
from tests.serving import a_phantom, service, truthful_tools

PHANTOM = a_phantom()
PNG = png_bytes(PHANTOM)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("viewer"), truthful_tools(PHANTOM)) as url:
        yield url


def analysed(address: str, **fields: str) -> str:
    answer = httpx.post(f"{address}/analyze", files={"image": PNG}, data=fields, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["analysis_id"])


def test_every_page_carries_the_strict_policy(address: str) -> None:
    analysis_id = analysed(address)
    for path in ("/", f"/analyses/{analysis_id}/view", "/analyses/none/view"):
        assert httpx.get(address + path).headers["content-security-policy"] == POLICY


def test_no_page_has_inline_script_style_or_another_origin(address: str) -> None:
    analysis_id = analysed(address)
    for path in ("/", f"/analyses/{analysis_id}/view", "/analyses/none/view"):
        html = httpx.get(address + path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", html)
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", html)


def test_an_upload_leads_to_the_analysis(address: str) -> None:
    answer = httpx.post(f"{address}/", files={"image": PNG}, data={"exam": "", "question": ""})
    assert answer.status_code == 303
    assert re.fullmatch(r"/analyses/[0-9a-f]{32}/view", answer.headers["location"])


def test_an_upload_that_is_no_image_says_why_on_the_worklist(address: str) -> None:
    answer = httpx.post(f"{address}/", files={"image": b"GIF89a..."}, data={"exam": ""})
    assert answer.status_code == 415
    assert "This is a GIF" in answer.text
    assert 'name="image"' in answer.text


def test_every_exam_can_be_chosen_and_says_where_it_is_not_served(address: str) -> None:
    html = httpx.get(address).text
    for exam in ExamCode:
        choice = re.search(rf'<option value="{exam.value}">([^<]*)</option>', html)
        assert choice is not None
        assert choice[1].endswith(" (not served here)") == (exam is not ExamCode.BREAST)


def test_an_unknown_analysis_is_a_page_that_says_so(address: str) -> None:
    answer = httpx.get(f"{address}/analyses/none/view")
    assert answer.status_code == 404
    assert "There is no analysis" in answer.text


def test_text_of_the_sender_cannot_become_markup(address: str) -> None:
    analysis_id = analysed(address, question="<script>alert(1)</script>", external_id="a.b")
    for path in ("/", f"/analyses/{analysis_id}/view"):
        assert "<script>alert" not in httpx.get(address + path).text


def test_the_report_page_holds_every_statement_and_its_evidence(address: str) -> None:
    analysis_id = analysed(address)
    report = httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()
    html = httpx.get(f"{address}/analyses/{analysis_id}/view").text
    plain = html.replace("&#39;", "'").replace("&#34;", '"')
    for item in report["findings"] + report["measurements"]:
        assert item["statement"] in plain
        if item["evidence"]:
            assert f'data-lights="{" ".join(item["evidence"])}"' in html
    for sentence in report["impression"] + report["limitations"]:
        assert sentence in plain
    for item in report["evidence"]:
        assert (f'data-evidence="{item["id"]}"' in html) == (item["kind"] != "scores")
    for step in report["steps"]:
        assert step["action"] in html
    for model in report["provenance"]["models"]:
        assert model["sha256"] in html
    for form in ("json", "html", "txt"):
        assert f"/analyses/{analysis_id}/report.{form}" in html


def test_a_note_on_the_question_does_not_make_a_report_partial(address: str) -> None:
    analysis_id = analysed(address, question="Is it malignant?")
    assert (
        httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()["outcome"] == "reported"
    )
    html = httpx.get(f"{address}/analyses/{analysis_id}/view").text
    assert "By its keywords the question asks for" in html
    assert "Reported in part" not in html


def test_what_a_measurement_does_not_tell_stands_beside_it_once(address: str) -> None:
    analysis_id = analysed(address)
    report = httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()
    reasons = {str(caveat(item["reason"])) for item in report["measurements"]}
    html = httpx.get(f"{address}/analyses/{analysis_id}/view").text
    assert [html.count(reason) for reason in reasons] == [1] * len(reasons)


def test_checks_that_flag_are_one_alert(tmp_path: Path) -> None:
    answers = breast_answers(exam_cls=routed_to(ExamCode.MUSCLE, 0.5))
    away = a_component(polygons=(an_ellipse((80.0, 80.0), (40.0, 30.0)),))
    answers["breast_lesion"] = a_segment_result(components=(away,))
    with service(tmp_path, StandInTools(answers=answers)) as address:
        analysis_id = analysed(address, exam="breast")
        html = httpx.get(f"{address}/analyses/{analysis_id}/view").text
    assert html.count('class="alert warn"') == 1
    assert "exam: router against request" in html.partition("Impression")[0]
    assert "outline inside the detector" in html.partition("Impression")[0]


def test_a_refused_report_is_loud(tmp_path: Path) -> None:
    tools = StandInTools(answers=breast_answers(exam_cls=routed_to(ExamCode.NERVE)))
    with service(tmp_path, tools) as address:
        analysis_id = analysed(address)
        html = httpx.get(f"{address}/analyses/{analysis_id}/view").text
        reason = httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()["reason"]
    assert 'class="alert refused" role="alert"' in html
    assert reason in html


def test_the_thumbnail_is_small_and_the_picture_whole(address: str) -> None:
    analysis_id = analysed(address)
    whole = httpx.get(f"{address}/analyses/{analysis_id}/image.png")
    small = httpx.get(f"{address}/analyses/{analysis_id}/thumbnail.png")
    assert whole.headers["content-type"] == small.headers["content-type"] == "image/png"
    assert len(small.content) < len(whole.content)
    assert b"ustri-phantom" not in whole.content


def test_the_worklist_pages_through_all_analyses_once(tmp_path: Path) -> None:
    with service(tmp_path, truthful_tools(PHANTOM)) as address:
        assert "No analyses yet" in httpx.get(address).text
        made = [analysed(address) for _ in range(ROWS + 2)]
        first, second = httpx.get(address).text, httpx.get(f"{address}/?page=2").text
    assert 'href="/?page=2"' in first
    assert 'href="/?page=1"' in second
    assert "/?page=3" not in second
    row = re.compile(r'<a href="/analyses/([0-9a-f]+)/view" aria-label')
    assert row.findall(first) + row.findall(second) == made[::-1]


def test_only_drawn_evidence_has_a_layer() -> None:
    assert [layer.ids for layer in layers_of(a_report())] == [("e1",), ("e2",), ("e3",)]


def test_many_outlines_of_one_name_are_one_layer() -> None:
    box, mask, *_ = some_evidence()
    outlines = [mask.model_copy(update={"id": f"e{n}"}) for n in range(2, 2 + ONE_LAYER_FROM)]
    layers = layers_of(a_report(evidence=(box, *outlines)))
    assert [layer.ids for layer in layers] == [("e1",), ("e2", "e3", "e4", "e5")]
    assert layers[1].name == "Outline of lesion 1 to 4"
    few = layers_of(a_report(evidence=(box, *outlines[:-1])))
    assert [layer.name for layer in few[1:]] == [f"Outline of lesion {n}" for n in (1, 2, 3)]


def test_evidence_of_one_name_is_numbered() -> None:
    box, mask, points, scores = some_evidence()
    second = mask.model_copy(update={"id": "e5"})
    assert evidence_names(a_report(evidence=(box, mask, points, scores, second))) == {
        "e1": "Box of breast_lesion_det",
        "e2": "Outline of lesion 1",
        "e3": "Long axis",
        "e4": "Scores of breast_2cls",
        "e5": "Outline of lesion 2",
    }


def test_times_are_told_in_utc_without_javascript() -> None:
    assert utc_text("2026-11-20T12:00:00Z") == "2026-11-20 12:00 UTC"


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with loopback_socket(0) as taken:
        number = taken.getsockname()[1]
        with loopback_socket(number) as other:
            assert other.getsockname()[1] != number
