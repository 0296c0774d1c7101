"""The page of an evaluation is whole HTML, plots every image, and shows the worst ones."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import numpy as np
import pytest
from PIL import Image as PILImage

from specialists.errors import TrainingError
from specialists.training.evaluation.drawing import Drawing
from specialists.training.evaluation.page import check_outside_git, write_page
from specialists.training.evaluation.predict import FILES
from specialists.training.evaluation.scores import EvaluationOptions, evaluate
from tests.specialists.dataset import read_csv, write_csv
from tests.specialists.ellipses import HEADS, write_heads
from tests.specialists.nets import a_manifest
from tests.specialists.training.test_scores import write_masks, write_points

TASKS = ("fetal_head", "fetal_head_axes", "breast_3cls", "breast_lesion_det")
WORST = 3
LOST = 2
"""The head whose mask is not written."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Element:
    """Evaluate heads outlined a little too large, one of them not at all.

    Classes and boxes of the same images are evaluated too.
    """
    tmp_path = tmp_path_factory.mktemp("evaluated")
    data, out = write_heads(tmp_path / "data"), tmp_path / "out"
    write_masks(data, out, grown=1.5)
    rows = read_csv(data, "fetal_head")
    (out / rows[LOST]["mask_path"].removeprefix("../")).unlink()
    write_points(data, out, moved=3.0)
    _write_classes_and_boxes(data, out, rows)
    found = evaluate(a_manifest(data, TASKS), EvaluationOptions(predictions=out, data_root=data))
    path = tmp_path / "pages" / "evaluation.html"
    write_page(found, path, worst=WORST)
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    parsed: Element = parser.parse(path.read_text(encoding="utf-8"))
    return parsed


def _write_classes_and_boxes(data: Path, out: Path, rows: list[dict[str, str]]) -> None:
    rng = np.random.default_rng(0)
    plain = [{"image_path": r["image_path"], "group_id": r["group_id"]} for r in rows]
    write_csv(data, "breast_3cls", [{**r, "mask": n % 3} for n, r in enumerate(plain)])
    empty = dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), "")
    box = {"x_min": 40, "y_min": 30, "x_max": 120, "y_max": 90}
    boxes = [{**r, **(box if n % 2 else empty)} for n, r in enumerate(plain)]
    write_csv(data, "breast_lesion_det", boxes)
    classes = [
        {**r, "task_id": "breast_3cls", "predicted_probs": rng.dirichlet(np.ones(3)).tolist()}
        for r in plain[1:]
    ]
    found = [{**r, "task_id": "breast_lesion_det", "bbox_pixels": [45, 30, 125, 90]} for r in plain]
    (out / FILES["classification"]).write_text(json.dumps(classes), encoding="utf-8")
    (out / FILES["detection"]).write_text(json.dumps(found), encoding="utf-8")


def plots(page: Element, task: str, kind: str) -> list[Element]:
    section = page.find(f".//section[@id='{task}']")
    assert section is not None
    return [figure for figure in section.iter("figure") if figure.get("data-kind") == kind]


def of_class(figure: Element, style: str) -> list[Element]:
    return [item for item in figure.iter() if item.get("class") == style]


def count(figure: Element, style: str) -> int:
    """Marks of that style: those of one group, or a group each."""
    groups = of_class(figure, style)
    return sum(len(group.findall("./{*}g/{*}use")) or 1 for group in groups)


def test_the_page_says_that_it_shows_patients_and_needs_nothing_else(page: Element) -> None:
    banner = page.find(".//p[@role='alert']")
    assert banner is not None
    assert "images of patients" in "".join(banner.itertext())
    style, policy = page.find(".//style"), page.find(".//meta[@http-equiv]")
    assert style is not None
    assert style.text is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in str(policy.get("content"))
    for item in page.iter():
        assert str(item.tag).rpartition("}")[2] not in {"script", "link", "iframe"}
        for name in ("src", "href", "{http://www.w3.org/1999/xlink}href"):
            assert str(item.get(name, "#")).startswith(("#", "data:image/jpeg;base64,"))


