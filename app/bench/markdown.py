"""The pages made from a run's figures: docs/performance.md and a part of docs/deployment.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.bench.capacity import doubts_of, sizing_of
from app.bench.prose import wrapped
from app.bench.results import Document, Memory, Ratio
from app.errors import RequestRejected

NO_CUDA = (
    "The networks did not run on CUDA: images per second against the matrix-multiply ceiling of a "
    "GPU are not measured."
)
BEGIN, END = "<!-- sizing: written by `ustri bench --pages` -->", "<!-- /sizing -->"


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One figure: its field, what it means, and the most that it may be."""

    name: str
    means: str
    most: float | None = None


LINES = (
    _Line(
        name="analysis_over_backbone",
        means="a breast analysis of three specialists, decoding apart, rules as planner, "
        "÷ one pass of the backbone",
        most=1.5,
    ),
    _Line(
        name="full_analysis_over_backbone",
        means="the same with all specialists that the rules ask by default (below), ÷ one pass",
    ),
    _Line(
        name="planned_over_rules",
        means="the default analysis planned by the planner that sees, ÷ planned by the rules",
    ),
    _Line(
        name="repeat_over_backbone",
        means="a three-specialist analysis of an image whose features are kept, "
        "÷ one pass; it makes none",
    ),
    _Line(
        name="shared_over_unshared",
        means="three specialists on one pass ÷ each with a pass of its own, "
        "as published models are run",
        most=0.5,
    ),
    _Line(
        name="runtime_over_torch",
        means="a pass as it runs here ÷ fp32 eager torch",
        most=0.8,
    ),
    _Line(
        name="sixteen_over_single",
        means="images a second in passes of 16 ÷ in passes of one",
    ),
    _Line(name="tta_cost", means="one specialist on an image and its mirror image ÷ on the image"),
    _Line(
        name="queue_over_inprocess",
        means="PNG to report through the store and a worker thread ÷ by function call, "
        "in one process",
    ),
    _Line(
        name="http_over_inprocess",
        means="PNG to report over HTTP from `ustri serve` ÷ by function call; one client",
    ),
    _Line(
        name="overhead_ms",
        means="what a three-specialist analysis takes besides its networks, decoding apart, in ms",
        most=10.0,
    ),
    _Line(
        name="start_to_ready_s",
        means="start of `ustri serve` to a ready `/readyz`, networks compiled before, in s",
        most=5.0,
    ),
    _Line(
        name="decode_ms",
        means="a one-megapixel PNG read, checked, and made anew without metadata, in ms",
    ),
    _Line(name="backbone_ms", means="one pass, in ms"),
    _Line(
        name="text_search_over_backbone",
        means="burned-in text found and read on a drawn screen of 1024 × 768 with five lines, in "
        "one thread of a process of its own, ÷ one pass",
    ),
    _Line(name="text_search_ms", means="the same search, in ms"),
    _Line(name="inprocess_ms", means="PNG to report by function call, default analysis, in ms"),
)
HEAD_MOST = 0.15

PROCESSES = {
    "service": "`ustri serve`: web and two workers in one process",
    "web": "`ustri serve` without workers: no PyTorch",
    "worker": "`ustri worker` with one thread",
    "peer": "the peer",
    "bench": "the bench itself, with the networks twice",
}


def rows_of(found: Document) -> Iterator[tuple[str, Ratio]]:
    """Yield every figure that has a spread, with its name in the JSON."""
    for name, value in [*found, *found.sizing]:
        if isinstance(value, Ratio):
            yield name, value
        elif isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, Ratio):
                    yield f"{name} {key}", one


def write_pages(found: Document, folder: Path) -> tuple[Path, ...]:
    """Write these figures into the two pages and return the paths of the pages.

    Raises:
        RequestRejected: deployment.md in that folder has no place for the figures.
        OSError: a page cannot be read or written.
    """
    deployment, performance = folder / "deployment.md", folder / "performance.md"
    placed = with_sizing(deployment.read_text(encoding="utf-8"), found)
    performance.write_text(page_of(found), encoding="utf-8")
    deployment.write_text(placed, encoding="utf-8")
    return performance, deployment


