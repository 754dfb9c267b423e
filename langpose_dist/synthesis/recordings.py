"""What a synthetic corpus holds: subjects, and for each recording its name, rate, motion and annotations.

Recording n of a seed depends on the seed and n alone.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError
from langpose_dist.synthesis.motion import Person
from langpose_dist.synthesis.sequence import MAX_ACTIONS, Segment, Sequence, draw_actions, perform

SUBSETS = ("NorthStudio", "HarbourLab", "OldGymnasium", "HillsideHall")
"""Invented names; each has ``SUBJECTS`` subjects."""

SUBJECTS = 10
"""Subjects of each subset; the last is for validation, and the one before for testing in every second."""

RATES = {60.0: 0.42, 59.94: 0.10, 100.0: 0.18, 120.0: 0.24, 250.0: 0.06}
"""Frames per second -> share of the recordings."""

FILES = ("train", "val", "test", "extra_train", "extra_val")
"""Names of BABEL's files, without their ending."""

RestJoints = Callable[[str, Float64[np.ndarray, "16"]], Float64[np.ndarray, "52 3"]]
"""Gender and betas -> joints at rest of the body of this shape, metres."""

_UNLABELLED, _EXTRA = 0.07, 0.12  # shares of the recordings


@dataclass(frozen=True)
class Recording:
    """One motion file and what BABEL says of it."""

    seed: int
    number: int
    rest: RestJoints
    """With the body model's joints the feet of every shape meet the floor."""

    @cached_property
    def _place(self) -> tuple[int, int]:
        """Subset and subject; 40 recordings in a row have every subject once."""
        subject = self.number * 7 % (len(SUBSETS) * SUBJECTS)
        return subject % len(SUBSETS), subject // len(SUBSETS)

    @property
    def subset(self) -> str:
        """Name of its subset."""
        return SUBSETS[self._place[0]]

    @property
    def subject(self) -> str:
        """Name of the person, unique in the subset."""
        return f"s{self._place[1] + 1:02d}"

    @cached_property
    def _subject_rng(self) -> np.random.Generator:
        return _generator(self.seed, 1, *self._place)

    @cached_property
    def _body(self) -> tuple[str, Float64[np.ndarray, "16"], Person]:
        rng = self._subject_rng
        gender = ("female", "male", "neutral")[int(rng.choice(3, p=(0.45, 0.45, 0.1)))]
        betas = np.clip(rng.normal(0.0, 0.7, 16), -2.0, 2.0)
        return gender, betas, Person.draw(rng, self.rest(gender, betas))

    @property
    def gender(self) -> str:
        """Body model of the subject: female, male or neutral."""
        return self._body[0]

    @property
    def betas(self) -> Float64[np.ndarray, "16"]:
        """Body shape of the subject."""
        return self._body[1]

    @cached_property
    def _motion(self) -> tuple[float, Sequence]:
        rng = _generator(self.seed, 2, self.number)
        fps = float(rng.choice(list(RATES), p=list(RATES.values())))
        num_actions = 1 if rng.random() < 0.3 else int(rng.integers(2, MAX_ACTIONS + 1))
        return fps, perform(self._body[2], draw_actions(rng, num_actions), rng)

    @property
    def fps(self) -> float:
        """Frame rate."""
        return self._motion[0]

    @property
    def sequence(self) -> Sequence:
        """The motion."""
        return self._motion[1]

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return int(np.floor(self.sequence.duration * self.fps)) + 1

    @property
    def duration(self) -> float:
        """Seconds, as BABEL counts them: frames over rate."""
        return self.num_frames / self.fps

    @cached_property
    def name(self) -> str:
        """The file's name without its ending: the first action and the number."""
        first = self.sequence.segments[0].action
        assert first is not None
        return f"{first.label.replace(' ', '_')}_{self.number:05d}"

    @property
    def path(self) -> str:
        """Of the motion file, relative to the folder of all subsets."""
        return f"{self.subset}/{self.subject}/{self.name}_poses.npz"

    @property
    def has_dmpls(self) -> bool:
        """Whether the file holds soft-tissue parameters; those of two subsets do."""
        return self._place[0] % 2 == 0

    @cached_property
    def babel(self) -> tuple[str, dict[str, Any]] | None:
        """The file of BABEL that it is in and its entry there; ``None`` if it was not annotated."""
        rng = _generator(self.seed, 3, self.number)
        fate = rng.random()
        subset, subject = self._place
        split = "train"
        if subject == SUBJECTS - 1:
            split = "val"
        elif subject == SUBJECTS - 2 and subset % 2 == 0:
            split = "test"
        # What BABEL does not know is trained on: never a person who is held out.
        if split == "train" and fate < _UNLABELLED:
            return None
        entry: dict[str, Any] = {
            "babel_sid": self.number,
            "url": f"synthetic:{self.number:06d}.mp4",
            "feat_p": f"{self.subset}/{self.path}",
            "dur": round(self.duration, 2),
        }
        if split != "test" and fate < _UNLABELLED + _EXTRA:
            num_annotators = int(rng.integers(1, 4))
            entry["seq_anns"] = [self._describe(rng) for _ in range(num_annotators)]
            whole = [self._segment(rng) for _ in range(int(rng.integers(1, num_annotators + 1)))]
            entry["frame_anns"] = whole if self._is_mixed else None
            return f"extra_{split}", entry
        entry["seq_ann"] = self._describe(rng)
        entry["frame_ann"] = self._segment(rng) if self._is_mixed else None
        if split == "test":
            _hide_labels(entry)
        return split, entry

    @property
    def _is_mixed(self) -> bool:
        return len(self.sequence.segments) > 1

    def _describe(self, rng: np.random.Generator) -> dict[str, Any]:
        """What one annotator says of the whole recording: the actions that take longest."""
        actions = [segment for segment in self.sequence.segments if segment.action is not None]
        longest = sorted(actions, key=lambda segment: segment.start - segment.end)[:2]
        return _annotation(rng, self._is_mixed, [_label(rng, segment) for segment in longest])

    def _segment(self, rng: np.random.Generator) -> dict[str, Any]:
        """What one annotator says of every frame; no two of them set the ends alike."""
        labels = []
        last = round(self.duration, 3)
        ends = [0.0]
        for segment in self.sequence.segments[:-1]:
            ends.append(round(segment.end + rng.uniform(-0.04, 0.04), 3))
        for segment, start, end in zip(self.sequence.segments, ends, [*ends[1:], last], strict=True):
            labels.append(_label(rng, segment) | {"start_t": start, "end_t": end})
        return _annotation(rng, True, labels)


