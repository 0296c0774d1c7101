import re
from xml.etree.ElementTree import Element

import html5lib
import pytest

from reports.forms.html import CONTENT_SECURITY_POLICY, STYLE, to_fragment, to_html
from reports.forms.overlay.scene import scene_of
from reports.forms.svg import to_svg_layers, view_box
from reports.forms.text import to_text
from reports.model import Finding, Measurement, NamedPoint, Outcome, PointsEvidence, Report
from reports.precision import interval_text, value_text
from reports.wording.phrases import NOT_FOR_CLINICAL_USE
from reports.wording.report import word
from tests.builders import (
    a_finding,
    a_measurement,
    a_refused_report,
    a_report,
    a_step,
    a_worded_report,
    an_ellipse,
    an_image_info,
    some_evidence,
)
from tests.reports.report_forms import a_fetal_report

REPORTS = {
    "reported": a_worded_report(),
    "refused": word(a_refused_report()),
    "partial": word(a_report(outcome=Outcome.PARTIAL, reason="No outline.")),
    "synthetic": a_worded_report(image=an_image_info(synthetic=True)),
    "head in mm": a_fetal_report(),
    "no evidence": word(a_report(findings=(), measurements=(), evidence=(), checks=())),
}
HREF = "data:image/png;base64,AAAA"


def parse(page: str) -> Element:
    """The page's tree; a parse error is an error."""
    parser = html5lib.HTMLParser(
        strict=True, tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False
    )
    tree = parser.parse(page)
    assert isinstance(tree, Element)
    return tree


