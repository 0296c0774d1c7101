"""Parts of the OpenAPI description that the types do not give: multipart bodies and problems.

Multipart bodies are parsed without FastAPI's form parameters, so that their size is bounded.
"""

import re
from collections.abc import Sequence
from typing import Any

from app.storage.details import AGE, LONGEST, UNPRINTABLE
from app.web.problems import PROBLEM_TYPE, Problem
from reports.model import ExamCode, Laterality, Scope

QUESTION_LIMIT = 2000
"""Characters: more than any question about one image needs, few enough for a planner's context."""

DEADLINE_MAX_S = 86_400
"""A day, the longest deadline that a request may set; longer is as good as none."""

EXTERNAL_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_IMAGE = {
    "type": "string",
    "format": "binary",
    "description": "One PNG or JPEG picture, or a DICOM ultrasound image; its bytes decide, "
    "not its name.",
}
_FRAME = {
    "type": "integer",
    "minimum": 0,
    "maximum": 999_999_999,
    "description": "Of a DICOM file of several, counted from 0; without it /analyze lets the "
    "router choose.",
}
_IMAGES = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "string", "format": "binary"},
    "description": "PNG or JPEG pictures, DICOM ultrasound images, and ZIP archives of them. All "
    "fields beside hold for each.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "model": Problem,
        "description": "Any error, as RFC 9457 has it",
        "content": {PROBLEM_TYPE: {}},
    }
}


def _multipart(properties: dict[str, Any], image: dict[str, Any] | None = _IMAGE) -> dict[str, Any]:
    """Return a multipart body; without `image`, it may be left out."""
    schema = {
        "type": "object",
        "required": [] if image is None else ["image"],
        "properties": properties if image is None else {"image": image, **properties},
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": image is not None, "content": content}}


def _key(description: str) -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "description": description,
    }


def _words(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "type": "string",
        "maxLength": LONGEST[name],
        "pattern": f"^[^{UNPRINTABLE}]*$",
        "description": f"{description} Shown in the report and kept with it.",
        "examples": [example],
    }


_DETAILS = {
    "label": _words("label", "What you call this analysis; never a patient's name.", "Case 12"),
    "study": _words(
        "study",
        "What you call the study: images with the same one are one study, also where their DICOM "
        "files say otherwise; never a patient's name.",
        "Visit 7",
    ),
    "laterality": {
        "type": "string",
        "enum": [*Laterality, ""],
        "description": "The side of the body, in capitals or not.",
        "examples": ["left"],
    },
    "site": _words("site", "Where the image was taken.", "3 o'clock, 4 cm from the nipple"),
    "indication": _words("indication", "Why it was taken.", "Palpable lump"),
    "gestational_age": {
        "type": "string",
        "pattern": rf"^\s*({AGE})?\s*$",
        "description": "Completed weeks and days on the day of the image, such as 19w6d or 19+6.",
        "examples": ["19w6d"],
    },
    "operator": _words("operator", "Who took it, by initials or a number.", "JD"),
}
_QUESTION = {
    "type": "string",
    "maxLength": QUESTION_LIMIT,
    "pattern": "^[^\\u0000]*$",
    "description": "What you want to know; erased when the analysis ends. It orders the "
    "report and is answered first.",
    "examples": ["How big is the mass?"],
}
_FIELDS: dict[str, Any] = {
    "exam": {
        "type": "string",
        "enum": [*ExamCode, ""],
        "description": "The exam; else, or where it is empty, the image says. One that is not "
        "served here is refused by its name.",
    },
    "question": _QUESTION,
    "scope": {
        "type": "string",
        "enum": [*Scope, ""],
        "description": "With question, the report is limited to what the question asks; "
        "otherwise all that the exam requires is reported.",
        "examples": ["protocol"],
    },
    "frame": _FRAME,
    **_DETAILS,
    "external_id": {
        "type": "string",
        "pattern": rf"^\s*({EXTERNAL_ID.pattern})?\s*$",
        "description": "Your own opaque id, shown in the report; never a patient's.",
    },
    "deadline_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": DEADLINE_MAX_S,
        "description": "Give it up when it is not done within so many seconds.",
    },
}
ANALYSIS_BODY = _multipart(_FIELDS) | {
    "parameters": [_key("The same key and request again give the same analysis.")]
}
BATCH_BODY = _multipart(_FIELDS, _IMAGES) | {
    "parameters": [_key("The same key and request again start only what is not started yet.")]
}
RETRY_BODY = _multipart({"question": _QUESTION}, image=None)
SPECIALIST_BODY = _multipart(
    {
        name: {"type": "number", "description": "The region of interest, in image pixels."}
        for name in ("x_min", "y_min", "x_max", "y_max")
    }
    | {"frame": _FRAME}
)
_OF_ANALYSIS = ("show", "show_report", "follow", "stop", "retry", "calibrate", "push", "pushed")
"""Operations that take the id of an analysis alone; an operation is named as its function."""


def _links(operations: Sequence[str], **parameters: str) -> dict[str, Any]:
    return {name: {"operationId": name, "parameters": parameters} for name in operations}


def analysis_links(pointer: str) -> dict[str, Any]:
    """Return the links from a response to what can be asked of its analysis.

    Args:
        pointer: to the id of the analysis in the response's body, as a JSON pointer.
    """
    found = f"$response.body#{pointer}"
    links = _links(_OF_ANALYSIS, analysis_id=found)
    return {"links": links | _links(("show_report_form",), analysis_id=found, suffix="json")}


REPORT_LINKS: dict[str, Any] = {
    "links": {
        **analysis_links("/analysis_id")["links"],
        **_links(
            ("show_evidence",),
            analysis_id="$response.body#/analysis_id",
            evidence_id="$response.body#/evidence/0/id",
        ),
    }
}
SPECIALIST_LINKS: dict[str, Any] = {
    "links": _links(("show_card", "ask_specialist"), specialist_id="$response.body#/0/id")
}
