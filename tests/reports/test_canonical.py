import json
import os
import sys
from pathlib import Path

import pytest

from reports.canonical import content_sha256, to_json
from reports.model import Outcome, Report, Status
from tests.builders import (
    a_finding,
    a_provenance,
    a_refused_report,
    a_report,
    a_sha256,
    a_step,
    a_worded_report,
    an_image_info,
)
from tests.processes import finished

ROOT = Path(__file__).parents[2]

PRINT_ALL_FORMS = """
import hashlib
from reports.canonical import content_sha256, to_json
from reports.forms.html import to_html
from reports.forms.text import to_text
from reports.wording.report import word
from tests.builders import a_refused_report, a_worded_report
for report in (a_worded_report(), word(a_refused_report())):
    forms = to_json(report), to_text(report).encode(), to_html(report, "image.png").encode()
    print(content_sha256(report), *(hashlib.sha256(form).hexdigest() for form in forms))
"""


def test_json_survives_the_way_there_and_back_byte_for_byte() -> None:
    for report in (a_worded_report(), a_refused_report()):
        assert to_json(Report.model_validate_json(to_json(report))) == to_json(report)


def test_json_has_the_keys_that_integrators_rely_on_in_the_order_of_the_model() -> None:
    assert list(json.loads(to_json(a_worded_report()))) == [
        "schema_version",
        "report_id",
        "analysis_id",
        "version",
        "supersedes",
        "status",
        "created_at",
        "outcome",
        "reason",
        "request",
        "asked",
        "study",
        "external_id",
        "signed_by",
        "signed_at",
        "amendment_reason",
        "exam",
        "image",
        "findings",
        "measurements",
        "evidence",
        "steps",
        "checks",
        "impression",
        "limitations",
        "provenance",
    ]


def test_scores_stay_in_class_order() -> None:
    evidence = json.loads(to_json(a_worded_report()))["evidence"]
    assert [list(item["scores"]) for item in evidence if item["kind"] == "scores"] == [
        ["benign", "malignant"]
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"report_id": "another"},
        {"analysis_id": "another"},
        {"version": 2, "supersedes": "an older one"},
        {"status": Status.FINAL},
        {"created_at": "2030-01-01T00:00:00Z"},
        {"external_id": "another"},
        {"provenance": a_provenance(code_version="9.9", runtime="other", content_sha256="")},
        {"steps": tuple(s.model_copy(update={"duration_ms": 9.0}) for s in a_report().steps)},
    ],
)
def test_the_hash_ignores_identity_time_and_machine(changes: dict[str, object]) -> None:
    assert content_sha256(a_report(**changes)) == content_sha256(a_report())


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.PARTIAL, "reason": "why"},
        {"image": an_image_info(width_px=641)},
        {"findings": (a_finding(score=0.94),)},
        {"measurements": ()},
        {"evidence": a_report().evidence[:3]},
        {"steps": (a_step(reason="Another."),)},
        {"checks": ()},
        {"impression": ("Another.",)},
        {"limitations": ("Another.",)},
        {"provenance": a_provenance(models=())},
        {"provenance": a_provenance(planner={"id": "rules", "sha256": a_sha256("other")})},
    ],
)
def test_the_hash_covers_results_and_what_follows_from_them(changes: dict[str, object]) -> None:
    assert content_sha256(a_report(**changes)) != content_sha256(a_report())


def test_every_key_of_a_report_is_either_content_or_known_not_to_be() -> None:
    identity = {
        "schema_version",
        "report_id",
        "analysis_id",
        "version",
        "supersedes",
        "status",
        "created_at",
        "study",
        "external_id",
        "signed_by",
        "signed_at",
        "amendment_reason",
        "provenance",
    }
    content = {
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
    assert set(Report.model_fields) == identity | content


def forms_in_another_process(hash_seed: str) -> str:
    printed: str = finished(
        [sys.executable, "-c", PRINT_ALL_FORMS],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        check=True,
    ).stdout
    return printed


def test_the_same_results_give_the_same_bytes_in_any_process() -> None:
    assert len({forms_in_another_process(seed) for seed in ("0", "1", "4242")}) == 1
