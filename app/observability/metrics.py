"""Metrics of this process, under Prometheus names; docs/operations.md explains each.

Labels come from closed sets: routes, specialists of the manifest, and the enumerations below. They
never hold an id of an analysis, a file name or a sentence.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from app import errors
from planner.case import STOP, Record
from reports.model import ChosenBy, Colour, Outcome, Report
from reports.provenance import ModelRef
from specialists.errors import Declined, Foreign, Illegible
from specialists.manifest import Manifest

_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_PASS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_WAIT_S = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_IMAGES = (1, 2, 4, 8, 16)


class Refusal(StrEnum):
    """Why a request was refused, or why a report states that nothing was analysed."""

    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    UNREADABLE = "unreadable"
    INVALID = "invalid"
    QUEUE_FULL = "queue_full"
    KEY = "key"
    SITE = "site"
    NOT_READY = "not_ready"
    COLOUR = "colour"
    NOT_2D = "not_2d"
    QUALITY = "quality"
    FOREIGN = "foreign"
    DECLINED = "declined"
    NO_EXAM = "no_exam"
    OTHER = "other"


_REFUSED: tuple[tuple[type[Exception], Refusal], ...] = (
    (errors.BodyTooLarge, Refusal.TOO_LARGE),
    (errors.ImageTooLarge, Refusal.TOO_LARGE),
    (errors.ImageUnsupported, Refusal.UNSUPPORTED),
    (errors.ImageRejected, Refusal.UNREADABLE),
    (errors.RequestRejected, Refusal.INVALID),
    (errors.NotAcceptable, Refusal.INVALID),
    (errors.Conflict, Refusal.INVALID),
    (errors.QueueFull, Refusal.QUEUE_FULL),
    (errors.KeyRequired, Refusal.KEY),
    (errors.HostRefused, Refusal.SITE),
    (errors.OriginRefused, Refusal.SITE),
    (errors.NotReady, Refusal.NOT_READY),
    (Illegible, Refusal.QUALITY),
    (Foreign, Refusal.FOREIGN),
    (Declined, Refusal.DECLINED),
)


class End(StrEnum):
    """How an analysis ended."""

    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class QuestionEnd(StrEnum):
    """How a direct inference request to a specialist ended."""

    ANSWERED = "answered"
    DECLINED = "declined"
    QUEUE_FULL = "queue_full"
    LATE = "late"
    FAILED = "failed"


# Prometheus detects resets without `_created` series, which would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("ustri_http_requests", "Requests answered.", ("method", "route", "status"))
REQUEST_SECONDS = Histogram(
    "ustri_http_request_seconds",
    "Time from a request to the end of its answer.",
    ("method", "route"),
    buckets=_REQUEST_S,
)
REFUSALS = Counter("ustri_refusals", "Requests and images that were refused.", ("reason",))
ANALYSES = Counter("ustri_analyses", "Analyses that ended.", ("end",))
REPORTS = Counter("ustri_reports", "Reports made.", ("outcome",))
WAIT_SECONDS = Histogram(
    "ustri_analysis_wait_seconds",
    "Time from an analysis's acceptance until a worker first took it.",
    buckets=_WAIT_S,
)
ANALYSIS_SECONDS = Histogram(
    "ustri_analysis_seconds", "Time from an analysis's acceptance to its report.", buckets=_WAIT_S
)
STEP_SECONDS = Histogram(
    "ustri_step_seconds",
    "Time of a step: choosing the specialist, and its answer.",
    ("specialist",),
    buckets=_PASS_S,
)
DECISIONS = Counter("ustri_planner_decisions", "Steps by who chose them.", ("chosen_by",))
DECLINES = Counter(
    "ustri_specialist_declines", "Images that a specialist declined.", ("specialist", "reason")
)
BACKBONE_SECONDS = Histogram(
    "ustri_backbone_pass_seconds", "Time of a backbone's pass.", ("model",), buckets=_PASS_S
)
BACKBONE_IMAGES = Histogram(
    "ustri_backbone_pass_images",
    "Images that shared a backbone's pass.",
    ("model",),
    buckets=_IMAGES,
)
HEAD_SECONDS = Histogram(
    "ustri_head_pass_seconds", "Time of a specialist's pass.", ("specialist",), buckets=_PASS_S
)
HEAD_IMAGES = Histogram(
    "ustri_head_pass_images",
    "Images that shared a specialist's pass.",
    ("specialist",),
    buckets=_IMAGES,
)
FEATURES = Counter(
    "ustri_feature_cache_requests", "Looks for an image's features in memory.", ("result",)
)
QUESTIONS = Counter("ustri_questions", "Direct questions to a specialist.", ("specialist", "end"))
QUESTION_SECONDS = Histogram(
    "ustri_question_seconds",
    "Time until a direct question was answered or given up.",
    ("specialist",),
    buckets=_REQUEST_S,
)
MODELS = Gauge(
    "ustri_model_info",
    "Always 1; the networks that this process runs, by content.",
    ("id", "kind", "sha256", "runtime", "device", "precision"),
)

# Series that exist from the start, at 0, make their first increase visible to Prometheus.
for _reason in Refusal:
    REFUSALS.labels(_reason)
for _end in End:
    ANALYSES.labels(_end)
for _outcome in Outcome:
    REPORTS.labels(_outcome)
for _chosen_by in ChosenBy:
    DECISIONS.labels(_chosen_by)
for _result in ("hit", "miss"):
    FEATURES.labels(_result)


def count_request(method: str, route: str, status: int, took_s: float) -> None:
    """Count a request to a route; `status` 0 means that its client disconnected before the end."""
    REQUESTS.labels(method, route, str(status) if status else "none").inc()
    REQUEST_SECONDS.labels(method, route).observe(took_s)


def refusal_of(error: Exception) -> Refusal | None:
    """Return the refusal that an error stands for; None if it is not one."""
    return next((reason for kind, reason in _REFUSED if isinstance(error, kind)), None)


def count_refused(error: Exception) -> None:
    """Count a request that was answered with that error."""
    if (reason := refusal_of(error)) is not None:
        REFUSALS.labels(reason).inc()


def count_end(end: End) -> None:
    """Count an analysis that ended."""
    ANALYSES.labels(end).inc()


def count_report(report: Report, declined: Refusal | None, queued_at: float | None) -> None:
    """Count an analysis that ended with a report.

    Args:
        report: the report as it is stored.
        declined: why a specialist last declined; None where none did.
        queued_at: when the analysis was accepted, in seconds since the epoch.
    """
    count_end(End.DONE)
    REPORTS.labels(report.outcome).inc()
    if queued_at is not None:
        ANALYSIS_SECONDS.observe(max(time.time() - queued_at, 0.0))
    if report.outcome is Outcome.REFUSED:
        REFUSALS.labels(_why_refused(report, declined)).inc()


def _why_refused(report: Report, declined: Refusal | None) -> Refusal:
    if report.image.not_analysed is not None:
        return Refusal.NOT_2D
    if report.image.colour is Colour.COLOUR:
        return Refusal.COLOUR
    if declined is not None:
        return declined
    return Refusal.NO_EXAM if report.exam.code is None else Refusal.OTHER


def count_step(record: Record) -> None:
    """Count a recorded step."""
    DECISIONS.labels(record.step.chosen_by).inc()
    if record.step.action != STOP:
        STEP_SECONDS.labels(record.step.action).observe(record.step.duration_ms / 1000)


def count_begun(queued_at: float | None) -> None:
    """Record the waiting time of an analysis that a worker takes for the first time.

    Args:
        queued_at: when the analysis was accepted, in seconds since the epoch.
    """
    if queued_at is not None:
        WAIT_SECONDS.observe(max(time.time() - queued_at, 0.0))


def count_look(hit: bool) -> None:
    """Count a request to the feature cache as a hit or a miss."""
    FEATURES.labels("hit" if hit else "miss").inc()


@contextmanager
def question(specialist: str) -> Iterator[None]:
    """Time and count what runs in the context as an inference request to that specialist."""
    started, end = time.perf_counter(), QuestionEnd.FAILED
    try:
        yield
        end = QuestionEnd.ANSWERED
    except Declined:
        end = QuestionEnd.DECLINED
        raise
    except errors.QueueFull:
        end = QuestionEnd.QUEUE_FULL
        raise
    except errors.DeadlinePassed:
        end = QuestionEnd.LATE
        raise
    finally:
        QUESTIONS.labels(specialist, end).inc()
        QUESTION_SECONDS.labels(specialist).observe(time.perf_counter() - started)


def show_models(manifest: Manifest, runtime: str, planner: ModelRef) -> None:
    """Publish which models this process runs: backbones, specialists and planner.

    Backbones and specialists carry the labels of `runtime`.
    """
    placed = _placed(runtime)
    MODELS.clear()
    for entry in manifest.installed():
        model = manifest.models.get(entry.model)
        MODELS.labels(entry.model, "backbone", (model and model.sha256) or "", *placed).set(1)
        MODELS.labels(entry.id, "specialist", entry.sha256 or "", *placed).set(1)
    MODELS.labels(planner.id, "planner", planner.sha256, "", "", "").set(1)


def _placed(runtime: str) -> tuple[str, str, str]:
    """Return runtime, device and precision from a name such as `openvino-cpu-fp32`."""
    parts = runtime.partition(" ")[0].split("-", 2)
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (runtime, "", "")
