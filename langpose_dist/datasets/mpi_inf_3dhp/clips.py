"""MPI-INF-3DHP as P-STMO and MotionAGFormer use it: one npz file for training and one for testing.

``data_train_3dhp.npz`` holds, under ``data``, {"S1 Seq1": [{"0": {"data_3d", "data_2d"}, ...}, fps], ...}
with eight cameras of each recording and every frame of it. ``data_test_3dhp.npz`` holds {"TS1": {"data_3d",
"data_2d", "valid"}, ...}. 3D is in millimetres and camera axes, 2D in pixels.

- The 3D is the data set's ``univ_annot3``: people scaled to one height, so it does not project exactly onto
  the 2D. Both are annotations, and the keypoints get confidence 1.
- The files know no camera: z is up in the image, and what tilts the camera tilts the person.
- Of the studio's test recordings (TS1 to TS4) every tenth frame at most is flagged valid, as in the published
  protocol, which lifts windows of all frames and counts errors on the valid ones. So a test recording is one
  clip of all its frames, and ``meta["valid_frames"]`` lists the runs [first, one past the last) that count.
  Where clips are resampled, a frame is valid if those that it lies between are.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample, make_key
from langpose_dist.datasets.arrays import take_frames
from langpose_dist.datasets.axes import TO_CAMERA, from_camera_axes
from langpose_dist.datasets.clip import FileClip, Found
from langpose_dist.datasets.files import list_files, version_of
from langpose_dist.datasets.pickles import load_npz
from langpose_dist.datasets.splits import RECORDING, to_words
from langpose_dist.datasets.timing import check_rate, frame_places
from langpose_dist.skeleton import H36M17, MPI_INF_3DHP

FILES = ("data_train_3dhp.npz", "data_test_3dhp.npz")

JOINTS = (
    *("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle"),
    *("left_hip", "left_knee", "left_ankle", "pelvis", "spine", "head"),
)
"""Order of the joints in the files: the data set's ``relevant`` set."""

FRAME_RATES = {
    **dict.fromkeys(("S1 Seq2", "S3 Seq1", "S3 Seq2", "S5 Seq1", "S5 Seq2"), 50.0),
    **dict.fromkeys(("S1 Seq1", "S2 Seq1", "S2 Seq2", "S4 Seq1", "S4 Seq2"), 25.0),
    **dict.fromkeys(("S6 Seq1", "S6 Seq2", "S7 Seq1", "S7 Seq2", "S8 Seq1", "S8 Seq2"), 25.0),
}
"""Frames per second by ``mpii_get_sequence_info``, for training files that leave them out."""

TEST_FRAME_RATE = 25.0
"""Assumed: the data set does not say. At this rate the studio's test recordings last the four minutes that
the training ones do."""

STUDIO_SIZE = (2048, 2048)
OUTDOOR_SIZE = (1920, 1080)
OUTDOOR = ("TS5", "TS6")

_TRAINING_NAME = re.compile(r"(S\d+) (Seq\d+)")


@dataclass(frozen=True, kw_only=True)
class MpiInf3dhpClip(FileClip):
    """One camera's view of a recording."""

    sequence: str
    camera: str
    original_fps: float

    def read(self) -> Sample:
        """Take it out of its file, which is read once per process.

        Raises:
            DataError: If the file changed, or the arrays are not what the layout says.
        """
        arrays = _read(self.path).get((self.sequence, self.camera))
        if arrays is None:
            raise DataError(f"recording missing: {self.path} no longer holds {self.sequence} {self.camera}")
        poses = from_camera_axes(_take(arrays, "data_3d", 3) / 1000)
        width, height = OUTDOOR_SIZE if self.sequence in OUTDOOR else STUDIO_SIZE
        positions = _take(arrays, "data_2d", 2) / width * 2 - (1, height / width)
        keypoints = np.concatenate((positions, np.ones((*positions.shape[:2], 1))), axis=2)
        if len(keypoints) != len(poses):
            raise DataError(f"different lengths: {len(poses)} frames in 3D and {len(keypoints)} in 2D")
        places = frame_places(len(poses), self.original_fps, self.fps)
        meta = {
            **self.fields,
            "dataset": "mpi-inf-3dhp",
            "source": self.source,
            "fps": self.fps,
            "original_fps": self.original_fps,
            "annotation": "univ_annot3",
            "keypoints_2d": "ground truth",
            "camera": {
                "name": self.camera or self.sequence,
                "image_size": [width, height],
                "rotation": [list(row) for row in TO_CAMERA],
                "translation": [0.0, 0.0, 0.0],
            },
        }
        if self.split == "test":
            valid = _valid_flags(arrays, len(poses))
            meta["valid_frames"] = _runs(valid[places.before] & valid[places.after])
            meta["original_fps_is"] = "assumed"
            if not meta["valid_frames"]:
                raise DataError(f"no valid frame: none of {len(poses)} is flagged")
        return Sample(
            key=self.key,
            poses_3d=places.interpolate(poses).astype(np.float32),
            spans=(),
            meta=meta,
            keypoints_2d=places.interpolate(keypoints).astype(np.float32),
        )


