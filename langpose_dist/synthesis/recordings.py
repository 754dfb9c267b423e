"""Recordings of a synthetic corpus: for each its name, subject, rate, motion and annotations.

Recording n of a seed depends on the seed and n alone: it is the same however many others are made, in
whatever order and process.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.performer import Performer, generator
from langpose_dist.synthesis.sequence import MAX_ACTIONS, Segment, Sequence, draw_actions, perform

SUBSETS = ("NorthStudio", "HarbourLab", "OldGymnasium", "HillsideHall")
"""Invented names; each has ``SUBJECTS`` subjects."""

SUBJECTS = 10
"""Subjects of each subset; the last is for validation, and the one before for testing in every second."""

RATES = {60.0: 0.42, 59.94: 0.10, 100.0: 0.18, 120.0: 0.24, 250.0: 0.06}
"""Frames per second -> share of the recordings."""

FILES = ("train", "val", "test", "extra_train", "extra_val")
"""Names of BABEL's files, without their ending."""

_UNLABELLED, _EXTRA = 0.07, 0.12  # shares of the recordings


@dataclass(frozen=True)
class Recording:
    """One motion file."""

    seed: int
    number: int
    subset: str
    subject: str
    """Unique in the subset."""
    gender: str
    """Body model of the subject: female, male or neutral."""
    betas: Float64[np.ndarray, "16"]
    """Body shape of the subject."""
    fps: float
    sequence: Sequence
    split: str
    """Split of the subject: train, val or test."""
    has_dmpls: bool
    """The file holds soft-tissue parameters; those of two subsets do."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return int(np.floor(self.sequence.duration * self.fps)) + 1

    @property
    def duration(self) -> float:
        """Seconds, as BABEL counts them: frames over rate."""
        return self.num_frames / self.fps

    @property
    def path(self) -> str:
        """Path of the motion file, relative to the folder of all subsets; named after its first action."""
        first = self.sequence.segments[0].action
        assert first is not None
        return f"{self.subset}/{self.subject}/{first.label.replace(' ', '_')}_{self.number:05d}_poses.npz"

    @cached_property
    def babel(self) -> tuple[str, dict[str, Any]] | None:
        """The file of BABEL that it is in and its entry there; ``None`` if it was not annotated."""
        rng = generator(self.seed, 3, self.number)
        fate = rng.random()
        # Without annotations it would be trained on: never a person who is held out.
        if self.split == "train" and fate < _UNLABELLED:
            return None
        entry: dict[str, Any] = {
            "babel_sid": self.number,
            "url": f"synthetic:{self.number:06d}.mp4",
            "feat_p": f"{self.subset}/{self.path}",
            "dur": round(self.duration, 2),
        }
        if self.split != "test" and fate < _UNLABELLED + _EXTRA:
            num_annotators = int(rng.integers(1, 4))
            entry["seq_anns"] = [self._describe(rng) for _ in range(num_annotators)]
            dense = [self._segment(rng) for _ in range(int(rng.integers(1, num_annotators + 1)))]
            entry["frame_anns"] = dense if self._is_mixed else None
            return f"extra_{self.split}", entry
        entry["seq_ann"] = self._describe(rng)
        entry["frame_ann"] = self._segment(rng) if self._is_mixed else None
        if self.split == "test":
            _hide_labels(entry)
        return self.split, entry

    @property
    def _is_mixed(self) -> bool:
        return len(self.sequence.segments) > 1

    def _describe(self, rng: np.random.Generator) -> dict[str, Any]:
        """One annotator's labels for the whole recording: the actions that take longest."""
        actions = [segment for segment in self.sequence.segments if segment.action is not None]
        longest = sorted(actions, key=lambda segment: segment.start - segment.end)[:2]
        return _annotation(rng, self._is_mixed, [_label(rng, segment) for segment in longest])

    def _segment(self, rng: np.random.Generator) -> dict[str, Any]:
        """One annotator's label for every frame; no two of them set the ends alike."""
        segments = self.sequence.segments
        ends = [round(segment.end + rng.uniform(-0.04, 0.04), 3) for segment in segments[:-1]]
        bounds = [0.0, *ends, round(self.duration, 3)]
        labels = [
            _label(rng, segment) | {"start_t": start, "end_t": end}
            for segment, start, end in zip(segments, bounds[:-1], bounds[1:], strict=True)
        ]
        return _annotation(rng, True, labels)


def draw_recording(seed: int, number: int, max_actions: int = MAX_ACTIONS) -> Recording:
    """Draw one recording; 40 in a row have every subject once."""
    index = number * 7 % (len(SUBSETS) * SUBJECTS)
    subset, subject = index % len(SUBSETS), index // len(SUBSETS)
    split = "train"
    if subject == SUBJECTS - 1:
        split = "val"
    elif subject == SUBJECTS - 2 and subset % 2 == 0:
        split = "test"

    performer = Performer.draw(generator(seed, 1, subset, subject))
    rng = generator(seed, 2, number)
    fps = float(rng.choice(list(RATES), p=list(RATES.values())))
    num_actions = 1 if rng.random() < 0.3 else int(rng.integers(2, max_actions + 1))
    return Recording(
        seed=seed,
        number=number,
        subset=SUBSETS[subset],
        subject=f"s{subject + 1:02d}",
        gender=performer.gender,
        betas=performer.betas,
        fps=fps,
        sequence=perform(performer.person, draw_actions(rng, num_actions), rng),
        split=split,
        has_dmpls=subset % 2 == 0,
    )


def recordings(hours: float, seed: int, max_actions: int = MAX_ACTIONS) -> Iterator[Recording]:
    """Recordings of a corpus of at least so many hours, each of so many actions at most."""
    left, number = hours * 3600.0, 0
    while left > 0:
        recording = draw_recording(seed, number, max_actions)
        left -= recording.duration
        number += 1
        yield recording


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
    """Keep the segments' times and null their labels, as in the released test file."""
    for annotation in (entry["seq_ann"], entry["frame_ann"]):
        for label in annotation["labels"] if annotation else ():
            label.update(raw_label=None, proc_label=None, act_cat=None)