def with_sizing(text: str, found: Document) -> str:
    """Return the text of the page with its sizing section replaced.

    Raises:
        RequestRejected: the page has no such section.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RequestRejected(f"The page has no lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n{wrapped(sizing_of(found))}{END}{after}"


def page_of(found: Document) -> str:
    """Return the page docs/performance.md in Markdown."""
    parts = (
        "# Performance\n\n"
        "Written by `ustri bench --json docs/performance.json --pages docs` (`make bench`); "
        "not edited by hand, and\nheld against docs/performance.json by a test. "
        "Every ratio compares two things that were done in turn in one run.\n",
        _verdicts(found),
        _ratios(found),
        _clients(found),
        _heads(found),
        _gpu(found),
        _memory(found),
        _machine(found),
        _method(found),
    )
    return wrapped("\n".join(parts))


def _judged(found: Document) -> list[tuple[str, Ratio, float]]:
    """Return every figure that has a target, with the target."""
    named = dict(rows_of(found))
    lines = [(line.name, named[line.name], line.most) for line in LINES if line.most is not None]
    worst = max(found.heads_over_backbone, key=lambda name: found.heads_over_backbone[name].median)
    slowest = (f"slowest head, {worst}", found.heads_over_backbone[worst], HEAD_MOST)
    return [*lines, slowest]


def _verdicts(found: Document) -> str:
    judged = _judged(found)
    met = [name for name, one, most in judged if one.median <= most]
    lines = [f"## Targets\n\n{len(met)} of {len(judged)} targets are met by the median.\n"]
    lines += [f"{doubts}\n" for doubts in doubts_of(found)]
    rows = [
        (name, f"≤ {_short(most)}", _spread(one), "met" if one.median <= most else "**missed**")
        for name, one, most in judged
    ]
    lines.append(table(("figure", "target", "measured", ""), rows))
    return "\n".join(lines)


def _ratios(found: Document) -> str:
    named = dict(rows_of(found))
    rows = [
        (
            f"`{line.name}`",
            _spread(named[line.name]) if line.name in named else "not measured",
            line.means,
        )
        for line in LINES
    ]
    asked = ", ".join(f"`{name}`" for name in found.run.specialists)
    return (
        "## Figures\n\n"
        "Median, and in brackets the range that holds the middle 80 % of the rounds.\n\n"
        + table(("figure", "measured", "means"), rows)
        + f"\nThe default analysis asks {asked}.\n"
    )


def _clients(found: Document) -> str:
    rows = [
        (
            count,
            _spread(found.analyses_per_s[count]),
            _spread(found.batched_over_single[count]),
            _spread(found.peer_analyses_per_s[count]),
            _spread(found.peer_over_ours[count]),
        )
        for count in found.analyses_per_s
    ]
    heads = (
        *("clients", "analyses a second", "`batched_over_single`", "the peer's"),
        "`peer_over_ours`",
    )
    return (
        "## Over HTTP, beside the peer\n\n"
        "The peer is the service that a reader of the paper would write "
        "(`app/bench/baseline.py`): FastAPI, one endpoint on its\n"
        "default threads, eager torch in fp32, every specialist with a pass of its own. "
        "It reads the same weights and asks the same\n"
        "specialists, but keeps nothing, checks no upload, and writes no report. "
        "Both get the same one-megapixel PNG files from the\n"
        "same clients, on the same cores; no image comes twice.\n\n"
        + table(heads, rows)
        + "\n`batched_over_single`: our analyses a second ÷ those of one client, "
        "measured apart in the same round (so the first row shows\nthe noise). "
        "`peer_over_ours`: the peer's time for an image ÷ ours.\n"
    )


def _heads(found: Document) -> str:
    rows = [(f"`{name}`", _spread(one)) for name, one in found.heads_over_backbone.items()]
    return (
        "## Heads\n\n"
        f"A decoder with its head on kept features ÷ one pass; target ≤ {HEAD_MOST}.\n\n"
        + table(("specialist", "measured"), rows)
    )


def _gpu(found: Document) -> str:
    if found.images_over_ceiling is None or found.images_per_s is None:
        return f"## GPU\n\n{NO_CUDA}\n"
    return (
        f"## GPU\n\nPasses of 64 images: {_spread(found.images_per_s)} images a second, "
        f"{_spread(found.images_over_ceiling)} of the rate of a large bf16 matrix\nmultiplication "
        "measured beside them.\n"
    )


def _memory(found: Document) -> str:
    rows = [(says, _megabytes(found.memory_mb[name])) for name, says in PROCESSES.items()]
    return "## Memory\n\n" + table(("process", "at the end of the run, and at most"), rows)


def _machine(found: Document) -> str:
    machine = found.machine
    rows = [
        ("date", machine.date),
        ("source", machine.commit),
        ("processor", machine.cpu),
        ("cores", str(machine.cores)),
        ("memory", f"{machine.memory_gb:.0f} GiB"),
        ("GPU", machine.gpu or "none"),
        ("system", machine.system),
        ("Python", machine.python),
        ("packages", ", ".join(f"{name} {one}" for name, one in machine.packages.items())),
        ("networks run on (runtime, device, precision)", found.run.runtime),
        ("cores that one pass may take", str(found.run.threads or "all")),
        ("threads of the eager torch pass", str(found.run.torch_threads)),
        (
            "processes that wanted a core in the minute before",
            f"{found.run.load_before} (0 is a machine at rest)",
        ),
    ]
    return "## Machine\n\n" + table(("", ""), rows)


def _method(found: Document) -> str:
    run = found.run
    sent = ", ".join(
        f"{count} client{'s' * (count != '1')}: {images} images"
        for count, images in run.requests.items()
    )
    length = " A short run: its figures show that the bench works, no more." if run.short else ""
    stack = [name for name, was in (("PostgreSQL", run.postgresql), ("Redis", run.redis)) if was]
    over = " and ".join(stack) or "SQLite"
    return (
        f"## Method\n\n{run.rounds} rounds in {run.seconds:.0f} s.{length} In a round: "
        f"{run.passes_per_round} times every case in the bench's process, "
        "each time beginning\nwith another one, while the other processes stand still; "
        "then single images in process, through the queue and over HTTP in turn; "
        f"then every number of clients ({sent}),\nours and the peer in changing order; "
        "then a worker with one core, and a web process whose "
        f"specialists answer at once, over {over}.\nThe clients take part of the same cores. "
        "The service runs with its defaults, but the rules plan, "
        "and it waits longer for a report.\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _spread(one: Ratio) -> str:
    return f"{_short(one.median)} ({_short(one.low)} to {_short(one.high)})"


def _short(value: float) -> str:
    """Format a number with about three significant digits."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _megabytes(one: Memory) -> str:
    return f"{one.resident:.0f} MB, {one.peak:.0f} MB"
