"""Who is who: detections of consecutive frames joined to people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.optimize import linear_sum_assignment

from langpose_dist.detections.recording import Detection

MAX_STEP = 0.5
"""Largest mean distance of keypoints from one frame to the next, in extents of the figure."""
STEP_GROWTH = 0.05
"""As much again for every frame that a person was away, ..."""
MAX_DISTANCE = 1.0
"""... up to this."""
MAX_ABSENCE = 60
"""Frames after which a person who comes back is somebody else."""
MAX_PREDICTED = 10
"""Frames for which a person who is away goes on as before."""
HALVES_DISTANCE = 1.0
"""Largest distance of one half of a split body from where the whole is expected, in extents of the figure."""
MAX_COMMON = 0.2
"""Largest share of keypoints that stand in both halves of a split body."""


@dataclass
class Person:
    """One person, in the frames in which it was detected."""

    identity: str | None
    """The detector's id."""
    frames: list[int] = field(default_factory=list)
    points: list[Float32[np.ndarray, "K 3"]] = field(default_factory=list)
    latest: Float32[np.ndarray, "K 3"] = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    """Every keypoint where it was last seen."""
    velocity: Float32[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2, np.float32))
    """Pixels per frame."""

    def add(self, frame: int, points: Float32[np.ndarray, "K 3"]) -> None:
        """Append a detection of a later frame."""
        if self.frames:
            is_common = (points[:, 2] > 0) & (self.points[-1][:, 2] > 0)
            if is_common.any():
                steps = points[is_common, :2] - self.points[-1][is_common, :2]
                self.velocity = (steps.mean(axis=0) / (frame - self.frames[-1])).astype(np.float32)
        self.latest = np.where(points[:, 2:] > 0, points, self.latest) if self.frames else points
        self.frames.append(frame)
        self.points.append(points)

    def merge(self, points: Float32[np.ndarray, "K 3"]) -> None:
        """Add keypoints that another entry of the last frame holds of the same body."""
        is_new = (points[:, 2:] > 0) & (self.points[-1][:, 2:] == 0)
        self.points[-1] = np.where(is_new, points, self.points[-1])
        self.latest = np.where(is_new, points, self.latest)

    def expected(self, frame: int) -> Float32[np.ndarray, "K 3"]:
        """Keypoints where they would be in a later frame at the same velocity."""
        points = self.latest.copy()
        points[:, :2] += self.velocity * min(frame - self.frames[-1], MAX_PREDICTED)
        return points

    def reach(self, frame: int) -> float:
        """Distance at which a detection can still be this person, in extents."""
        return min(MAX_STEP + STEP_GROWTH * (frame - self.frames[-1] - 1), MAX_DISTANCE)


class PeopleTracker:
    """Joins detections to people: by the detector's ids where there are any, else by their keypoints."""

    def __init__(self) -> None:
        self.people: list[Person] = []
        """In the order of appearance."""
        self.num_merged = 0
        """Entries that were the other half of a body."""
        self._by_id: dict[str, Person] = {}
        self._near: list[Person] = []

    def add(self, frame: int, detections: Sequence[Detection]) -> None:
        """Take the detections of a later frame."""
        counts = Counter(detection.person for detection in detections)
        unnamed = []
        for detection in detections:
            if detection.person is None or counts[detection.person] > 1:  # an id given twice is none
                unnamed.append(detection.points)
            else:
                if detection.person not in self._by_id:
                    self._by_id[detection.person] = self._new(detection.person)
                self._by_id[detection.person].add(frame, detection.points)
        if unnamed:
            self._follow(frame, unnamed)

    def _new(self, identity: str | None) -> Person:
        self.people.append(Person(identity))
        return self.people[-1]

    def _follow(self, frame: int, detections: Sequence[Float32[np.ndarray, "K 3"]]) -> None:
        self._near = [person for person in self._near if frame - person.frames[-1] <= MAX_ABSENCE]
        left = dict(enumerate(detections))
        if self._near:
            distances = _distances([person.expected(frame) for person in self._near], detections)
            here: list[int] = []
            for row, column in _closest_pairs(distances, [person.reach(frame) for person in self._near]):
                self._near[row].add(frame, left.pop(column))
                here.append(row)
            for column, points in [*left.items()]:
                whole = min(here, key=lambda row: distances[row, column], default=None)
                if whole is None or distances[whole, column] > HALVES_DISTANCE:
                    continue
                if _are_halves(self._near[whole].points[-1], points):
                    self._near[whole].merge(left.pop(column))
                    self.num_merged += 1
        for points in left.values():
            self._near.append(self._new(None))
            self._near[-1].add(frame, points)


def _are_halves(first: Float32[np.ndarray, "K 3"], second: Float32[np.ndarray, "K 3"]) -> bool:
    """True if two entries of a frame have hardly a keypoint in common."""
    is_seen = np.stack((first, second))[..., 2] > 0
    return bool(is_seen.all(axis=0).sum() <= MAX_COMMON * is_seen.sum(axis=1).min())


def extent(points: Float[np.ndarray, "*B K 3"]) -> Float[np.ndarray, "*B"]:
    """Diagonal of the box around the keypoints that were seen, at least 1 pixel."""
    is_seen = points[..., 2:] > 0
    high = np.where(is_seen, points[..., :2], -np.inf).max(axis=-2)
    low = np.where(is_seen, points[..., :2], np.inf).min(axis=-2)
    sides = np.where(is_seen.any(axis=-2), high - low, 0.0)
    return np.maximum(np.hypot(sides[..., 0], sides[..., 1]), 1.0)


def _distances(
    people: Sequence[Float32[np.ndarray, "K 3"]], detections: Sequence[Float32[np.ndarray, "K 3"]]
) -> Float[np.ndarray, "N M"]:
    """Mean distance of the keypoints that both have, in extents of the larger one; infinite without any."""
    first, second = np.stack(people)[:, None], np.stack(detections)[None]
    is_common: Bool[np.ndarray, "N M K"] = (first[..., 2] > 0) & (second[..., 2] > 0)
    apart = np.linalg.norm(first[..., :2] - second[..., :2], axis=-1)
    num_common = is_common.sum(axis=-1)
    mean = (apart * is_common).sum(axis=-1) / np.maximum(num_common, 1)
    return np.where(num_common > 0, mean / np.maximum(extent(first), extent(second)), np.inf)


def _closest_pairs(distances: Float[np.ndarray, "N M"], reaches: Sequence[float]) -> list[tuple[int, int]]:
    """(person, detection) with the least sum of distances, each within the person's reach."""
    costs = np.where(distances < np.array(reaches)[:, None], distances, 1e3)
    rows, columns = linear_sum_assignment(costs)
    return [
        (row, column)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if costs[row, column] < 1e3
    ]
