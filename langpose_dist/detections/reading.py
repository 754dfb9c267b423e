"""From a file of detections to the tracks of the people in it."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from langpose_dist.config import UserError
from langpose_dist.detections.layouts import (
    Layout,
    counted_layout,
    layout_of_names,
    map_keypoints,
    named_layout,
)
from langpose_dist.detections.opening import open_recording
from langpose_dist.detections.people import PeopleTracker, Person, extent
from langpose_dist.detections.recording import Detection, Frame, Recording
from langpose_dist.detections.timeline import to_tracks
from langpose_dist.detections.track import Track, Tracks

MAX_GAP = 15
"""Frames: half a second of most videos."""
NUM_LOOKED_AT = 200
"""People whose keypoints tell layout and unit."""
MAX_RELATIVE = 2.0
"""Half of all coordinates are below it if they are parts of width and height, above it if they are pixels."""
MAX_OUTSIDE = 0.1
"""Share of relative coordinates that may lie outside of the picture, 0..1; of metres it is about half."""
MIN_FRAMES = 5
"""A person seen in fewer frames is mostly a false detection, and one of ``all`` only in shorter files."""


def read_tracks(
    path: str | Path,
    *,
    layout: str | None = None,
    person: str = "largest",
    threshold: float | None = None,
    max_gap: int = MAX_GAP,
    size: tuple[int, int] | None = None,
) -> Tracks:
    """Read the people that a 2D detector found in a video.

    Args:
        path: File or folder of a known kind; which, its structure tells.
        layout: Order of the keypoints, one of ``LAYOUTS``; needed only where the file does not tell.
        person: ``largest`` (height times frames), ``all``, or an id.
        threshold: Confidence below which a keypoint is missing; the detector's own by default.
        max_gap: Longest gap that is filled, in frames; a person who is away for longer gets another track.
        size: Width and height of the picture in pixels; needed where the file holds parts of them.

    Returns:
        Joints of ``H36M17`` in pixels, person by person.

    Raises:
        UserError: If the file is of no known kind, does not tell what is needed, or holds no such person.
    """
    _check_options(threshold, max_gap, size)
    recording = open_recording(Path(path))
    head, frames = _look_ahead(recording.frames)
    samples = [found.points for frame in head for found in frame.people]
    if not samples:
        raise UserError(f"{path}: nobody was detected in any frame")
    chosen, chosen_by = _choose_layout(recording, layout, samples)
    size = size or recording.size
    threshold = recording.detector.threshold if threshold is None else threshold
    used = np.concatenate([points[chosen.columns] for points in samples])
    unit = _unit(recording, used[(used[:, 2] > 0) & (used[:, 2] >= threshold), :2], size)

    sieve = Sieve(chosen, unit, threshold)
    tracker = PeopleTracker()
    num_people: Counter[int] = Counter()
    last = -1
    for last, found in frames:
        people = [person for person in map(sieve.used, found) if (person.points[:, 2] > 0).any()]
        num_people[len(people)] += 1
        tracker.add(last, people)
    num_frames = max(recording.num_frames, last + 1)
    num_people[0] += num_frames - num_people.total()

    named = _name_people(tracker.people)
    if not named:
        raise UserError(f"{path}: no keypoint has a confidence of {threshold:g} or more; lower --threshold")
    ids = _choose_people(named, person, num_frames)
    tracks = tuple(track for id_ in ids for track in _tracks_of(id_, named[id_], chosen, max_gap))
    if not tracks:
        raise UserError(f"{path}: person {', '.join(ids)} has no joint that is seen; largest is the default")
    facts = {
        "frames": num_frames,
        "frames_by_number_of_people": {str(number): num_people[number] for number in sorted(num_people)},
        "people": [_describe(id_, one) for id_, one in named.items()],
        "person": person,
        "chosen": ids,
        "layout_by": chosen_by,
        "unit": "pixels" if unit is None else "parts of width and height",
        "size_in_file": None if recording.size is None else list(recording.size),
        "threshold": threshold,
        "share_dropped": sieve.num_dropped / max(sieve.num_detected, 1),
        "max_gap": max_gap,
        "filled_frames": sum(int((~track.seen.any(axis=1)).sum()) for track in tracks),
        "split_gaps": len(tracks) - len(ids),
        "merged_bodies": tracker.num_merged,
    }
    return Tracks(tracks, num_frames, recording.fps, size, recording.detector.name, chosen.name, facts)


@dataclass
class Sieve:
    """The rest of a detection: the keypoints that joints are made of, above the threshold, in pixels."""

    layout: Layout
    unit: tuple[int, int] | None
    threshold: float
    num_detected: int = 0
    num_dropped: int = 0

    def used(self, found: Detection) -> Detection:
        """Sieve one detection, and count.

        Raises:
            UserError: If it has another number of keypoints.
        """
        _check_number(found.points, len(self.layout.keypoints))
        points = found.points[self.layout.columns]
        is_low = (points[:, 2] > 0) & (points[:, 2] < self.threshold)
        self.num_detected += int((points[:, 2] > 0).sum())
        self.num_dropped += int(is_low.sum())
        points[is_low] = 0
        if self.unit is not None:
            points[:, :2] *= self.unit
        return replace(found, points=points)


def _check_options(threshold: float | None, max_gap: int, size: tuple[int, int] | None) -> None:
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"threshold={threshold:g} is no confidence; 0..1")
    if max_gap < 0:
        raise UserError(f"max_gap={max_gap} frames; 0 or more")
    if size is not None and min(size) < 1:
        raise UserError(f"size={size[0]}x{size[1]} is no picture's; width and height in pixels")


def _look_ahead(frames: Iterable[Frame]) -> tuple[list[Frame], Iterable[Frame]]:
    """The first frames, until enough people are among them; and all frames."""
    rest = iter(frames)
    head: list[Frame] = []
    num_people = 0
    for frame in rest:
        head.append(frame)
        num_people += len(frame.people)
        if num_people >= NUM_LOOKED_AT:
            break
    return head, itertools.chain(head, rest)


def _choose_layout(
    recording: Recording, asked: str | None, samples: Sequence[Float32[np.ndarray, "K 3"]]
) -> tuple[Layout, str]:
    """The layout, and what told it."""
    num_keypoints = len(samples[0])
    for points in samples:
        _check_number(points, num_keypoints)
    if asked is not None:
        return named_layout(asked, num_keypoints), "given"
    if recording.names is not None:
        if len(recording.names) != num_keypoints:
            raise UserError(
                f"the file names {len(recording.names)} keypoints, its people have {num_keypoints}"
            )
        return layout_of_names(recording.names), "names"
    if recording.layout is not None:
        return named_layout(recording.layout, num_keypoints), "format"
    return counted_layout(samples, is_bare=recording.is_bare), "number"


def _check_number(points: Float32[np.ndarray, "K 3"], num_keypoints: int) -> None:
    if len(points) != num_keypoints:
        raise UserError(
            f"people with {num_keypoints} and with {len(points)} keypoints in one file; give one detector's "
            "output"
        )


def _unit(
    recording: Recording, points: Float32[np.ndarray, "N 2"], size: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Width and height to multiply by, where coordinates are parts of them."""
    if not len(points) or np.median(np.abs(points)) > MAX_RELATIVE:
        return None
    if not recording.detector.is_relative:
        raise UserError(
            f"{recording.detector.name}: half of the coordinates are within {np.median(np.abs(points)):.2g}: "
            "these are no pixels; write pixels (OpenPose: --keypoint_scale 0)"
        )
    if size is None:
        raise UserError(
            f"{recording.detector.name}: coordinates are parts of width and height; give the picture's size: "
            "--size WxH"
        )
    outside = float(((points < 0) | (points > 1)).mean())
    if outside > MAX_OUTSIDE:
        raise UserError(
            f"{recording.detector.name}: {outside:.0%} of the coordinates lie outside of 0..1, at most "
            f"{MAX_OUTSIDE:.0%} do in a picture: these look like metres; give the landmarks of the "
            "picture, not those of the world"
        )
    return size


