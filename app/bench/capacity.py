"""The sizing section of docs/deployment.md: what was measured, and what follows from it.

The section sizes a deployment for 10 000 analyses an hour and for a million a day.
"""

import math
from collections.abc import Iterator

from app.bench.results import Document, Sizing

HOUR_PER_S = 10_000 / 3600
RESERVE = 1.5
"""Planned rate over the mean rate, so that bursts do not fill the queue."""

DAY = 1_000_000
DAY_PER_S = DAY / 86_400
PEAK = 3.0
"""Rate of a day's busiest hours over the mean of the day, because clinics work by day."""

BUSY = 0.25
"""Load before a run, as a share of the cores, above which its figures say little about the code."""


def doubts_of(found: Document) -> list[str]:
    """Return a warning where the run was short or the machine busy, and else an empty list."""
    why = []
    if found.run.short:
        why.append("this was a short run")
    if found.run.load_before > BUSY * found.machine.cores:
        why.append(
            f"{found.run.load_before:.1f} other processes wanted the {found.machine.cores} cores"
        )
    return [f"**No verdict: {' and '.join(why)}.** Measure again."] if why else []


def sizing_of(found: Document) -> str:
    """Return the sizing section in Markdown."""
    sizing = found.sizing
    lines = [line for doubts in doubts_of(found) for line in (doubts, "")]
    lines += ["| measured | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _measure(found)]
    lines += [
        "",
        f"Machine: {found.machine.cpu}, {found.machine.cores} cores, "
        f"{found.machine.memory_gb:.0f} GiB; {found.run.runtime}; {found.machine.date}. "
        "One-megapixel images, the default\nbreast analysis "
        f"({len(found.run.specialists)} specialists), rules as planner. "
        "Clients, web process, database and worker shared that machine.",
        "",
        "**10 000 an hour** (computed from the table, not run). " + _hour(sizing),
        "",
        "**A million a day** (computed from the table, not run). " + _day(sizing),
        "",
    ]
    return "\n".join(lines)


def _measure(found: Document) -> Iterator[tuple[str, str]]:
    sizing, memory = found.sizing, found.memory_mb
    gpu = "not measured" if sizing.per_gpu is None else f"{sizing.per_gpu.median:.1f}"
    yield (
        "analyses a second of a worker with one core, *a*",
        f"{sizing.per_core.median:.2f} ({sizing.per_core.low:.2f} to {sizing.per_core.high:.2f})",
    )
    yield (
        f"analyses a second of `ustri serve` with all {found.machine.cores} cores",
        f"{sizing.per_machine.median:.2f} "
        f"({sizing.per_machine.low:.2f} to {sizing.per_machine.high:.2f})",
    )
    yield "analyses a second and GPU, *g*", gpu
    yield (
        f"analyses a second that one web process carries over {sizing.store}, *w* "
        "(its specialists answer at once)",
        f"{sizing.web_per_s.median:.1f} "
        f"({sizing.web_per_s.low:.1f} to {sizing.web_per_s.high:.1f})",
    )
    if sizing.two_webs_per_s is not None:
        two = sizing.two_webs_per_s
        yield (
            "the same of two web processes over that one store",
            f"{two.median:.1f} ({two.low:.1f} to {two.high:.1f})",
        )
    yield "processor time of the web process for an analysis", f"{sizing.web_cpu_ms:.0f} ms"
    yield "processor time of the one-core worker for an analysis", f"{sizing.worker_cpu_ms:.0f} ms"
    yield "memory of a worker, at most", f"{memory['worker'].peak:.0f} MB"
    yield "memory of a web process, at most", f"{memory['web'].peak:.0f} MB"
    yield "picture of an analysis", _kilobytes(sizing.picture_bytes)
    yield "other rows of an analysis", _kilobytes(sizing.row_bytes)
    yield "PostgreSQL's write-ahead log for an analysis", _kilobytes(sizing.log_bytes)
    yield "transactions that write, for an analysis", _count(sizing.writes)
    yield (
        "through Redis for an analysis",
        (
            "not measured"
            if sizing.redis_bytes is None
            else f"{_kilobytes(sizing.redis_bytes)}, {_count(sizing.redis_commands)} commands"
        ),
    )


def _hour(sizing: Sizing) -> str:
    wanted = HOUR_PER_S * RESERVE
    cores = math.ceil(wanted / sizing.per_core.median)
    webs = math.ceil(wanted / sizing.web_per_s.median)
    gpus = (
        "GPUs: not measured"
        if sizing.per_gpu is None
        else f"or {math.ceil(wanted / sizing.per_gpu.median)} GPU(s)"
    )
    each = sizing.picture_bytes + sizing.row_bytes
    return (
        f"{HOUR_PER_S:.2f} a second, with half as much again for bursts {wanted:.2f}: "
        f"worker cores = {wanted:.2f} ÷ *a* = {cores} ({gpus}), "
        f"web processes = {wanted:.2f} ÷ *w* = {webs},\n"
        "and one machine more than that, so that one may fail. The database grows by "
        f"{10_000 * each / 1e9:.1f} GB an hour."
    )


def _day(sizing: Sizing) -> str:
    peak = DAY_PER_S * PEAK
    cores = math.ceil(peak / sizing.per_core.median)
    webs = math.ceil(peak / sizing.web_per_s.median)
    log = (
        "the write-ahead log was not measured"
        if sizing.log_bytes is None
        else f"{DAY * sizing.log_bytes / 1e9:.0f} GB of write-ahead log"
    )
    writes = (
        "transactions were not counted"
        if sizing.writes is None
        else f"{peak * sizing.writes:.0f} transactions a second that write"
    )
    redis = (
        "Redis was not measured"
        if sizing.redis_bytes is None or sizing.redis_commands is None
        else f"Redis: {peak * sizing.redis_bytes / 1e6:.2f} MB and "
        f"{peak * sizing.redis_commands:.0f} commands a second"
    )
    return (
        f"{DAY_PER_S:.1f} a second on average, {peak:.0f} in busy hours ({PEAK:.0f} times that): "
        f"{cores} worker cores and {webs} web processes;\n"
        f"{DAY * sizing.picture_bytes / 1e9:.0f} GB of pictures and "
        f"{DAY * sizing.row_bytes / 1e9:.0f} GB of rows a day, {log}; {writes}; {redis}.\n"
        f"{_webs(sizing)} Accepting is one transaction at a time (below), so more of them "
        "raise *w* only until the database is busy with that alone."
    )


def _webs(sizing: Sizing) -> str:
    """Say how much more two web processes carry than one, where that was measured."""
    if sizing.two_webs_per_s is None:
        return "Not measured: whether several web processes over one database carry that."
    times = sizing.two_webs_per_s.median / sizing.web_per_s.median
    return (
        f"Two web processes over one database carried {times:.2f} times what one did, "
        "on one machine with clients,\nworker and database; more were not tried."
    )


def _kilobytes(value: float | None) -> str:
    return "not measured" if value is None else f"{value / 1000:.1f} kB"


def _count(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f}"
