"""Text as DICOM attributes hold it: bounded in bytes, and free of what separates values.

PS3.5 table 6.2-1 bounds characters; validators and archives count bytes of the character set, which
is UTF-8 in all that USTri writes, so that bytes are bounded here. This module needs no pydicom.
"""

import unicodedata

LIMITS_BYTES = {"SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240}
"""Most bytes of a value, by value representation; those of PN are of one component group."""

TEXT_VRS = (*LIMITS_BYTES, "UC", "UT")

_LINES = frozenset("\r\n\f")
"""Control characters that ST, LT and UT may hold (PS3.5 table 6.2-1), escapes apart."""

_GROUPS_MAX = 3
"""Component groups of a Person Name: alphabetic, ideographic, phonetic (PS3.5 section 6.2.1)."""


def fitted(text: str, vr: str) -> str:
    """Return text as a value of representation `vr` may hold it, cut at a whole character.

    Of the text representations UC and UT alone have no limit.
    """
    allowed = _LINES if vr in ("ST", "LT", "UT") else frozenset()
    controls = {c for c in text if unicodedata.category(c) == "Cc"} - allowed
    line = text.translate({ord(c): " " for c in controls})
    limit_bytes = LIMITS_BYTES.get(vr)
    if limit_bytes is None:
        return line
    if vr in ("ST", "LT"):
        return _cut(line, limit_bytes).rstrip()
    line = line.replace("\\", "/")  # A backslash separates values (PS3.5 section 6.2).
    if vr != "PN":
        return _cut(line.strip(), limit_bytes).rstrip()
    groups = [_cut(group, limit_bytes).rstrip() for group in line.split("=")[:_GROUPS_MAX]]
    return "=".join(groups)


def person_name(name: str) -> str:
    """Return a name as a Person Name: all of it the family name where it has no components."""
    fit = fitted(name, "PN")
    return fit if "^" in fit else _cut(fit, LIMITS_BYTES["PN"] - 1) + "^"


def _cut(text: str, limit_bytes: int) -> str:
    """Return the longest beginning of that many bytes that parts no letter from its marks."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit_bytes:
        return text
    kept = encoded[:limit_bytes].decode("utf-8", "ignore")
    end = len(kept)
    while end and unicodedata.combining(text[end]):
        end -= 1
    return kept[:end]
