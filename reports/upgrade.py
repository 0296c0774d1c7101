"""Reports of earlier schema versions, and recorded steps of their time, read as the present ones.

Version 1.0 (until December 2026) had fewer keys, and called a step that the planner's model chose
`llava`. Everything else that it holds is kept as it was written, its wording and its
`content_sha256` included, which covers the content of version 1.0.
"""

import json

from reports.model import SCHEMA_VERSION, ChosenBy, Report

_FIRST = "1.0"
_MODEL_IN_FIRST = "llava"


def read_report(text: str | bytes) -> Report:
    """Return the report in a JSON text of any version that this service has written.

    Raises:
        ValidationError: the text is no report of such a version.
    """
    try:
        given = json.loads(text)
    except ValueError:
        return Report.model_validate_json(text)  # which says what is wrong, and where
    if isinstance(given, dict) and given.get("schema_version") == _FIRST:
        return Report.model_validate_json(json.dumps(_from_first(given)))
    return Report.model_validate_json(text)


def _from_first(given: dict[str, object]) -> dict[str, object]:
    steps = given.get("steps")
    renamed = [present_step(step) for step in steps] if isinstance(steps, list) else steps
    return {**given, "schema_version": SCHEMA_VERSION, "steps": renamed}


def present_step(step: object) -> object:
    """Return a step, as parsed from JSON, in the words of the present version."""
    if isinstance(step, dict) and step.get("chosen_by") == _MODEL_IN_FIRST:
        return {**step, "chosen_by": ChosenBy.MODEL}
    return step
