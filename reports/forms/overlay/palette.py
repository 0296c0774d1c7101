"""Colours of structures: the same for one name in every picture of every report."""

import hashlib
from collections.abc import Iterable

LIME, SKY, YELLOW, PINK, GREEN, VIOLET, RED = (
    "#ccfca4",
    "#30d6ff",
    "#e2da00",
    "#eb95aa",
    "#68ad5f",
    "#c060f1",
    "#f02729",
)
PALETTE = (SKY, YELLOW, PINK, LIME, VIOLET, GREEN, RED)
"""Colours found by search, apart for every reader.

Each has a contrast of 5 : 1 on black. Any two are 5 apart in lightness (L*), for grey print, and 25
apart in CIELAB, to full colour vision and as Machado 2009 (IEEE TVCG 15:1291) simulates its
deficiencies.
"""

KNOWN = {
    "lesion": SKY,
    "nodule": SKY,
    "ovary or tumour": SKY,
    "head": SKY,
    "fetal head": SKY,
    "pubic symphysis": YELLOW,
    "symphysis": YELLOW,
    "angle of progression": LIME,
    "head–symphysis distance": PINK,
    "brain": VIOLET,
    "fetal brain": VIOLET,
    "cavum septi pellucidi": YELLOW,
    "lateral ventricle": PINK,
    "nerve": YELLOW,
    "vessel": RED,
    "aponeurosis": SKY,
    "fascicle": PINK,
    "fascicles": PINK,
    "muscle thickness": YELLOW,
    "pennation angle": LIME,
    "left ventricle": SKY,
    "left ventricular cavity": SKY,
    "myocardium": PINK,
    "left atrium": LIME,
}
"""The colours of structures that ship; those of one exam differ."""


def inks(structures: Iterable[str]) -> dict[str, str]:
    """Return the colour of each structure of a report, as `#rrggbb`.

    One that is not known has a colour by its name; where another structure of the report has it,
    the next one that is free.
    """
    names = list(dict.fromkeys(structures))
    found = {name: KNOWN[name.lower()] for name in names if name.lower() in KNOWN}
    for name in names:
        if name in found:
            continue
        first = hashlib.sha256(name.lower().encode()).digest()[0]
        turned = [PALETTE[(first + step) % len(PALETTE)] for step in range(len(PALETTE))]
        found[name] = next((ink for ink in turned if ink not in found.values()), turned[0])
    return {name: found[name] for name in names}
