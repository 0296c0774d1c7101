"""Names of structures, findings and measurements that no protocol of ours answers.

They come from DICOM's context groups.
"""

import re
from collections.abc import Iterable
from functools import cache

from pydicom.sr.codedict import codes

GROUPS = (
    *("CID4", "CID4031", "CID8134"),  # anatomic regions and structures
    *("CID12005", "CID12006", "CID12007", "CID12008", "CID12011"),  # obstetrics
    *("CID12018", "CID12019"),  # obstetric summaries
    *("CID12246", "CID12248", "CID12249", "CID12300", "CID12304", "CID12305"),  # the heart
    *("CID3810", "CID6117", "CID12119", "CID12122"),  # vessels
    *("CID7154", "CID12320", "CID12322", "CID12325"),  # abdomen and elastography
    *("CID6109", "CID6113", "CID7600", "CID7602"),  # chest, lymph nodes and spine
    *("CID7470", "CID4209"),  # distances and the eye
)
"""The context groups of DICOM PS3.16 whose names are read."""

SHORTEST, LONGEST = 4, 48
"""The length in characters of a name that somebody may write in a request."""

SERVED = re.compile(
    r"breast|mamm|head|skull|cerebr|brain|crani|cavum|septi|pelluc|ventric|biparietal|occipit|cephal|gestation"
    r"|symphys|pubi|perine|nerve|vessel|arter|vein|venous|vascul|musc|aponeur|fasci|gastrocn|soleus|vastus|rectus"
    r"|biceps|triceps|quadric|calf|thigh|tibialis|forearm|wrist|upper arm|median|axilla|nipple"
    r"|thyroid|heart$|cardiac$|atri(um|al)|myocard|epicard|apical|chamber|ovar|adnex|dermoid|teratom|endometrio(t|m)"
    r"|lesion|mass\b|nodul|tumou?r|neoplas|cyst|calcif|axis"
)
"""Parts of words that may refer to one of our exams."""
NO_TOPIC = re.compile(
    r"ultrasound|image|report|findings?\b|normal|other|unspecified|entire|unknown|whole body"
    r"|^(fetus|fetal|face|skin|distance|width|length|thickness|region|structure)$"
)
"""Names that are no topic of their own, or that may belong to one of our exams."""
CUT = re.compile(r"\s*\(.*?\)|[,;].*|( structure| region)\b( of the)?")

STEM = 6
ANYWHERE = {"fetal", "valve", "stenos", "profil"}
"""Stems of words in held-out topics that other topics may share."""


@cache
def coded_topics(held: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sorted names in lower case that no protocol of ours answers.

    Names that share a distinctive word with a topic in `held` are left out.
    """
    taken = {stem for topic in held for stem in _stems(topic)} - ANYWHERE
    names = {_plain(name) for name in _meanings()}
    return tuple(
        sorted(
            name
            for name in names
            if SHORTEST <= len(name) <= LONGEST
            and not SERVED.search(name)
            and not NO_TOPIC.search(name)
            and taken.isdisjoint(_stems(name))
        )
    )


def _meanings() -> Iterable[str]:
    for group in GROUPS:
        collection = getattr(codes, group)
        for keyword in collection.dir():
            try:
                yield getattr(collection, keyword).meaning
            except RuntimeError:  # ambiguous: two coding schemes of the group have it
                continue


def _plain(name: str) -> str:
    return " ".join(CUT.sub(" ", name).lower().split())


def _stems(text: str) -> set[str]:
    """Return the first letters of the text's longer words.

    By its stem, `pancreatic` is the same word as `pancreas`.
    """
    return {word[:STEM] for word in re.findall(r"[a-z]{4,}", text.lower())}
