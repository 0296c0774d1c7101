"""A report as JSON, and the hash of what it says."""

import hashlib
import json

from reports.model import Report

_CONTENT = {
    "request",
    "exam",
    "image",
    "outcome",
    "reason",
    "findings",
    "measurements",
    "evidence",
    "steps",
    "checks",
    "impression",
    "limitations",
}


def to_json(report: Report) -> bytes:
    """The report as indented UTF-8 JSON, keys in the order of the model."""
    return report.model_dump_json(indent=2).encode() + b"\n"


def content_sha256(report: Report) -> str:
    """The SHA-256 of the canonical JSON of results and what follows from them.

    Left out are ids of report and analysis, version, status, times, durations, the runtime and the
    code's version: the same results give the same hash in any process.
    """
    content = report.model_dump(mode="json", include=_CONTENT)
    for step in content["steps"]:
        del step["duration_ms"]
    made_by = report.provenance.model_dump(mode="json", include={"models", "planner"})
    canonical = json.dumps(
        content | made_by,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
