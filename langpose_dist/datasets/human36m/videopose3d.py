"""Human3.6M as VideoPose3D prepares it: ``data_3d_h36m.npz`` and 2D keypoints ``data_2d_h36m_NAME.npz``."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample, make_key
from langpose_dist.datasets.arrays import take_frames
from langpose_dist.datasets.clip import FileClip, Found
from langpose_dist.datasets.files import version_of
from langpose_dist.datasets.human36m.cameras import CAMERAS, SUBJECTS, find_camera
from langpose_dist.datasets.human36m.facts import ACTIONS, DRIFTING, make_sample
from langpose_dist.datasets.pickles import load_npz
from langpose_dist.datasets.splits import RECORDING, to_words
from langpose_dist.skeleton import H36M17

POSITIONS = "data_3d_h36m.npz"

DETECTIONS = "data_2d_h36m_"
"""Beginning of the names of files with 2D keypoints."""

TEST_SUBJECTS = ("S9", "S11")

JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Indices of the common skeleton's joints among the 32; the others are doubles, fingers and toes."""

DRIFTING_RECORDINGS = (("S9", "Greeting"), ("S9", "SittingDown 1"), ("S9", "Waiting 1"))

_SUBJECT = re.compile(r"S\d+", re.ASCII)

_LABELS = dict(ACTIONS.values())


@dataclass(frozen=True, kw_only=True)
class VideoPose3dClip(FileClip):
    """A recording, as one camera saw it where there are 2D keypoints."""

    split: str
    subject: str
    name: str
    """Name of the recording, such as ``Walking 1``."""
    keypoints: Path | None
    camera: str | None

    def read(self) -> Sample:
        """Take it out of its files, which are read once per process.

        Raises:
            DataError: If a file changed, or the arrays are not what the layout says.
        """
        recordings = _read_positions(*version_of(self.path))
        poses = take_joints(recordings.get(self.subject, {}).get(self.name))
        meta: dict[str, Any] = {**self.fields, "source": self.source}
        if self.keypoints is None or self.camera is None:
            return make_sample(self.key, poses, label=self.fields["action"], fps=self.fps, meta=meta)
        views = _views(_read_keypoints(*version_of(self.keypoints)), self.subject, self.name)
        if len(views) != len(CAMERAS):
            raise DataError(_cameras_missing(len(views)))
        pixels = take_frames(
            views[CAMERAS.index(self.camera)][..., :2], "positions_2d", (len(H36M17.joints), 2)
        )
        if len(pixels) < len(poses):
            raise DataError(f"different lengths: {len(poses)} frames in 3D and {len(pixels)} in 2D")
        pixels = pixels[: len(poses)]  # some videos last longer than the 3D
        meta["keypoints_2d"] = keypoints_name(self.keypoints)
        return make_sample(
            self.key,
            poses,
            label=self.fields["action"],
            fps=self.fps,
            meta=meta,
            camera=find_camera(self.subject, self.camera),
            keypoints=np.concatenate((pixels, np.ones((*pixels.shape[:2], 1))), axis=-1),
        )


def find_npz_clips(path: Path, *, fps: float, keypoints: Path | None) -> Found[VideoPose3dClip]:
    """Clips by subject, name and camera.

    Args:
        path: The file of 3D positions.
        fps: Frame rate that the clips will have.
        keypoints: The file of 2D keypoints; without it, one clip per recording, seen by no camera.

    Raises:
        DataError: If a file has another layout.
    """
    recordings = _read_positions(*version_of(path))
    views = _read_keypoints(*version_of(keypoints)) if keypoints else {}
    names = {(subject, name) for subject, takes in recordings.items() for name in takes}
    only_2d = {(subject, name) for subject, takes in views.items() for name in takes} - names
    clips: list[VideoPose3dClip] = []
    skipped: list[Skipped] = []
    for subject, name in sorted(names | only_2d, key=lambda pair: (int(pair[0][1:] or 0), pair[1])):
        source = f"{path.name}#{subject}/{name}"
        action = name.rstrip("0123456789").strip()
        reason = None
        if (subject, name) in only_2d:
            reason = "no 3D positions: there are 2D keypoints only"
        elif keypoints and name not in views.get(subject, {}):
            reason = f"no 2D keypoints: {keypoints.name} has none"
        elif keypoints and (num_views := len(_views(views, subject, name))) != len(CAMERAS):
            reason = _cameras_missing(num_views)
        elif subject not in SUBJECTS or action not in _LABELS:
            reason = "unknown name: no subject or action of Human3.6M's"
        if reason:
            skipped.append(Skipped(source=source, reason=reason))
            continue
        for camera in CAMERAS if keypoints else (None,):
            fields = {"subject": subject.lower(), "action": _LABELS[action], "take": to_words(name)}
            fields[RECORDING] = f"{subject.lower()} {to_words(name)}"
            fields |= DRIFTING if (subject, name) in DRIFTING_RECORDINGS else {}
            clips.append(
                VideoPose3dClip(
                    path=path,
                    source=f"{source}/{camera}" if camera else source,
                    key=make_key(f"{subject}_{name}_{camera}" if camera else f"{subject}_{name}"),
                    fields=fields | ({"camera": camera} if camera else {}),
                    split="test" if subject in TEST_SUBJECTS else "train",
                    subject=subject,
                    name=name,
                    keypoints=keypoints,
                    camera=camera,
                    fps=fps,
                )
            )
    return Found(tuple(clips), tuple(skipped))