def check_request(hours: float, seed: int) -> None:
    """Refuse what no corpus can be made of.

    Raises:
        DataError: If the hours are not above 0, or the seed is below 0.
    """
    if not 0 < hours < np.inf:
        raise DataError(f"hours {hours:g} must be above 0")
    if seed < 0:
        raise DataError(f"seed {seed} must not be below 0")


def recordings(hours: float, seed: int, rest: RestJoints) -> Iterator[Recording]:
    """The recordings of a corpus of at least so many hours."""
    left, number = hours * 3600.0, 0
    while left > 0:
        recording = Recording(seed, number, rest)
        left -= recording.duration
        number += 1
        yield recording


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def _new_id(rng: np.random.Generator) -> str:
    return str(uuid.UUID(bytes=rng.bytes(16), version=4))


def _annotation(rng: np.random.Generator, is_mixed: bool, labels: list[dict[str, Any]]) -> dict[str, Any]:
    return {"babel_lid": _new_id(rng), "anntr_id": _new_id(rng), "mul_act": is_mixed, "labels": labels}


def _label(rng: np.random.Generator, segment: Segment) -> dict[str, Any]:
    action = segment.action
    if action is None:
        raw, label, categories = "transition", "transition", ("transition",)
    else:
        raw, label, categories = str(rng.choice(action.phrases)), action.label, action.categories
    return {"raw_label": raw, "proc_label": label, "seg_id": _new_id(rng), "act_cat": list(categories)}


def _hide_labels(entry: dict[str, Any]) -> None:
    """As in the released test file: the segments' times, and nulls for their labels."""
    for annotation in (entry["seq_ann"], entry["frame_ann"]):
        for label in annotation["labels"] if annotation else ():
            label.update(raw_label=None, proc_label=None, act_cat=None)
