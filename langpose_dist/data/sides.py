"""Words that name a side or a sense of turning, and what a label becomes when its motion is mirrored.

A mirrored motion under the old words would teach the contrary of what it shows: every such word is exchanged,
and a label with a sided word that the table does not hold is not mirrored at all.
"""

import re
from collections.abc import Iterable

_ENDINGS = (
    *("s", "ward", "wards", "most", "side", "sided", "hand", "hands", "handed", "hander"),
    *("foot", "footed", "feet", "arm", "leg", "y"),
)
_PAIRS = {
    "left": "right",
    **{f"left{ending}": f"right{ending}" for ending in _ENDINGS},
    "clockwise": "counterclockwise",
    "cw": "ccw",
    "左": "右",
    "順時針": "逆時針",
    "顺时针": "逆时针",
}
_OPPOSITE = {
    **_PAIRS,
    **{other: word for word, other in _PAIRS.items()},
    "counter-clockwise": "clockwise",
    "counter clockwise": "clockwise",
    "counter clock wise": "clockwise",
    "anticlockwise": "clockwise",
    "anti-clockwise": "clockwise",
    "anti clockwise": "clockwise",
    "clock wise": "counterclockwise",
    "clock-wise": "counterclockwise",
    "acw": "cw",
}
_HARMLESS = (
    *("right away", "right now", "all right", "right angle", "right angles"),
    *("leftover", "leftovers", "rightly"),
)
_HARMLESS_ENDINGS = ("up", "down", "out", "forth", "al", "b", "f", "play", "wheel", "sp", "copy", "birth")
"""upright, downright, alright, bright, ..."""
_ELSEWHERE = (
    r"left|right|clock|widdershins|southpaw",
    r"\b[lr]\b|\b[lr][- ]?(?:hand|foot|arm|leg|h|hs)\b",
    r"\blinke?[nrsm]?\b|\brechte?[nrsm]?\b|links|rechts",
    r"\bgauche|\bdroite?s?\b|izquierd|\bderech|\bsinistr[aoei]\b|\bdestr[aoei]\b|esquerd|\bdireit",
    r"\bvänster|\bhöger|\bvenstre\b|\bhøyre\b|\bhøjre\b|\blew[aeoy]|\bpraw[aeoy]",
    r"\bлев|\bправ|влево|вправо|налево|направо",  # noqa: RUF001
    r"왼|오른|ひだり|みぎ|時計|يسار|يمين|שמאל|ימין|बाए|बाएँ|दाए|दाएँ|बायाँ|दायाँ|बायां|दायां",
)
"""Words of a side that are not exchanged: what English the table lacks, abbreviations, other languages."""


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_ASCII = [word for word in _OPPOSITE if word.isascii()]
_SIGNS = [word for word in _OPPOSITE if not word.isascii()]
_KNOWN = re.compile(rf"\b(?:{_any_of(_ASCII)})\b|{_any_of(_SIGNS)}")
_SIDED = re.compile("|".join(_ELSEWHERE))
_NO_SIDE = re.compile(
    rf"\b(?:{_any_of(_HARMLESS)}|\w*(?:{_any_of(_HARMLESS_ENDINGS)})right\w*|righteous\w*)\b"
)


def mirror_label(label: str) -> str | None:
    """Label of the mirrored motion; ``None`` if it names a side in words that the table does not hold.

    Args:
        label: In normal form.
    """
    # What names no side is set aside, so that its letters are neither exchanged nor taken for a side.
    parts = re.split(f"({_NO_SIDE.pattern})", label)
    for number in range(0, len(parts), 2):
        if _SIDED.search(_KNOWN.sub(" ", parts[number])):
            return None
        parts[number] = _KNOWN.sub(lambda match: _OPPOSITE[match.group()], parts[number])
    return "".join(parts)
