"""NumPy files: plain arrays, and what VideoPose3D and Detectron2 write."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from langpose_dist.config import UserError
from langpose_dist.datasets.arrays import read_npy
from langpose_dist.datasets.pickles import load_npz
from langpose_dist.detections.kind import validate
from langpose_dist.detections.recording import MAX_FRAMES, Detection, Detector, Frame, Recording, detection

ARRAY = Detector("NumPy array", threshold=0.3)
"""As MMPose's: these are mostly its models, run by rtmlib."""
MEDIAPIPE = Detector("MediaPipe array", threshold=0.5, is_relative=True)
"""``_VISIBILITY_THRESHOLD`` of its drawing is 0.5."""
DETECTRON2 = Detector("Detectron2 npz", threshold=0.05)
"""``_KEYPOINT_THRESHOLD`` of its drawing is 0.05."""
VIDEOPOSE3D = Detector("VideoPose3D npz", threshold=0.05)
"""It holds no confidence; every keypoint passes."""

_SHAPES = "T x K x 2, T x K x 3 (x, y, confidence) or T x P x K x 3"
_MEDIAPIPE_KEYPOINTS = 33


def read_array(path: Path) -> Recording:
    """A recording of an npy file.

    Raises:
        UserError: If it is something else.
    """
    try:
        return _plain(read_npy(path), None, str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from None


def read_archive(path: Path) -> Recording:
    """A recording of an npz file.

    Raises:
        UserError: If it is something else.
    """
    arrays = load_npz(path)
    if "positions_2d" in arrays:
        return _videopose3d(arrays, str(path))
    if "keypoints" in arrays and "boxes" in arrays:
        return _detectron2(arrays, str(path))
    others = [name for name in arrays if name not in ("fps", "size", "scores")]
    if "keypoints" not in arrays and len(others) != 1:
        raise UserError(
            f"{path} holds arrays {', '.join(others) or '(none)'}; one is needed, named keypoints"
        )
    recording = _plain(arrays.get("keypoints", arrays[others[0]]), arrays.get("scores"), str(path))
    fps, size = _positive(arrays.get("fps"), 1, path), _positive(arrays.get("size"), 2, path)
    return replace(recording, fps=fps and float(fps[0]), size=size and (round(size[0]), round(size[1])))


def _positive(value: Any, num: int, path: Path) -> list[float] | None:
    if value is None:
        return None
    numbers = _numbers(value, str(path)).ravel()
    if len(numbers) != num or not ((numbers > 0) & (numbers < MAX_FRAMES)).all():
        raise UserError(f"{path}: fps is one number, and size is width and height in pixels")
    return numbers.tolist()


def _plain(keypoints: Any, scores: Any, where: str) -> Recording:
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim == 0 or len(keypoints) == 0:
        raise UserError(f"{where}: no array of frames; due are {_SHAPES}")
    if scores is not None and (not isinstance(scores, np.ndarray) or len(scores) != len(keypoints)):
        raise UserError(f"{where}: keypoints and scores have different lengths")
    is_mediapipe = keypoints.ndim >= 3 and keypoints.shape[-2] == _MEDIAPIPE_KEYPOINTS
    return Recording(
        MEDIAPIPE if is_mediapipe else ARRAY,
        _frames(keypoints, scores, where),
        is_bare=True,
        num_frames=len(keypoints),
    )


def _frames(keypoints: np.ndarray, scores: np.ndarray | None, where: str) -> Iterator[Frame]:
    for number, values in enumerate(keypoints):
        here = f"{where}, frame {number}"
        people = _numbers(values, here)
        people = people[None] if people.ndim == 2 else people
        if people.ndim != 3 or (people.shape[1:] != (0,) and 0 in people.shape[1:]):
            raise UserError(f"{here}: an array of {people.shape}; due are {_SHAPES}")
        if scores is not None and len(people):
            people = _with_scores(people, _numbers(scores[number], here), here)
        yield Frame(number, [detection(_columns(person, here), here) for person in people])


def _numbers(values: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: not only numbers; due are {_SHAPES}") from None


def _with_scores(people: np.ndarray, scores: np.ndarray, where: str) -> np.ndarray:
    """rtmlib gives places and scores apart."""
    scores = scores[None] if scores.ndim == 1 else scores
    if people.shape[2] != 2 or scores.shape != people.shape[:2]:
        raise UserError(
            f"{where}: keypoints are {people.shape} and scores {scores.shape}; P x K x 2 and P x K are due"
        )
    return np.concatenate((people, scores[..., None]), axis=2)


def _columns(person: np.ndarray, where: str) -> np.ndarray:
    """x, y, confidence of x, y; of x, y, confidence; or of MediaPipe's x, y, z, visibility, presence."""
    num_keypoints, num_columns = person.shape
    if num_columns == 2:
        return np.column_stack((person, np.ones(num_keypoints)))
    if num_columns == 3:
        if num_keypoints == _MEDIAPIPE_KEYPOINTS and (person[:, 2] < 0).any():
            raise UserError(
                f"{where}: the third of 33 x 3 numbers goes down to {np.nanmin(person[:, 2]):.3g}: "
                "MediaPipe's z, not a confidence; give x, y, visibility or x, y, z, visibility"
            )
        return person
    if num_columns in (4, 5) and num_keypoints == _MEDIAPIPE_KEYPOINTS:
        return person[:, [0, 1, 3]]
    raise UserError(f"{where}: {num_keypoints} x {num_columns} numbers of a person; due are {_SHAPES}")


class _Videos(BaseModel):
    videos: dict[str, dict[str, list[Any]]]


def _videopose3d(arrays: Mapping[str, Any], where: str) -> Recording:
    """``data_2d_custom_NAME.npz``: video -> camera or action -> T x 17 x 2."""
    videos = validate(_Videos, {"videos": _unwrap(arrays["positions_2d"])}, where).videos
    if len(videos) != 1:
        raise UserError(
            f"{where}: holds {', '.join(videos)[:200] or 'no video'}; one video is lifted at a time"
        )
    ((name, actions),) = videos.items()
    views = [view for views in actions.values() for view in views]
    if len(views) != 1:
        raise UserError(f"{where}: {name} has {len(views)} views; one is lifted at a time")
    metadata = _unwrap(arrays.get("metadata"))
    metadata = metadata if isinstance(metadata, Mapping) else {}
    recording = _plain(views[0], None, where)
    layout = {"coco": "coco17", "h36m": "h36m17"}.get(str(metadata.get("layout_name")))
    sizes = metadata.get("video_metadata")
    size = _size(sizes.get(name)) if isinstance(sizes, Mapping) else None
    return Recording(
        VIDEOPOSE3D,
        recording.frames,
        layout=layout,
        is_bare=layout is None,
        num_frames=recording.num_frames,
        size=size,
    )


def _detectron2(arrays: Mapping[str, Any], where: str) -> Recording:
    """As VideoPose3D's ``infer_video_d2.py`` writes it: frame -> class -> P x 4 x 17 (x, y, logit, score)."""
    keypoints = arrays["keypoints"]
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim == 0 or len(keypoints) == 0:
        raise UserError(f"{where}: keypoints are no array of frames")
    return Recording(
        DETECTRON2,
        (Frame(number, _people(frame, f"{where}, frame {number}")) for number, frame in enumerate(keypoints)),
        layout="coco17",
        num_frames=len(keypoints),
        size=_size(_unwrap(arrays.get("metadata"))),
    )


def _people(frame: Any, where: str) -> list[Detection]:
    """Class 0 is the background, class 1 people."""
    if not isinstance(frame, (np.ndarray, list)) or len(frame) != 2:
        raise UserError(f"{where}: not the keypoints of two classes, as Detectron2's script writes them")
    people = _numbers(frame[1], where)
    if people.size == 0:
        return []
    if people.ndim != 3 or people.shape[1:] != (4, 17):
        raise UserError(f"{where}: keypoints are {people.shape}, not P x 4 x 17")
    return [detection(person[[0, 1, 3]].T, where) for person in people]


def _unwrap(value: Any) -> Any:
    """Content of an array of one object."""
    is_object = isinstance(value, np.ndarray) and value.shape == () and value.dtype == object
    return value.item() if is_object else value


def _size(metadata: Any) -> tuple[int, int] | None:
    if not isinstance(metadata, Mapping):
        return None
    sides = metadata.get("w"), metadata.get("h")
    if all(isinstance(side, (int, np.integer)) and 0 < side < MAX_FRAMES for side in sides):
        return int(sides[0]), int(sides[1])  # pyright: ignore[reportArgumentType]
    return None
