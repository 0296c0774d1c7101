"""What a run of `ustri bench` found: the JSON file that it writes, and that the pages are made from."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import RequestRejected

SIDE_PX = 1000
"""Sides of the analysed image: one megapixel."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ratio(_Figures):
    """A median of rounds, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float


def ratio_of(values: Sequence[float]) -> Ratio:
    """The spread of one figure over the rounds; also of a plain number such as milliseconds."""
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
    """The source's, with `+` where files differed from it; "unknown" outside a checkout."""
    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]
    gpu: str | None


class Run(_Figures):
    """How it was measured."""

    runtime: str
    """Runtime, device and precision of the networks."""
    threads: int | None
    """Cores that one pass may take; None: all."""
    torch_threads: int
    short: bool
    rounds: int
    passes_per_round: int
    requests: dict[str, int]
    """Requests that a round sends, by the number of clients."""
    specialists: tuple[str, ...]
    """Those of a breast analysis, as the rules chose them."""
    postgresql: bool
    redis: bool
    seconds: float
    load_before: float
    """Processes that wanted a core in the minute before, by the system's count."""


class Memory(_Figures):
    """Megabytes that a process holds at the end of the run, and held at most."""

    resident: float
    peak: float


class Sizing(_Figures):
    """What a deployment is sized from."""

    per_core: Ratio
    """Analyses a second of `ustri worker` that has one core and one thread."""
    per_machine: Ratio
    """Analyses a second of `ustri serve` with all cores and as many clients as served it best."""
    per_gpu: Ratio | None
    web_per_s: Ratio
    """Analyses a second that one web process takes in and hands out when its specialists answer at once."""
    two_webs_per_s: Ratio | None = None
    """Likewise of two web processes over one database, as many clients as before; None in a run that had one only."""
    web_cpu_ms: float
    """Processor time of that web process for one analysis."""
    worker_cpu_ms: float
    """Processor time of the worker with one core for one analysis."""
    store: str
    """What the figures below were measured over: SQLite or PostgreSQL."""
    picture_bytes: float
    """The picture of an analysis, as it is kept."""
    row_bytes: float
    """The rest of what the store holds of an analysis."""
    log_bytes: float | None
    """What PostgreSQL's write-ahead log takes for an analysis."""
    writes: float | None
    """Transactions of PostgreSQL that write, for an analysis."""
    redis_bytes: float | None
    """What Redis receives and sends for an analysis."""
    redis_commands: float | None


class Document(_Figures):
    """All of a run; figures without a unit in their name are ratios of times, or of throughputs where it says so."""

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
    """Images a second in passes of 16 over those in passes of one; a throughput."""
    heads_over_backbone: dict[str, Ratio]
    overhead_ms: Ratio
    backbone_ms: Ratio
    decode_ms: Ratio
    images_over_ceiling: Ratio | None
    images_per_s: Ratio | None
    """Of the backbone in passes of 64 on CUDA; None on a CPU, as the one above."""
    http_over_inprocess: Ratio
    queue_over_inprocess: Ratio
    inprocess_ms: Ratio
    batched_over_single: dict[str, Ratio]
    """By clients: analyses a second over those of one client in the same round; a throughput."""
    peer_over_ours: dict[str, Ratio]
    """By clients: the time that the peer takes for an image, over ours."""
    analyses_per_s: dict[str, Ratio]
    peer_analyses_per_s: dict[str, Ratio]
    start_to_ready_s: Ratio
    memory_mb: dict[str, Memory]
    sizing: Sizing


def read_document(path: Path) -> Document:
    """The figures that `--json` wrote there.

    Raises:
        RequestRejected: the file is none of this version.
        OSError: it cannot be read.
    """
    try:
        return Document.model_validate_json(path.read_bytes())
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise RequestRejected(f"{path} holds no figures of this version: see {where!r}.") from None