def take_joints(values: Any) -> Float64[np.ndarray, "T 17 3"]:
    """Positions of 32 joints, or of the 17 alone, as those of the common skeleton.

    Raises:
        DataError: If they are something else.
    """
    if isinstance(values, np.ndarray) and values.ndim == 3 and values.shape[1] == 32:
        values = values[:, list(JOINTS)]
    return take_frames(values, "positions_3d", (len(H36M17.joints), 3))


def _views(
    recordings: Mapping[str, Mapping[str, Any]], subject: str, name: str
) -> Sequence[Any] | np.ndarray:
    """Keypoints of each camera, in the order of ``CAMERAS``; none where there is something else."""
    views = recordings.get(subject, {}).get(name)
    return views if isinstance(views, list | tuple | np.ndarray) else ()


def _cameras_missing(num_found: int) -> str:
    """Reason for giving up a recording: its views have no names, and any of them may be another camera's."""
    return f"cameras missing: there are 2D keypoints of {num_found}, not {len(CAMERAS)}"


def keypoints_name(path: Path) -> str:
    """Origin of the 2D keypoints, by the name of their file; ``gt`` is the projected 3D."""
    name = path.stem.removeprefix(DETECTIONS)
    return "ground truth" if name == "gt" else name


@functools.lru_cache(maxsize=1)
def _read_positions(path: Path, _size: int, _mtime: int) -> dict[str, dict[str, Any]]:
    return _recordings(path, load_npz(path), "positions_3d")


@functools.lru_cache(maxsize=1)
def _read_keypoints(path: Path, _size: int, _mtime: int) -> dict[str, dict[str, Any]]:
    arrays = load_npz(path)
    metadata = _item(arrays.get("metadata"))
    symmetry = metadata.get("keypoints_symmetry") if isinstance(metadata, dict) else None
    expected = [
        [H36M17.index(joint) for joint in H36M17.joints if joint.startswith(side)]
        for side in ("left_", "right_")
    ]
    if not isinstance(symmetry, list | tuple) or [[int(i) for i in side] for side in symmetry] != expected:
        raise DataError(
            f"{path} has keypoints of another skeleton; choose some of Human3.6M's 17 joints, such as gt"
        )
    return _recordings(path, arrays, "positions_2d")


def _recordings(path: Path, arrays: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    subjects = _item(arrays.get(name))
    if not isinstance(subjects, dict) or not all(isinstance(takes, dict) for takes in subjects.values()):
        raise DataError(f"{path} holds no recordings under {name!r}; make it with VideoPose3D's tools")
    takes = [name for names in subjects.values() for name in names]
    if wrong := [name for name in takes if not isinstance(name, str)]:
        raise DataError(f"{path}: recording {wrong[0]!r} is no name; make it with VideoPose3D's tools")
    if wrong := [name for name in subjects if not (isinstance(name, str) and _SUBJECT.fullmatch(name))]:
        raise DataError(f"{path}: subject {wrong[0]!r} is not like 'S1'; make it with VideoPose3D's tools")
    return subjects


def _item(values: Any) -> Any:
    return values.item() if isinstance(values, np.ndarray) and values.shape == () else values
