"""Action labels: normal spelling, mirror images, and the vocabulary for drawing negatives."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left"}


def normalise_label(text: str) -> str:
    """Convert a label to lower case and collapse white space."""
    return " ".join(text.lower().split())


def flip_label(text: str) -> str:
    """Exchange the words left and right, as a mirrored motion needs it; whole words only."""
    return _SIDE.sub(_exchange, text)


def _exchange(match: re.Match[str]) -> str:
    word = match.group()
    other = _OTHER_SIDE[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


@dataclass(frozen=True)
class Vocabulary:
    """All labels of a data set, numbered in sorted order."""

    labels: tuple[str, ...]
    """Normalised and sorted; the position is the label's id."""
    counts: tuple[float, ...]
    """Occurrences of each label in training, mirrored windows included; 0 for labels of other splits."""
    flipped: tuple[int, ...]
    """Id of the mirrored label; its own id where a label has no left or right, or is never mirrored."""

    @classmethod
    def build(
        cls, train_counts: Mapping[str, int], other_labels: Iterable[str], flip_probability: float
    ) -> Self:
        """Build a vocabulary: join, normalise and number labels.

        Args:
            train_counts: Label -> occurrences in training.
            other_labels: Labels of other splits.
            flip_probability: Share of training windows that are mirrored; above 0 every label's mirror
                image belongs to the vocabulary too.
        """
        counts: Counter[str] = Counter()
        for label, count in train_counts.items():
            counts[normalise_label(label)] += count
        labels = set(counts) | {normalise_label(label) for label in other_labels}
        if flip_probability > 0:
            labels |= {flip_label(label) for label in labels}
        ordered = tuple(sorted(labels))
        ids = {label: number for number, label in enumerate(ordered)}
        return cls(
            labels=ordered,
            counts=tuple(
                (1 - flip_probability) * counts[label] + flip_probability * counts[flip_label(label)]
                for label in ordered
            ),
            flipped=tuple(ids.get(flip_label(label), ids[label]) for label in ordered),
        )

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.labels)}

    def id(self, label: str) -> int:
        """Id of a label, in any spelling with the same normal form.

        Raises:
            KeyError: If it is not in the vocabulary.
        """
        return self._ids[normalise_label(label)]

    def __len__(self) -> int:
        return len(self.labels)
