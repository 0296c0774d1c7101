"""A report as JSON, and the hash of what it says."""

import hashlib
import json

from reports.model import Report

_CONTENT = {
    "request",
    "asked",
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
    """Serialise the report as indented UTF-8 JSON, keys in the order of the model."""
    return report.model_dump_json(indent=2).encode() + b"\n"


def content_sha256(report: Report) -> str:
    """Hash the canonical JSON of the results and of what follows from them (SHA-256, in hex).

    Left out are the ids of report and analysis, version, status, times, durations, the runtime and
    the version of the code: the same results give the same hash in any process.
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
