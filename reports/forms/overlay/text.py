"""How wide a text is, before any font is known: as wide as Bitstream Vera Sans at least."""

_NARROW, _WIDE = frozenset("ijl.,:;'|! f"), frozenset("mwMW@%—")
_EM = {"narrow": 0.4, "lower": 0.64, "upper": 0.8, "wide": 1.0}
_PADDING = 0.3


def text_width(text: str, size: float) -> float:
    """Return the width of a text with letters of that size, and a little room on both sides."""
    return size * (_PADDING + sum(_width(char) for char in text))


def _width(char: str) -> float:
    if char in _WIDE:
        return _EM["wide"]
    if char in _NARROW:
        return _EM["narrow"]
    return _EM["upper"] if char.isupper() or ord(char) > 0x2000 else _EM["lower"]