def local_name(element: Element) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def text_of(element: Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


each_report = pytest.mark.parametrize("name", sorted(REPORTS))


@each_report
@pytest.mark.parametrize("href", [HREF, "/analyses/1/image.png", None])
def test_a_page_is_valid_html(name: str, href: str | None) -> None:
    tree = parse(to_html(REPORTS[name], href))
    images = [element for element in tree.iter() if local_name(element) == "image"]
    assert [element.get("href") for element in images] == ([href] if href else [])


@each_report
def test_a_page_holds_no_script_no_handler_no_inline_style_and_no_address_outside(
    name: str,
) -> None:
    page = to_html(REPORTS[name], HREF)
    for element in parse(page).iter():
        assert local_name(element) not in {"script", "link", "iframe", "object", "embed", "form"}
        assert not [key for key in element.attrib if key.startswith("on") or key == "style"]
        for key in ("href", "src"):
            assert element.get(key, "#").startswith(("#", "data:"))
    assert "//" not in page.replace(HREF, "")
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_exactly_the_sheet_of_the_page() -> None:
    page = to_html(REPORTS["reported"], HREF)
    tree = parse(page)
    (style,) = [element for element in tree.iter() if local_name(element) == "style"]
    assert style.text == STYLE
    policies = [
        element.get("content")
        for element in tree.iter()
        if element.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == [CONTENT_SECURITY_POLICY]
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


@each_report
def test_ids_are_unique_and_every_link_and_light_has_its_target(name: str) -> None:
    report = REPORTS[name]
    tree = parse(to_html(report, None))
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    links = [element.get("href", "") for element in tree.iter() if local_name(element) == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    evidence = {item.id for item in report.evidence}
    for element in tree.iter():
        assert set(element.get("data-lights", "").split()) <= evidence


def test_every_statement_lights_and_links_exactly_its_evidence() -> None:
    report = REPORTS["reported"]
    tree = parse(to_html(report, None))
    items = {element.get("id"): element for element in tree.iter() if element.get("id")}
    statements: list[Finding | Measurement] = [*report.findings, *report.measurements]
    for statement in statements:
        element = items[statement.id]
        assert element.get("data-lights") == " ".join(statement.evidence)
        assert element.get("tabindex") == "0"
        links = [link for link in element.iter() if local_name(link) == "a"]
        assert [link.get("href", "").rsplit("-", 1)[-1] for link in links] == list(
            statement.evidence
        )
        assert all(text_of(link) for link in links)


def test_a_number_is_a_row_of_name_value_interval_and_note() -> None:
    report = REPORTS["head in mm"]
    tree = parse(to_html(report, None))
    rows = {e.get("id"): e for e in tree.iter() if local_name(e) == "tr" and e.get("id")}
    for item in report.measurements:
        cells = [text_of(cell) for cell in rows[item.id]]
        assert len(cells) == 4
        assert item.name in cells[0].lower()
        if item.value is None:
            assert cells[1:3] == ["not assessed", ""]
            assert str(item.reason).lower().strip(".") in cells[3].lower()
        else:
            assert cells[1] == value_text(item.value, item.unit, item.interval)
            assert item.interval is None or cells[2].startswith(
                interval_text(item.interval, item.unit)
            )
    heads = [text_of(e) for e in tree.iter() if local_name(e) == "th"]
    assert "90 % interval" in heads


def test_no_id_of_evidence_is_in_sight() -> None:
    for report in REPORTS.values():
        (body,) = [e for e in parse(to_html(report, None)) if local_name(e) == "body"]
        assert re.findall(r"\be\d+\b", text_of(body)) == []


def test_specialists_are_named_where_the_report_says_how_it_was_made_and_nowhere_else() -> None:
    report = REPORTS["reported"]
    tree = parse(to_html(report, None))
    (made,) = [e for e in tree.iter() if e.get("class") == "made"]
    inside, whole = text_of(made), text_of(tree)
    for item in report.evidence:
        if item.kind != "scores":
            assert item.specialist in inside
            assert whole.count(item.specialist) == inside.count(item.specialist)
    (details,) = [e for e in made if local_name(e) == "details"]
    assert "open" not in details.attrib


def test_what_is_loud_comes_first() -> None:
    page = text_of(parse(to_html(REPORTS["synthetic"], None)))
    headline = REPORTS["synthetic"].impression[0]
    order = [
        NOT_FOR_CLINICAL_USE,
        "Breast ultrasound",
        "Impression",
        headline,
        "Findings",
        "Technique",
        "Limitations",
        "How this was made",
    ]
    places = [
        page.index(words, page.index("Breast ultrasound", 40) if n else 0)
        for n, words in enumerate(order)
    ]
    assert places == sorted(places)


def test_every_drawn_evidence_has_an_overlay_that_can_be_toggled() -> None:
    report = REPORTS["reported"]
    tree = parse(to_html(report, None))
    drawn = {
        element.get("data-evidence"): element
        for element in tree.iter()
        if "overlay" in element.get("class", "").split()
    }
    kinds = {item.id: item.kind for item in report.evidence if item.kind != "scores"}
    assert {key: element.get("data-kind") for key, element in drawn.items()} == kinds
    boxes = [element for element in tree.iter() if element.get("type") == "checkbox"]
    assert {element.get("id") for element in boxes} == {f"show-{kind}" for kind in kinds.values()}
    for kind in kinds.values():
        assert f".report:has(#show-{kind}:not(:checked)) .overlay-{kind}" in STYLE


def test_an_outline_with_a_hole_is_one_path_under_the_even_odd_rule() -> None:
    mask = some_evidence()[1].model_copy(
        update={"polygons": (an_ellipse(points=8), an_ellipse(semi_axes=(10, 5), points=4))}
    )
    layers = str(to_svg_layers(a_report(evidence=(mask,))))
    (path,) = re.findall(r'<path class="edge" fill-rule="evenodd" d="([^"]*)"/>', layers)
    assert path.count("M") == path.count("Z") == 2
    assert path.startswith("M400 210 L")


def test_overlays_are_in_image_pixels() -> None:
    report = a_worded_report()
    assert view_box(scene_of(report)) == "0 0 640 480"
    layers = str(to_svg_layers(report))
    assert '<rect x="240" y="160" width="160" height="100"/>' in layers
    assert '<line x1="240" y1="210" x2="400" y2="210"/>' in layers


@pytest.mark.parametrize(("score", "lines"), [(None, 2), (0.8, 0)])
def test_what_an_angle_is_drawn_through_is_joined_and_three_landmarks_are_not(
    score: float | None, lines: int
) -> None:
    points = tuple(
        NamedPoint(name=name, x=x, y=y, score=score)
        for name, x, y in (("far", 10.0, 20.0), ("near", 60.0, 20.0), ("tangent", 90.0, 70.0))
    )
    evidence = PointsEvidence(id="e1", specialist="aop_landmarks", step=1, points=points)
    layers = str(to_svg_layers(a_report(evidence=(evidence,))))
    assert layers.count("<line ") == lines
    assert layers.count('class="mark"') == 3


@each_report
def test_page_and_text_say_what_they_are(name: str) -> None:
    report = REPORTS[name]
    tree = parse(to_html(report, None))
    notices = [e for e in tree.iter() if e.get("class") == "notice"]
    assert [text_of(notice) for notice in notices] == [NOT_FOR_CLINICAL_USE]
    assert NOT_FOR_CLINICAL_USE in to_text(report)
    for form in (text_of(tree), to_text(report)):
        assert ("synthetic test image" in form.lower()) == report.image.synthetic


@each_report
def test_page_and_text_hold_every_sentence_of_the_report(name: str) -> None:
    report = REPORTS[name]
    sentences = [
        *report.impression,
        *report.limitations,
        *(finding.statement for finding in report.findings),
        *(check.detail.rstrip(".") for check in report.checks),
        *(step.reason for step in report.steps),
        report.provenance.content_sha256,
    ]
    page, text = text_of(parse(to_html(report, None))), to_text(report)
    assert [line for line in sentences if line not in page] == []
    assert [line for line in sentences if line not in text] == []


def test_a_refusal_is_an_alert_with_its_reason() -> None:
    report = REPORTS["refused"]
    tree = parse(to_html(report, None))
    (alert,) = [element for element in tree.iter() if element.get("role") == "alert"]
    assert text_of(alert).startswith(report.impression[0])
    assert str(report.reason).lower().rstrip(".") in text_of(alert).lower()


def test_what_stays_open_in_a_partial_report_is_said_once() -> None:
    report = REPORTS["partial"]
    page = text_of(parse(to_html(report, None)))
    assert page.lower().count("no outline") == 1


HOSTILE = "</title><script>alert(1)</script>\"'><img src=//x>"


def hostile_report() -> Report:
    mask = some_evidence()[1].model_copy(update={"label": HOSTILE, "specialist": HOSTILE})
    return word(
        a_report(
            reason=HOSTILE,
            external_id=HOSTILE,
            evidence=(mask,),
            findings=(a_finding(label=HOSTILE, reason=HOSTILE, evidence=("e2",)),),
            measurements=(),
            steps=(a_step(action=HOSTILE, reason=HOSTILE, parameters={HOSTILE: HOSTILE}),),
        )
    )


def test_nothing_in_a_report_becomes_markup() -> None:
    names = {local_name(element) for element in parse(to_html(hostile_report(), HOSTILE)).iter()}
    assert not {"script", "img"} & names


def test_the_fragment_is_the_article_of_the_page() -> None:
    report = REPORTS["reported"]
    fragment = str(to_fragment(report, HREF))
    assert fragment.startswith('<article class="report"')
    assert fragment in to_html(report, HREF)


def test_the_text_form_says_a_reason_once_for_measurements_that_share_it() -> None:
    shared = "The image states no pixel spacing."
    items = (a_measurement(reason=shared), a_measurement(id="m2", reason=shared))
    other = a_measurement(id="m3", reason="The outline reaches the edge of the image.")
    text = to_text(word(a_report(measurements=(*items, other))))
    assert text.count(shared) == 1
    assert "reaches the edge" in text
