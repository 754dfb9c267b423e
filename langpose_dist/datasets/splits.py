"""Assignment of clips to splits: by rules, else as the data set says, else training."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from langpose_dist.data.labels import normalise_label
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.clip import Clip, ClipT

TRAIN = "train"
"""Split of clips that nothing puts elsewhere."""

RECORDING = "recording"
"""Field of clips that show the same motion, such as the views of several cameras."""

_RULE = re.compile(r"(?P<split>[a-z][a-z0-9_-]*):(?P<field>\w+)=(?P<values>.+)")


@dataclass(frozen=True)
class SplitRule:
    """Puts clips into a split: those with one of some values in a field, or a share of all."""

    split: str
    field: str
    """Name of the field; empty where ``fraction`` decides."""
    values: tuple[str, ...]
    fraction: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``validation:style=old,sad`` or ``validation:fraction=0.1``.

        Raises:
            DataError: If it has another form.
        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise DataError(
                f"split rule {text!r} must have the form SPLIT:FIELD=VALUE,VALUE or SPLIT:fraction=0.1, "
                "the split in lower-case letters"
            )
        split, field, values = match["split"], match["field"], match["values"]
        if field != "fraction":
            return cls(split, field, tuple(to_words(value) for value in values.split(",")), 0.0)
        try:
            fraction = float(values)
        except ValueError:
            fraction = 0.0
        if not 0 < fraction <= 1:
            raise DataError(f"split rule {text!r}: the fraction must be above 0 and at most 1")
        return cls(split, "", (), fraction)

    def matches(self, clip: Clip) -> bool:
        """True if a clip belongs to the split by this rule."""
        if self.field:
            return clip.fields.get(self.field) in self.values
        if clip.split not in (None, TRAIN):  # what the data set holds out stays what it is
            return False
        # A clip's share depends on its name alone: more clips do not move those that were there. Views of one
        # recording stay together, as one of them would give the others away.
        name = clip.fields.get(RECORDING, clip.key)
        digest = hashlib.sha256(f"{self.split}:{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.fraction * 2**64


def to_words(text: str) -> str:
    """Words of a file name: dashes and underscores become blanks."""
    return " ".join(normalise_label(text).replace("-", " ").split())


def assign_splits(clips: Sequence[ClipT], rules: Sequence[SplitRule]) -> list[tuple[str, ClipT]]:
    """(split, clip) of every clip: by the first rule that matches, else as the data set says, else training.

    Raises:
        DataError: If a rule names an unknown field, or a value or fraction that matches no clip.
    """
    for rule in rules:
        if rule.field:
            _check_values(rule, clips)
    pairs: list[tuple[str, ClipT]] = []
    for clip in clips:
        split = next((rule.split for rule in rules if rule.matches(clip)), clip.split or TRAIN)
        pairs.append((split, clip))
    found = {split for split, _ in pairs}
    for rule in rules:
        if rule.split not in found:
            raise DataError(
                f"split {rule.split!r} would hold none of the {len(clips)} clips; widen its rule, "
                "or move it before the rules that take its clips"
            )
    return pairs


def _check_values(rule: SplitRule, clips: Sequence[Clip]) -> None:
    known = {clip.fields[rule.field] for clip in clips if rule.field in clip.fields}
    if not known:
        fields = sorted({field for clip in clips for field in clip.fields})
        raise DataError(f"split rule: no field {rule.field!r}; there are fraction, {', '.join(fields)}")
    for value in rule.values:
        if value not in known:
            raise DataError(
                f"split rule: no clip has {rule.field} {value!r}; there are {', '.join(sorted(known))}"
            )