def find_clips(path: Path, *, fps: float) -> Found[MpiInf3dhpClip]:
    """Recordings of one or both files, those for training first, by name and camera.

    Args:
        path: Folder with one or both of ``FILES``, or such a file by any name.
        fps: Frame rate that the clips will have.

    Returns:
        Clips, recordings that cannot be used with the reason, and the number of other files in the folder.

    Raises:
        DataError: If there is no such file, or none that can be read.
    """
    paths, num_ignored, skipped = _list_files(path)
    clips: list[MpiInf3dhpClip] = []
    errors: list[DataError] = []
    for file in paths:
        try:
            recordings = _read(file)
        except DataError as error:
            errors.append(error)
            skipped.append(Skipped(source=file.name, reason=f"unreadable file: {error}"))
            continue
        for (sequence, camera), arrays in sorted(recordings.items()):
            source = f"{file.name}#{f'{sequence}/{camera}' if camera else sequence}"
            try:
                clips.append(_make_clip(file, source, sequence, camera, arrays, fps))
            except DataError as error:
                skipped.append(Skipped(source=source, reason=str(error)))
    if len(errors) == len(paths):
        raise errors[0]
    return Found(tuple(clips), tuple(skipped), num_ignored)


def _list_files(path: Path) -> tuple[list[Path], int, list[Skipped]]:
    if path.is_file():
        return [path], 0, []
    if not path.is_dir():
        raise DataError(f"input {path} does not exist; give the folder that holds {' or '.join(FILES)}")
    listed, num_system, broken = list_files(path, deep=False)
    files = [path / name for name in FILES if path / name in listed]
    if not files:
        raise DataError(f"input folder {path} holds neither {' nor '.join(FILES)}; give the folder that does")
    return files, num_system + len(listed) - len(files), broken


def _make_clip(
    path: Path, source: str, sequence: str, camera: str, arrays: Mapping[str, Any], fps: float
) -> MpiInf3dhpClip:
    if camera:
        match = _TRAINING_NAME.fullmatch(sequence)
        if match is None:
            raise DataError(f"unknown name: {sequence!r} is not like 'S1 Seq1'")
        original_fps = arrays["fps"] or FRAME_RATES.get(sequence)
        if original_fps is None:
            raise DataError(f"no frame rate: neither the file nor the data set's table has one of {sequence}")
        check_rate(original_fps)
        fields = {"subject": match[1], "sequence": match[2], "camera": camera, RECORDING: sequence}
        split = "train"
    else:
        original_fps, split = TEST_FRAME_RATE, "test"
        fields = {"subject": sequence, "sequence": sequence}
    return MpiInf3dhpClip(
        path=path,
        source=source,
        key=make_key(f"{sequence}_{camera}"),
        fields={name: to_words(value) for name, value in fields.items()},
        split=split,
        sequence=sequence,
        camera=camera,
        original_fps=original_fps,
        fps=fps,
    )


def _read(path: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    """(sequence, camera) -> its arrays; the camera is empty in the file for testing.

    Raises:
        DataError: If it is not one of the two layouts.
    """
    return _read_once(*version_of(path))


@functools.lru_cache(maxsize=1)
def _read_once(path: Path, _size: int, _mtime: int) -> dict[tuple[str, str], Mapping[str, Any]]:
    content = load_npz(path).get("data")
    if isinstance(content, np.ndarray) and content.shape == ():
        content = content.item()
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} holds no recordings under 'data'; give one of {' and '.join(FILES)}")
    return dict(recording for name, value in content.items() for recording in _flatten(path, name, value))


def _flatten(path: Path, name: Any, value: Any) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    if isinstance(value, dict):
        yield (str(name), ""), value
        return
    parts = list(value) if isinstance(value, list | tuple) else []
    if not parts or not isinstance(parts[0], dict):
        raise DataError(f"{path}: {name!r} is neither a test recording nor the cameras of a training one")
    fps = _to_rate(parts[1]) if len(parts) > 1 else None
    for camera, arrays in parts[0].items():
        if not isinstance(arrays, dict) or not str(camera):
            raise DataError(f"{path}: camera {camera!r} of {name!r} holds no arrays")
        yield (str(name), str(camera)), {**arrays, "fps": fps}


def _to_rate(value: Any) -> float | None:
    if isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _take(arrays: Mapping[str, Any], name: str, num_axes: int) -> Float64[np.ndarray, "T 17 C"]:
    """One of the arrays, its joints in the order of the common skeleton."""
    values = take_frames(arrays.get(name), name, (len(JOINTS), num_axes))
    sources = [next(iter(MPI_INF_3DHP[joint])) for joint in H36M17.joints]
    return values[:, [JOINTS.index(source) for source in sources]]


def _valid_flags(arrays: Mapping[str, Any], num_frames: int) -> Bool[np.ndarray, "T"]:
    flags = np.asarray(arrays.get("valid"))
    if flags.dtype.kind not in "bfiu" or flags.size != num_frames:
        raise DataError(f"wrong shape: valid is {flags.shape}, not {num_frames} flags")
    return flags.reshape(-1) > 0


def _runs(flags: Bool[np.ndarray, "T"]) -> list[list[int]]:
    """[first, one past the last) of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return edges.reshape(-1, 2).tolist()