def _name_people(people: Sequence[Person]) -> dict[str, Person]:
    """Detectors' ids; others are numbered in the order of appearance."""
    has_ids = any(person.identity is not None for person in people)
    unnamed = (f"unnamed-{number}" if has_ids else str(number) for number in itertools.count())
    return {next(unnamed) if one.identity is None else one.identity: one for one in people}


def _choose_people(people: dict[str, Person], asked: str, num_frames: int) -> list[str]:
    if asked == "all":
        lasting = [id_ for id_, one in people.items() if len(one.frames) >= min(MIN_FRAMES, num_frames)]
        return lasting or [*people]
    if asked == "largest":
        return [max(people, key=lambda id_: float(extent(np.stack(people[id_].points)).sum()))]
    if asked not in people:
        ids = ", ".join(itertools.islice(people, 20))
        raise UserError(f"person {asked!r} is not in the file; largest, all, or one of {ids}")
    return [asked]


def _describe(id_: str, person: Person) -> dict[str, Any]:
    first, last = person.frames[0], person.frames[-1]
    return {"person": id_, "first_frame": first, "last_frame": last, "seen": len(person.frames)}


def _tracks_of(id_: str, person: Person, layout: Layout, max_gap: int) -> Iterable[Track]:
    keypoints = map_keypoints(np.stack(person.points), layout.used, layout.joint_map)
    has_joint = (keypoints[..., 2] > 0).any(axis=1)  # one eye makes none
    return to_tracks(id_, np.array(person.frames)[has_joint], keypoints[has_joint], max_gap)
