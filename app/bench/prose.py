"""Prose of generated Markdown pages, in lines of at most 100 characters."""

import re
import textwrap
from itertools import groupby

WIDTH = 100
_CODE = re.compile(r"`[^`]+`")
_HIDDEN_SPACE = "\x00"
_FIXED = ("|", "#", "<", "```")
"""Beginnings of lines that are not prose: tables, headings, comments, fences."""


def wrapped(page: str) -> str:
    """Return the page with each paragraph filled anew; inline code is not broken."""
    lines: list[str] = []
    for prose, found in groupby(page.split("\n"), key=_is_prose):
        together = list(found)
        lines += _filled(" ".join(together)) if prose else together
    return "\n".join(lines)


def _is_prose(line: str) -> bool:
    return line.strip() != "" and not line.startswith(_FIXED)


def _filled(paragraph: str) -> list[str]:
    whole = _CODE.sub(lambda code: code.group().replace(" ", _HIDDEN_SPACE), paragraph)
    lines = textwrap.wrap(whole, WIDTH, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HIDDEN_SPACE, " ") for line in lines]
