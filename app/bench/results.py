"""What a run of `ustri bench` found: the JSON file that it writes and the pages are made from."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import RequestRejected

SIDE_PX = 1000
"""Height and width of the analysed image in pixels: one megapixel."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ratio(_Figures):
    """A median over the rounds, with the 10th and the 90th percentile."""

    median: float
    low: float
    high: float


def ratio_of(values: Sequence[float]) -> Ratio:
    """Return the spread of one figure over the rounds.

    The figure may also be a plain number, such as milliseconds.
    """
    low, high = np.percentile(values, [10, 90])
    return Ratio(
        median=round(statistics.median(values), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
    )


class Machine(_Figures):
    """Where and with what the figures were measured."""

    date: str
    commit: str
    """The source's commit, with `+` where files differ from it; "unknown" outside a checkout."""
    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]
    gpu: str | None


class Run(_Figures):
    """How the figures were measured."""

    runtime: str
    """Runtime, device and precision of the networks."""
    threads: int | None
    """Cores that one pass may take; None: all."""
    torch_threads: int
    short: bool
    rounds: int
    passes_per_round: int
    requests: dict[str, int]
    """Images that a round sends, by the number of clients."""
    specialists: tuple[str, ...]
    """The specialists of a breast analysis, as the rules chose them."""
    postgresql: bool
    redis: bool
    seconds: float
    load_before: float
    """Processes that wanted a core in the minute before the run, by the system's count."""


class Memory(_Figures):
    """Megabytes that a process holds at the end of the run, and held at most."""

    resident: float
    peak: float


class Sizing(_Figures):
    """The figures that a deployment is sized from."""

    per_core: Ratio
    """Analyses a second of a `ustri worker` with one core and one thread."""
    per_machine: Ratio
    """Analyses a second of `ustri serve` with all cores and the best number of clients."""
    per_gpu: Ratio | None
    web_per_s: Ratio
    """Analyses a second that one web process carries when its specialists answer at once."""
    two_webs_per_s: Ratio | None = None
    """The same for two web processes over one database, with as many clients as before.

    None: the run had one web process only.
    """
    web_cpu_ms: float
    """Processor time of that web process for one analysis."""
    worker_cpu_ms: float
    """Processor time of the worker with one core for one analysis."""
    store: str
    """The database that the figures below were measured over: SQLite or PostgreSQL."""
    picture_bytes: float
    """Bytes of the stored image of an analysis."""
    row_bytes: float
    """Bytes of everything else that the store holds of an analysis."""
    log_bytes: float | None
    """Bytes of PostgreSQL's write-ahead log for an analysis."""
    writes: float | None
    """Transactions of PostgreSQL that write, for an analysis."""
    redis_bytes: float | None
    """Bytes that Redis receives and sends for an analysis."""
    redis_commands: float | None


class Document(_Figures):
    """All figures of a run.

    A figure without a unit in its name is a ratio of times, or of throughputs where its description
    says so.
    """

    machine: Machine
    run: Run
    analysis_over_backbone: Ratio
    full_analysis_over_backbone: Ratio
    planned_over_rules: Ratio | None
    repeat_over_backbone: Ratio
    shared_over_unshared: Ratio
    runtime_over_torch: Ratio
    tta_cost: Ratio
    sixteen_over_single: Ratio
    """Images a second in passes of 16 over those in passes of one; a ratio of throughputs."""
    heads_over_backbone: dict[str, Ratio]
    overhead_ms: Ratio
    backbone_ms: Ratio
    decode_ms: Ratio
    text_search_over_backbone: Ratio | None = None
    text_search_ms: Ratio | None = None
    """Both are None where the settings leave pictures as they are."""
    images_over_ceiling: Ratio | None
    images_per_s: Ratio | None
    """Images a second of the backbone in passes of 64 on CUDA; both are None on a CPU."""
    http_over_inprocess: Ratio
    queue_over_inprocess: Ratio
    inprocess_ms: Ratio
    batched_over_single: dict[str, Ratio]
    """By number of clients: analyses a second over those of one client in the same round.

    This is a ratio of throughputs.
    """
    peer_over_ours: dict[str, Ratio]
    """By number of clients: the time that the peer takes for an image, over ours."""
    analyses_per_s: dict[str, Ratio]
    peer_analyses_per_s: dict[str, Ratio]
    start_to_ready_s: Ratio
    memory_mb: dict[str, Memory]
    sizing: Sizing


def read_document(path: Path) -> Document:
    """Read the figures that `ustri bench --json` wrote to that file.

    Raises:
        RequestRejected: the file does not hold figures of this version.
        OSError: the file cannot be read.
    """
    try:
        return Document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RequestRejected(f"{path} holds no figures of this version: see {where!r}.") from None
