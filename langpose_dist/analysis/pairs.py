"""Pairs of labels and their kind: opposite in words, alike to a text encoder, or neither."""

from itertools import product
from typing import Literal

from langpose_dist.config import UserError
from langpose_dist.data.labels import normalise_label

Kind = Literal["inverse", "similar", "unrelated"]
KINDS: tuple[Kind, ...] = ("inverse", "similar", "unrelated")
Pair = tuple[str, str]

SIMILAR = 0.6
"""Least cosine of two labels' sentence features for similar: TMR's bound for texts that say the same."""

_WORDS = (
    ("left", "right"),
    ("up upward upwards", "down downward downwards"),
    ("forward forwards", "back backward backwards"),
    ("in inside into", "out outside"),
    ("on", "off"),
    ("to toward towards", "from"),
    ("over", "under"),
    ("clockwise", "counterclockwise counter-clockwise anticlockwise anti-clockwise"),
    ("sit sits sitting", "stand stands standing rise rises rising"),
    ("raise raises raising lift lifts lifting", "lower lowers lowering"),
    ("open opens opening", "close closes closing"),
    ("push pushes pushing", "pull pulls pulling"),
    ("pick picks picking take takes taking", "put puts putting place places placing"),
    ("start starts starting", "stop stops stopping"),
    ("enter enters entering", "leave leaves leaving exit exits exiting"),
    ("climb climbs climbing ascend ascends ascending", "descend descends descending"),
    ("bend bends bending", "straighten straightens straightening"),
    ("throw throws throwing", "catch catches catching"),
)
_PHRASES = (
    ("sit, sit down", "get up, stand up, get up from a chair, stand up from a chair"),
    ("lie, lie down", "get up, stand up, sit up"),
    ("kneel, kneel down, crouch, crouch down, squat, squat down", "stand up, get up"),
)
"""Labels that are opposite although they differ in more than opposite words."""


def _across(table: tuple[tuple[str, str], ...], separator: str) -> frozenset[frozenset[str]]:
    """Every entry of a left side with every one of its right side."""
    sides = ((one.split(separator), other.split(separator)) for one, other in table)
    return frozenset(frozenset(pair) for one, other in sides for pair in product(one, other))


_OPPOSITE_WORDS, _OPPOSITE_PHRASES = _across(_WORDS, " "), _across(_PHRASES, ", ")


def are_inverse(one: str, other: str) -> bool:
    """True for labels that are equal but for opposite words, or are listed as opposite.

    Args:
        one: In normal form.
        other: In normal form.
    """
    words = one.split(), other.split()
    differing = [frozenset(pair) for pair in zip(*words, strict=False) if pair[0] != pair[1]]
    by_words = len(words[0]) == len(words[1]) and bool(differing) and _OPPOSITE_WORDS.issuperset(differing)
    return by_words or frozenset((one, other)) in _OPPOSITE_PHRASES


def kind_of(one: str, other: str, cosine: float) -> Kind:
    """Kind of a pair; the cosine is that of the labels' sentence features."""
    if are_inverse(one, other):
        return "inverse"
    return "similar" if cosine >= SIMILAR else "unrelated"


def parse_pairs(text: str) -> tuple[Pair, ...]:
    """Pairs of a list such as ``sit down/stand up,walk/run``, in normal form.

    Raises:
        UserError: If a part is not two different labels, or a pair stands there twice.
    """
    found: list[Pair] = []
    for part in text.split(","):
        labels = [normalise_label(label) for label in part.split("/")]
        if len(labels) != 2 or not all(labels) or labels[0] == labels[1]:
            raise UserError(
                f"--pairs {part.strip()!r} must be two labels with / between, such as 'sit down/stand up'; "
                "pairs stand with commas between"
            )
        if {*labels} in [{*pair} for pair in found]:
            raise UserError(f"--pairs names {'/'.join(labels)} twice")
        found.append((labels[0], labels[1]))
    return tuple(found)