def test_bland_altman_plots_hold_every_image_that_was_measured_and_their_limits(
    page: Element,
) -> None:
    heads = plots(page, "fetal_head", "bland-altman")
    assert [count(svg, "dot") for svg in heads] == [HEADS - 1] * 2
    diameters = plots(page, "fetal_head_axes", "bland-altman")
    assert [count(svg, "dot") for svg in diameters] == [HEADS] * 2
    for svg in heads + diameters:
        assert svg.get("data-images") == str(count(svg, "dot"))
        assert (count(svg, "limit"), count(svg, "bias"), count(svg, "band")) == (2, 1, 3)
    notes = "".join(page.find(".//section[@id='fetal_head']").itertext())  # type: ignore[union-attr]
    assert "1 images gave no measurement" in notes


def test_curves_and_reliability_hold_every_image(page: Element) -> None:
    (curves,) = plots(page, "breast_3cls", "roc")
    assert curves.get("data-images") == str(HEADS)
    assert [count(curves, f"curve-{index}") for index in range(3)] == [1] * 3
    assert sum(": AUC 0." in text for text in curves.itertext()) == 3
    (bins,) = plots(page, "breast_3cls", "reliability")
    assert count(bins, "rug") == HEADS - 1 == int(str(bins.get("data-images")))
    assert count(bins, "bin") == count(bins, "whisker") > 0


def test_each_dot_names_its_image_on_hover_and_each_plot_itself(page: Element) -> None:
    (spread,) = plots(page, "fetal_head", "spread")
    (group,) = of_class(spread, "dot")
    titles = ["".join(mark.itertext()) for mark in group.findall("./{*}g/{*}use")]
    assert [title.partition(":")[0] for title in titles] == [f"{n:03d}.png" for n in range(HEADS)]
    drawn = spread.find("./{*}svg")
    assert drawn is not None
    assert drawn.findtext("./{*}title") == f"Every image's mean Dice, {HEADS} images"


def test_a_plot_is_the_same_each_time_and_keeps_its_ids_and_styles_to_itself() -> None:
    def drawn(salt: str) -> str:
        drawing = Drawing("title", "x", "y", 2)
        drawing.dots([0, 1], [0, 1], ["a.png", "<b>.png"])
        return drawing.svg(salt)

    assert drawn("one") == drawn("one")
    ids = [set(re.findall(r' id="([^"]+)"', drawn(salt))) for salt in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "style" not in drawn("one")
    assert "&lt;b&gt;.png" in drawn("one")
    assert set(re.findall("#[0-9a-f]{6}", drawn("one"))) <= {"#000000"}  # a shape's, not shown


def test_every_images_score_is_drawn_for_each_data_set(page: Element) -> None:
    for task in TASKS:
        (svg,) = plots(page, task, "spread")
        assert count(svg, "dot") == HEADS
    (svg,) = plots(page, "fetal_head", "spread")
    assert {"near", "far"} <= {item.text for item in svg.iter()}


def test_the_worst_images_come_first_with_label_and_prediction_over_them(page: Element) -> None:
    for task in TASKS:
        section = page.find(f".//section[@id='{task}']")
        assert section is not None
        gallery = section.find("./div[@class='gallery']")
        assert gallery is not None
        figures = gallery.findall("./figure")
        assert len(figures) == WORST
        images = [i for f in figures for i in f.iter() if str(i.tag).endswith("image")]
        for image in images:
            _, _, data = str(image.get("href")).partition(",")
            with PILImage.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
                assert thumbnail.size == (160, 120)
        drawn = {
            str(i.get("class")): str(i.get("d"))
            for i in figures[0].iter()
            if i.get("class") in {"truth", "guess"}
        }
        says = "".join(figures[0].itertext())
        if task == "fetal_head":
            assert "there is no mask" in says
            assert f"{LOST:03d}.png" in says
            assert drawn["truth"].startswith("M")
            assert drawn["guess"] == ""
        elif task == "breast_3cls":
            assert "there is no prediction" in says
            assert ", said " in "".join(figures[1].itertext())
        else:
            assert drawn["guess"].startswith("M")


def test_a_page_may_not_be_written_into_a_checkout(tmp_path: Path) -> None:
    check_outside_git(tmp_path / "page.html")
    (tmp_path / ".git").touch()  # a worktree's is a file
    with pytest.raises(TrainingError, match="git checkout"):
        check_outside_git(tmp_path / "deep" / "page.html")
