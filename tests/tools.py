"""External tools that check USTri's files; absent ones skip a test, or fail it if promised."""

import importlib
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.processes import finished

PRIVATE_SCHEME_WARNING = (
    "Warning - Unrecognized defined term <99USTRI> for value 1 of attribute "
    "<Coding Scheme Designator>"
)
"""A warning of dciodvfy about an SR that is no fault: it does not know the private scheme."""

DEVICE_UID_WARNINGS = frozenset(
    {
        "Warning - Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID ",
        "Warning - Dicom dataset contains attributes not present in standard DICOM IOD - "
        "this is a Standard Extended SOP Class",
    }
)
"""Warnings of the dciodvfy of 2022 that are none of today's standard.

It does not know the Device UID of contributing equipment (PS3.3 table C.12-1), which IHE AI Results
asks for.
"""

KNOWN_WARNINGS = DEVICE_UID_WARNINGS | {PRIVATE_SCHEME_WARNING}
"""All that dciodvfy may say of an SR."""


def missing(reason: str) -> NoReturn:
    """Skips the test or the module for that reason, or fails it where USTRI_REQUIRE_TOOLS is 1."""
    if os.environ.get("USTRI_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


def require(tool: str, how: str) -> str:
    """The path of that program."""
    path = shutil.which(tool)
    return path or missing(f"{tool} is not installed ({how}).")


def module(name: str, how: str) -> Any:
    """That Python module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing(f"{name} is not installed ({how}).")


def complaints(data: bytes, folder: Path) -> list[str]:
    """Every error and warning of dciodvfy about a DICOM file."""
    program = require("dciodvfy", "apt-get install dicom3tools")
    path = folder / "checked.dcm"
    path.write_bytes(data)
    ran = finished([program, str(path)])
    lines = (ran.stdout + ran.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning"))]
