"""Parts of the OpenAPI description that the types do not give: multipart bodies and problems.

Multipart bodies are parsed without FastAPI's form parameters, so that their size is bounded.
"""

from typing import Any

from app.web.problems import PROBLEM_TYPE, Problem
from reports.model import ExamCode

_IMAGE = {
    "type": "string",
    "format": "binary",
    "description": "One PNG or JPEG picture, or a DICOM ultrasound image; its bytes decide, "
    "not its name.",
}
_FRAME = {
    "type": "integer",
    "minimum": 0,
    "description": "Of a DICOM file of several, counted from 0; without it /analyze lets the "
    "router choose.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "model": Problem,
        "description": "Any error, as RFC 9457 has it",
        "content": {PROBLEM_TYPE: {}},
    }
}


def _multipart(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": _IMAGE, **properties},
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


ANALYSIS_BODY = _multipart(
    {
        "exam": {
            "type": "string",
            "enum": list(ExamCode),
            "description": "The exam; else the image says. One that is not served here is refused "
            "by its name.",
        },
        "question": {
            "type": "string",
            "description": "What you want to know; erased when the analysis ends.",
        },
        "frame": _FRAME,
        "external_id": {
            "type": "string",
            "description": "Your own opaque id, shown in the report; never a patient's.",
        },
        "deadline_s": {
            "type": "number",
            "description": "Give it up when it is not done within so many seconds.",
        },
    }
)
ANALYSIS_BODY["parameters"] = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": 255},
        "description": "The same key and request again give the same analysis.",
    }
]
SPECIALIST_BODY = _multipart(
    {
        name: {"type": "number", "description": "The region of interest, in image pixels."}
        for name in ("x_min", "y_min", "x_max", "y_max")
    }
    | {"frame": _FRAME}
)
