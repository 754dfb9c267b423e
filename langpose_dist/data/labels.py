"""Action labels: their normal form, and the vocabulary for drawing negatives and ranking labels."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from langpose_dist.data.sides import mirror_label

Tokens = Callable[[Sequence[str]], Sequence[Hashable]]
"""Function from labels to what a text encoder sees of each."""

_PLAIN = str.maketrans("‘’‚‛′`´“”„‟″‐‒–—―−_", "'''''''\"\"\"\"\"------ ")  # noqa: RUF001
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f]")
"""Signs without a glyph that Unicode does not count among format characters."""


def normalise_label(text: str) -> str:
    """Normal form of a label: one way to write what readers and text encoders take for the same.

    Lower case; compatible signs (full width, ligatures, accents in parts) as Unicode's NFKC has them; ASCII
    quotes and dashes; underscores and white space as single blanks; invisible signs dropped. Empty for a text
    of nothing else, which is no label.
    """
    text = unicodedata.normalize("NFKC", text.translate(_PLAIN)).translate(_PLAIN)
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    return " ".join(_INVISIBLE.sub("", text).lower().split())


def held_out_labels(
    labels: Iterable[tuple[str, Iterable[str]]], names: Iterable[str], tokens: Tokens | None = None
) -> frozenset[str]:
    """Normal forms of the labels that have one of the names, and of those that mirroring turns into one.

    Args:
        labels: Each label of the data with its categories.
        names: Labels or categories.
        tokens: Labels that it maps to equal values are one; default: each is its own.
    """
    wanted = set(map(normalise_label, names))
    names_of: defaultdict[str, set[str]] = defaultdict(set)
    for label, categories in labels:
        own = normalise_label(label)
        names_of[own] |= {own, *map(normalise_label, categories)}
    both = [*names_of, *(mirror_label(label) or label for label in names_of)]
    keys = tokens(both) if tokens else both
    own, mirrored = keys[: len(names_of)], keys[len(names_of) :]
    found = {key for key, some in zip(own, names_of.values(), strict=True) if some & wanted}
    return frozenset(
        label for label, *pair in zip(names_of, own, mirrored, strict=True) if not found.isdisjoint(pair)
    )


@dataclass(frozen=True)
class Vocabulary:
    """Labels of a data set as candidates: numbered, in sorted order of one label of each."""

    labels: tuple[str, ...]
    """One normal form per candidate, the most frequent of those with its tokens; the position is its id."""
    counts: tuple[float, ...]
    """Occurrences of each candidate in training, mirrored windows included; 0 for those of other splits."""
    candidates: Mapping[str, int]
    """Normal form -> id."""
    mirrored: Mapping[str, int | None]
    """Normal form -> id of the mirrored motion's label; ``None`` where motions are not to be mirrored."""

    @classmethod
    def build(
        cls,
        train_counts: Mapping[str, int],
        other_labels: Iterable[str],
        flip_probability: float,
        tokens: Tokens | None = None,
    ) -> Self:
        """Build a vocabulary: normalise, mirror and join labels, and number them.

        Args:
            train_counts: Label -> occurrences in training.
            other_labels: Labels of other splits.
            flip_probability: Share of training windows that are mirrored; above 0 every label's mirror image
                belongs to the vocabulary too.
            tokens: Labels that it maps to equal values are one candidate; default: each is its own.
        """
        counts: defaultdict[str, float] = defaultdict(float)
        for label, count in train_counts.items():
            counts[normalise_label(label)] += count
        for label in other_labels:
            counts[normalise_label(label)] += 0
        counts.pop("", None)  # shards of old builds may have labels that cannot be seen
        mirrors: dict[str, str | None] = {}
        if flip_probability > 0:
            mirrors = {label: mirror_label(label) for label in counts}
            _share_counts(counts, mirrors, flip_probability)
        candidates = _number(counts, tokens)
        labels, totals = [""] * (1 + max(candidates.values(), default=-1)), defaultdict[int, float](float)
        for label, number in candidates.items():
            labels[number] = labels[number] or label
            totals[number] += counts[label]
        return cls(
            labels=tuple(labels),
            counts=tuple(totals[number] for number in range(len(labels))),
            candidates=candidates,
            mirrored={
                label: None if other is None else candidates[other] for label, other in mirrors.items()
            },
        )

    def id(self, label: str, *, is_mirrored: bool = False) -> int:
        """Id of a label or of its mirror image, in any spelling with the same normal form.

        Raises:
            KeyError: If it is not in the vocabulary, or is not to be mirrored.
        """
        name = normalise_label(label)
        found = self.mirrored[name] if is_mirrored else self.candidates[name]
        if found is None:
            raise KeyError(f"{label} has no mirror image")
        return found

    def can_mirror(self, label: str) -> bool:
        """True if a motion with this label can be mirrored."""
        return self.mirrored.get(normalise_label(label)) is not None

    @property
    def unmirrored(self) -> tuple[str, ...]:
        """Labels that name a side in words that are not exchanged."""
        return tuple(label for label, other in self.mirrored.items() if other is None)

    def __len__(self) -> int:
        """Number of candidates (V)."""
        return len(self.labels)


def _share_counts(counts: dict[str, float], mirrors: Mapping[str, str | None], share: float) -> None:
    """Give the mirror image of each label its share of the label's occurrences."""
    shares = {label: share * counts[label] for label in mirrors}
    for label, other in mirrors.items():
        if other is not None and other != label:
            counts[label] -= shares[label]
            counts[other] = counts.get(other, 0.0) + shares[label]


def _number(counts: Mapping[str, float], tokens: Tokens | None) -> dict[str, int]:
    """Label -> id of its candidate; the most frequent label of each candidate comes first."""
    by_count = sorted(counts, key=lambda label: (-counts[label], label))
    keys = tokens(by_count) if tokens else by_count
    first: dict[Hashable, str] = {}
    for label, key in zip(by_count, keys, strict=True):
        first.setdefault(key, label)
    order = {key: number for number, key in enumerate(sorted(first, key=first.__getitem__))}
    return {label: order[key] for label, key in zip(by_count, keys, strict=True)}
