"""Detections, frame by frame, before anyone knows who is who."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from langpose_dist.config import UserError

MAX_COORDINATE = 1e5
"""Pixels from the corner; the largest pictures have a tenth of it."""
MAX_CONFIDENCE = 1.5
"""AlphaPose reaches 1.1; visibility flags of annotations are 2."""
MAX_FRAMES = 10_000_000
"""Two days at 60 frames per second."""


@dataclass(frozen=True)
class Detector:
    """A program that writes keypoints."""

    name: str
    threshold: float
    """Confidence below which a keypoint is taken as missing: where the program itself stops to draw it."""
    is_relative: bool = False
    """True if it may write parts of the picture's width and height in place of pixels."""


@dataclass(frozen=True)
class Detection:
    """One entry of a frame: mostly a person, sometimes half of one."""

    points: Float32[np.ndarray, "K 3"]
    """x, y and confidence in 0..1; all 0 where a keypoint is missing."""
    person: str | None = None
    """The detector's id, if it has one."""


class Frame(NamedTuple):
    """Detections in one picture."""

    number: int
    people: Sequence[Detection]


@dataclass(frozen=True)
class Recording:
    """A video's detections."""

    detector: Detector
    frames: Iterable[Frame]
    """In the order of their numbers; empty frames may be left out."""
    names: tuple[str, ...] | None = None
    """Names of the keypoints, if the file gives them."""
    layout: str | None = None
    """Where the format has only one."""
    is_bare: bool = False
    """True for arrays that no known program wrote."""
    num_frames: int = 0
    """Length, if the file says it."""
    fps: float | None = None
    size: tuple[int, int] | None = None


def detection(points: Any, where: str, person: str | None = None) -> Detection:
    """A person's numbers, checked.

    Args:
        points: K x 3: x, y, confidence; not a number or 0, 0 stands for a missing keypoint.
        where: Named in messages.
        person: Id, if there is one.

    Raises:
        UserError: If they are no pixels and confidences.
    """
    points = np.array(points, np.float64)
    is_missing = ~np.isfinite(points).all(axis=1) | (points[:, :2] == 0).all(axis=1) | (points[:, 2] <= 0)
    points[is_missing] = 0
    if (largest := np.abs(points[:, :2]).max()) > MAX_COORDINATE:
        raise UserError(f"{where}: a coordinate of {largest:.4g}; more than {MAX_COORDINATE:g} are no pixels")
    if (largest := points[:, 2].max()) > MAX_CONFIDENCE:
        raise UserError(
            f"{where}: a confidence of {largest:.4g}, at most 1 is one; visibility flags and a third "
            "coordinate are no confidences: give x, y, confidence"
        )
    points[:, 2] = points[:, 2].clip(max=1)
    return Detection(points.astype(np.float32), person)


def flat_detection(numbers: Sequence[float], where: str, person: str | None = None) -> Detection:
    """``detection`` of x, y, confidence, x, y, confidence ...

    Raises:
        UserError: If they are no triples.
    """
    if not numbers or len(numbers) % 3:
        raise UserError(f"{where}: {len(numbers)} numbers of a person are no triples of x, y, confidence")
    return detection(np.array(numbers, np.float64).reshape(-1, 3), where, person)


def number_names(names: Sequence[str]) -> list[int]:
    """Numbers of frames: the one number in which the names of files or pictures differ.

    Raises:
        UserError: If they do not differ in just one number.
    """
    parts = [re.split(r"(\d{1,15})", name, flags=re.ASCII) for name in names]
    if len({tuple(part[::2]) for part in parts}) > 1:
        other = next(name for name, part in zip(names, parts, strict=True) if part[::2] != parts[0][::2])
        raise UserError(
            f"{names[0]!r} and {other!r} differ in more than a number: several recordings; give one"
        )
    columns = list(zip(*(part[1::2] for part in parts), strict=True))
    changing = [column for column in columns if len(set(column)) > 1]
    if not changing and len(names) == 1:
        return [int(column[0]) for column in columns[-1:]] or [0]
    if len(changing) != 1:
        raise UserError(
            f"{names[0]!r} and {names[-1]!r} differ in {len(changing)} numbers; frames are known by one, "
            "such as video_0001.json"
        )
    return [int(text) for text in changing[0]]


def in_order(numbered: Iterable[tuple[int, Sequence[Detection]]]) -> list[Frame]:
    """Frames sorted by number.

    Raises:
        UserError: If a number comes twice or cannot be one.
    """
    frames = sorted((Frame(*item) for item in numbered), key=lambda frame: frame.number)
    for before, frame in itertools.pairwise(frames):
        if before.number == frame.number:
            raise UserError(f"frame {frame.number} comes twice; give one recording at a time")
    if frames and not 0 <= frames[0].number <= frames[-1].number < MAX_FRAMES:
        raise UserError(
            f"frames {frames[0].number} to {frames[-1].number}; they are counted from 0 or 1, to {MAX_FRAMES}"
        )
    return frames
