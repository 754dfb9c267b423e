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
    "cw": "ccw",
    "左": "右",
    "順時": "逆時",
    "顺时": "逆时",
}
_OPPOSITE = {**_PAIRS, **{other: word for word, other in _PAIRS.items()}, "acw": "cw", "反时": "顺时"}
_HARMLESS = (
    *("right away", "right now", "all right", "right angle", "right angles", "right-angle", "right-angled"),
    *("leftover", "leftovers", "rightly", "左右"),
)
_HARMLESS_ENDINGS = ("up", "down", "out", "forth", "al", "b", "f", "sp", "copy", "birth")
"""upright, downright, alright, bright, ..."""
_ELSEWHERE = (
    r"left|right|clock|widdershins|southpaw|orthodox|starboard|port side",
    r"\b[lr]\b|\b[lr][- ]?(?:hand|foot|arm|leg|h|hs)\b|\b[lr]2[lr]\b|\bltr\b|\brtl\b|\b[lr]t\b",
    r"\blinke?[nrsm]?\b|\brechte?[nrsm]?\b|uhrzeiger|\bhorari|\borari[oa]\b|aiguille",
    r"\bgauche|\bdroite?s?\b|izquierd|\bderech|\bsinistr[aoei]\b|\bdestr[aoei]\b|esquerd|\bdireit",
    r"\bvenstre\b|\blew[aeoy]\b|\bpraw[aeoy]\b|\bkiri\b|\bkanan\b|\bsola\b|\bdoleva\b|\bdoprava\b",
)
"""Words of a side that are not exchanged: what English the table lacks, abbreviations, other languages."""
_CLOCKWISE = re.compile(r"\b((?:counter|contra|anti)[- ]*)?clock[- ]?wise\b")
_FOREIGN = re.compile("[^\\W\\d_a-z\u4e00-\u9fff]")
"""Letters of scripts whose words of a side are not in the table, accents included."""


def _any_of(words: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_ASCII = [word for word in _OPPOSITE if word.isascii()]
_SIGNS = [word for word in _OPPOSITE if not word.isascii()]
_KNOWN = re.compile(rf"\b(?:{_any_of(_ASCII)})\b|{_any_of(_SIGNS)}")
_SIDED = re.compile("|".join(_ELSEWHERE))
_NO_SIDE = re.compile(
    rf"\b(?:{_any_of(_HARMLESS)}|\w*(?:{_any_of(_HARMLESS_ENDINGS)})right\w*|righteous\w*)\b|左右"
)


def mirror_label(label: str) -> str | None:
    """Label of the mirrored motion; ``None`` if it names a side in words that the table does not hold.

    Args:
        label: In normal form.
    """
    if _FOREIGN.search(label):
        return None
    # What names no side is set aside, so that its letters are neither exchanged nor taken for a side.
    parts = re.split(f"({_NO_SIDE.pattern})", label)
    for number in range(0, len(parts), 2):
        part = parts[number]
        if _SIDED.search(_CLOCKWISE.sub(" ", _KNOWN.sub(" ", part))):
            return None
        part = _KNOWN.sub(lambda match: _OPPOSITE[match.group()], part)
        parts[number] = _CLOCKWISE.sub(lambda match: "clockwise" if match[1] else "counterclockwise", part)
    return "".join(parts)
