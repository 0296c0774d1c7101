"""What the sender may say of an image beside exam and question: the form of each field.

The values are the sender's own words: shown and kept with the analysis, and never logged, so that
no message here repeats one.
"""

import re
from collections.abc import Mapping

from app.errors import FieldRejected
from planner.case import Details
from reports.model import Laterality, Scope

LONGEST = {"label": 64, "study": 64, "site": 64, "indication": 256, "operator": 64}
"""The most characters of each field of words."""

DETAILS = ("label", "study", "laterality", "site", "indication", "gestational_age", "operator")
SCOPE = "scope"

UNPRINTABLE = r"\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Controls, line breaks, and marks that turn or hide text, as the inside of a character class."""

AGE = r"0?([4-9]|[1-3][0-9]|4[0-4])([wW][0-6][dD]|\+[0-6])"
"""Weeks, from 4 to 44, and days: 19w6d or 19+6."""

_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")
_AGE = re.compile(AGE)


def read_details(fields: Mapping[str, str]) -> Details:
    """Return the details in these fields of a request; an empty field counts as absent.

    Raises:
        FieldRejected: a field is invalid; the message names it and says what it takes.
    """
    given = {name: text.strip() for name, text in fields.items() if text.strip()}
    words = {name: _words(name, given[name]) for name in LONGEST if name in given}
    return Details(
        label=words.get("label"),
        study=words.get("study"),
        laterality=_laterality(given.get("laterality")),
        site=words.get("site"),
        indication=words.get("indication"),
        gestational_age=_age(given.get("gestational_age")),
        operator=words.get("operator"),
    )


def read_scope(text: str | None) -> Scope:
    """Return what the question does to the report; it orders the protocol unless told otherwise.

    Raises:
        FieldRejected: the text is none of the known scopes.
    """
    if not (text or "").strip():
        return Scope.PROTOCOL
    try:
        return Scope(str(text).strip().lower())
    except ValueError:
        raise FieldRejected(
            SCOPE,
            "scope takes protocol (the question orders the report) or question (the report answers "
            "the question only).",
        ) from None


def _words(name: str, text: str) -> str:
    if len(text) > LONGEST[name]:
        raise FieldRejected(name, f"{name} takes up to {LONGEST[name]} characters.")
    if _UNPRINTABLE.search(text):
        raise FieldRejected(
            name,
            f"{name} takes printable characters on one line; send it without line breaks, tabs and "
            "other control characters.",
        )
    return text


def _laterality(text: str | None) -> Laterality | None:
    if text is None:
        return None
    try:
        return Laterality(text.lower())
    except ValueError:
        raise FieldRejected("laterality", f"laterality takes {', '.join(Laterality)}.") from None


def _age(text: str | None) -> str | None:
    if text is None:
        return None
    if not _AGE.fullmatch(text):
        raise FieldRejected(
            "gestational_age",
            "gestational_age takes completed weeks, from 4 to 44, and days, on the day of the "
            "image: 19w6d or 19+6.",
        )
    weeks, days = re.findall(r"\d+", text)
    return f"{int(weeks)}w{days}d"
