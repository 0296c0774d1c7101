"""The pages of the bench: made from figures alone, those in docs/ from the figures beside them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.bench.capacity import sizing_of
from app.bench.markdown import BEGIN, END, NO_CUDA, page_of, with_sizing, write_pages
from app.bench.results import Document, Ratio, read_document
from app.cli.main import app
from app.cli.terminal import Exit
from app.errors import RequestRejected

DOCS = Path(__file__).parents[3] / "docs"
STORED = DOCS / "performance.json"


@pytest.fixture
def stored() -> Document:
    return read_document(STORED)


def even(value: float) -> Ratio:
    """A figure without spread."""
    return Ratio(median=value, low=value, high=value)


def sized(found: Document, **changes: object) -> Document:
    """The document with other figures of sizing."""
    return found.model_copy(update={"sizing": found.sizing.model_copy(update=changes)})


def test_the_pages_of_the_docs_are_those_of_the_stored_figures(stored: Document) -> None:
    assert (DOCS / "performance.md").read_text(encoding="utf-8") == page_of(stored)
    deployment = (DOCS / "deployment.md").read_text(encoding="utf-8")
    assert with_sizing(deployment, stored) == deployment


def test_the_command_makes_the_pages_from_figures_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "deployment.md").write_text(f"a\n{BEGIN}\nold\n{END}\nb\n", encoding="utf-8")
    command = ["bench", "--from", str(STORED), "--pages", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    stored = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert (tmp_path / "performance.md").read_text(encoding="utf-8") == stored
    text = (tmp_path / "deployment.md").read_text(encoding="utf-8")
    assert text.startswith(f"a\n{BEGIN}\n")
    assert "| analyses a second and GPU" in text
    assert text.endswith(f"{END}\nb\n")
    assert "old" not in text


def test_a_page_without_a_place_for_the_figures_is_left_alone(
    stored: Document, tmp_path: Path
) -> None:
    page = tmp_path / "deployment.md"
    page.write_text("no place", encoding="utf-8")
    with pytest.raises(RequestRejected, match="has no lines"):
        write_pages(stored, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [page.name]


def test_a_file_that_holds_no_figures_is_named(tmp_path: Path) -> None:
    target = tmp_path / "other.json"
    target.write_text('{"machine": {}}', encoding="utf-8")
    done = CliRunner().invoke(app, ["bench", "--from", str(target)])
    assert done.exit_code == Exit.INPUT


@pytest.mark.parametrize(("value", "verdict"), [(1.5, "met"), (1.6, "**missed**")])
def test_a_target_is_judged_by_the_median(stored: Document, value: float, verdict: str) -> None:
    page = page_of(stored.model_copy(update={"analysis_over_backbone": even(value)}))
    line = next(one for one in page.splitlines() if one.startswith("| analysis_over_backbone"))
    assert (
        line == f"| analysis_over_backbone | ≤ 1.50 | {value:.2f} ({value:.2f} to {value:.2f}) "
        f"| {verdict} |"
    )


def test_what_was_not_measured_is_said(stored: Document) -> None:
    nothing = {"images_per_s": None, "images_over_ceiling": None, "planned_over_rules": None}
    page = page_of(stored.model_copy(update=nothing))
    assert NO_CUDA in " ".join(page.split())
    assert "| `planned_over_rules` | not measured |" in page
    unknown = ("per_gpu", "two_webs_per_s", "log_bytes", "writes", "redis_bytes")
    sizing = sizing_of(sized(stored, **dict.fromkeys(unknown)))
    for sentence in (
        "Not measured: whether several web processes over one database carry that.",
        "| analyses a second and GPU, *g* | not measured |",
        "GPUs: not measured",
        "the write-ahead log was not measured",
        "transactions were not counted",
        "Redis was not measured",
    ):
        assert sentence in sizing


def test_a_deployment_is_sized_from_what_was_measured(stored: Document) -> None:
    found = sized(
        stored,
        per_core=even(2.0),
        web_per_s=even(10.0),
        two_webs_per_s=even(18.0),
        per_gpu=even(50.0),
        picture_bytes=500_000.0,
        row_bytes=100_000.0,
        log_bytes=650_000.0,
        writes=8.0,
        redis_bytes=10_000.0,
        redis_commands=40.0,
    )
    text = sizing_of(found)
    # 10 000 / 3600 s × 1.5 = 4.17 a second; 1 000 000 / 86 400 s × 3 = 34.7 a second.
    for sentence in (
        "4.17 ÷ *a* = 3 (or 1 GPU(s)), web processes = 4.17 ÷ *w* = 1",
        "grows by 6.0 GB an hour",
        "18 worker cores and 4 web processes",
        "500 GB of pictures and 100 GB of rows a day, 650 GB of write-ahead log",
        "| the same of two web processes over that one store | 18.0 (18.0 to 18.0) |",
        "Two web processes over one database carried 1.80 times what one did",
        "278 transactions a second that write; Redis: 0.35 MB and 1389 commands a second",
    ):
        assert sentence in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"short": True, "load_before": 0.0}, "this was a short run"),
        ({"short": False, "load_before": 9.0}, "9.0 other processes wanted the 4 cores"),
        ({"short": False, "load_before": 0.5}, None),
    ],
)
def test_figures_of_a_short_run_or_a_busy_machine_are_called_no_verdict(
    stored: Document, changes: dict[str, object], doubt: str | None
) -> None:
    run = stored.run.model_copy(update=changes)
    machine = stored.machine.model_copy(update={"cores": 4})
    found = stored.model_copy(update={"run": run, "machine": machine})
    for page in (page_of(found), sizing_of(found)):
        assert ("No verdict" in page) == (doubt is not None)
        assert doubt is None or doubt in page
