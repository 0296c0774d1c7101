import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.cli.demo import loopback_socket
from app.storage.details import LONGEST
from app.web.pages.times import utc_text
from app.web.pages.workbench import ONE_LAYER_FROM, layers_of
from app.web.pages.worklist import ROWS
from reports.forms.html import ARTICLE_STYLE
from reports.forms.rows import evidence_names
from reports.layout import lay_out
from reports.model import ExamCode, Laterality, Report
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
        page = httpx.get(address + path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", page)
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", page)


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
    page = httpx.get(address).text
    for exam in ExamCode:
        choice = re.search(rf'<option value="{exam.value}">([^<]*)</option>', page)
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
    page = httpx.get(f"{address}/analyses/{analysis_id}/view").text
    plain = html.unescape(page)
    for item in report["findings"]:
        assert item["statement"] in plain
    for item in report["findings"] + report["measurements"]:
        assert f'id="{item["id"]}"' in page
        if item["evidence"]:
            assert f'data-lights="{" ".join(item["evidence"])}"' in page
    for sentence in report["impression"] + report["limitations"]:
        assert sentence in plain
    for item in report["evidence"]:
        assert (f'data-evidence="{item["id"]}"' in page) == (item["kind"] != "scores")
    for step in report["steps"]:
        assert step["action"] in page
    for model in report["provenance"]["models"]:
        assert model["sha256"] in page
    for form in ("json", "html", "txt"):
        assert f"/analyses/{analysis_id}/report.{form}" in page


def test_the_viewer_shows_the_article_of_the_page_with_links_to_the_cards(address: str) -> None:
    analysis_id = analysed(address)
    page = httpx.get(f"{address}/analyses/{analysis_id}/view").text
    assert page.count('<article class="report"') == 1
    assert page.count('class="notice"') == 1
    assert 'href="/specialists/breast_lesion/card"' in page
    style = httpx.get(f"{address}/static/report.css")
    assert style.headers["content-type"].startswith("text/css")
    assert style.text == ARTICLE_STYLE


def test_a_question_is_answered_before_the_impression(address: str) -> None:
    analysis_id = analysed(address, question="Is it malignant?")
    report = httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()
    assert report["outcome"] == "reported"
    page = html.unescape(httpx.get(f"{address}/analyses/{analysis_id}/view").text)
    assert report["asked"] in page.partition("Impression</h2>")[0]
    assert "By its keywords" not in page
    assert "judged that the request" not in page


def test_what_limits_the_numbers_of_a_structure_is_said_once(address: str) -> None:
    analysis_id = analysed(address)
    answer = httpx.get(f"{address}/analyses/{analysis_id}/report.json").content
    laid = lay_out(Report.model_validate_json(answer))
    page = html.unescape(httpx.get(f"{address}/analyses/{analysis_id}/view").text)
    notes = [note for part in laid.structures for note in part.notes]
    assert notes
    assert [page.count(note) for note in notes] == [1] * len(notes)


def test_checks_that_flag_are_one_list_to_review(tmp_path: Path) -> None:
    answers = breast_answers(exam_cls=routed_to(ExamCode.MUSCLE, 0.5))
    away = a_component(polygons=(an_ellipse((80.0, 80.0), (40.0, 30.0)),))
    answers["breast_lesion"] = a_segment_result(components=(away,))
    with service(tmp_path, StandInTools(answers=answers)) as address:
        analysis_id = analysed(address, exam="breast")
        page = httpx.get(f"{address}/analyses/{analysis_id}/view").text
        answer = httpx.get(f"{address}/analyses/{analysis_id}/report.json").content
    flags = lay_out(Report.model_validate_json(answer)).flags
    assert len(flags) >= 2
    (review,) = re.findall(r'<section class="flags".*?</section>', page, re.DOTALL)
    assert all(flag.text in html.unescape(review) for flag in flags)


AGES = {"19w6d": True, "19+6": True, "40W0D": True, "19w7d": False, "19": False, "50w0d": False}


def test_the_form_takes_what_is_known_of_the_image(address: str) -> None:
    page = httpx.get(address).text
    folded = page.partition("More about this image")[2].partition("</details>")[0]
    names = re.findall(r'name="([a-z_]+)"', folded)
    assert set(names) == {
        "laterality", "site", "gestational_age", "indication", "label", "study", "operator", "scope"
    }  # fmt: skip
    for side in Laterality:
        assert f'<option value="{side.value}">' in folded
    longest = dict(re.findall(r'name="([a-z]+)" maxlength="(\d+)"', folded))
    assert longest == {name: str(length) for name, length in LONGEST.items()}
    (pattern,) = re.findall(r'pattern="([^"]+)"', folded)
    given = {age: bool(re.fullmatch(html.unescape(pattern), age)) for age in AGES}
    assert given == AGES


def test_the_worklist_shows_the_headline(address: str) -> None:
    analysis_id = analysed(address)
    report = httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()
    row = httpx.get(address).text.partition("<tbody>")[2].partition("</tr>")[0]
    assert analysis_id in row
    assert report["impression"][0] in html.unescape(row)


def test_a_refused_report_is_loud(tmp_path: Path) -> None:
    tools = StandInTools(answers=breast_answers(exam_cls=routed_to(ExamCode.NERVE)))
    with service(tmp_path, tools) as address:
        analysis_id = analysed(address)
        page = httpx.get(f"{address}/analyses/{analysis_id}/view").text
        report = httpx.get(f"{address}/analyses/{analysis_id}/report.json").json()
    (alert,) = re.findall(
        r'<section class="impression refused" role="alert".*?</section>', page, re.S
    )
    assert report["impression"][0] in html.unescape(alert)


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
    assert 'rel="prev" href="/"' in second
    assert "/?page=3" not in second
    row = re.compile(r'<a id="row-[0-9a-f]+" class="open" href="/analyses/([0-9a-f]+)/view"')
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
        "e1": "box around lesion",
        "e2": "outline of lesion 1",
        "e3": "calipers of long axis",
        "e4": "scores of classification",
        "e5": "outline of lesion 2",
    }


def test_times_are_told_in_utc_without_javascript() -> None:
    assert utc_text("2026-11-20T12:00:00Z") == "2026-11-20 12:00 UTC"


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with loopback_socket(0) as taken:
        number = taken.getsockname()[1]
        with loopback_socket(number) as other:
            assert other.getsockname()[1] != number
