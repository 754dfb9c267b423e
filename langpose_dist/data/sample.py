"""One clip as a shard stores it: its members, their encoding and their decoding.

Only ``.npy`` and ``.json`` members are ever decoded, both by readers that cannot run code.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32

from langpose_dist.config import UserError
from langpose_dist.keypoints import check_keypoints
from langpose_dist.skeleton import H36M17

POSES = "poses_3d.npy"
LABELS = "labels.json"
META = "meta.json"
KEYPOINTS = "keypoints_2d.npy"
MEMBERS = (LABELS, META, POSES)
"""Members of every sample, in their order in the shard; ``KEYPOINTS`` follows where there are 2D joints."""

NPY_HEADER_BYTES = 512
"""Bytes read to parse an array's header; the arrays that this package writes have headers of 128 bytes."""

ROTATION_TOLERANCE = 1e-4
"""Largest deviation of a camera's axes from unit length and right angles."""

_KEY = re.compile(r"(?!__)[\w+=@,-]+(/(?!__)[\w+=@,-]+)*")


class DataError(UserError):
    """Unusable data; the message is one line that names the file and the remedy."""


@dataclass(frozen=True)
class Span:
    """A label and the frames it describes."""

    label: str
    """Normalised: lower-case, white space folded."""
    start: int
    """First frame."""
    end: int
    """One past the last frame."""
    act_cat: tuple[str, ...] = ()
    """BABEL's categories of the label; kept in the manifest, not in the shard."""
    words: str = ""
    """Processed words of a caption with their kinds, such as ``a/DET person/NOUN walk/VERB``, as its source
    has them."""


@dataclass(frozen=True)
class Sample:
    """One clip."""

    key: str
    """Unique in its data set; see ``make_key``."""
    poses_3d: Float32[np.ndarray, "T 17 3"]
    """World coordinates, metres, right-handed, z up."""
    spans: tuple[Span, ...]
    """Labels; may be empty or overlap."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Origin of the clip: dataset, subject, action, style, source file, frame rates, camera."""
    keypoints_2d: Float32[np.ndarray, "T 17 3"] | None = None
    """The data set's own 2D joints: x, y in half image widths from the image's centre, y down, and a
    confidence in [0, 1], as seen by the camera in ``meta``; ``None`` where it has none."""
    captions: tuple[Span, ...] = ()
    """Sentences about the motion, which are no labels; kept in the manifest, not in the shard."""
    left_out: tuple[str, ...] = ()
    """Reasons why parts of the source, such as a label, are not in the sample; kept in the manifest, not in
    the shard."""


def make_key(text: str) -> str:
    """Turn a text into a key that WebDataset reads back unchanged.

    A key has no dots, since the first dot of a tar entry's name begins the name of the member.

    Raises:
        DataError: If nothing usable is left.
    """
    parts = (re.sub(r"[^\w+=@,-]+", "_", part).strip("_") for part in text.split("/"))
    key = "/".join(part for part in parts if part)
    check_key(key)
    return key


def check_key(key: str) -> None:
    """Validate a key: WebDataset would split or skip others.

    Raises:
        DataError: If the key has other characters than letters, digits and ``_+=@,-``.
    """
    if not _KEY.fullmatch(key):
        raise DataError(f"bad clip key: {key!r} must be letters, digits and any of _+=@,-, parts joined by /")


def encode_sample(sample: Sample) -> dict[str, bytes]:
    """Encode the members of a sample, by name; equal samples give equal bytes.

    Raises:
        DataError: If the sample breaks the contract that ``decode_sample`` checks.
    """
    check_key(sample.key)
    _check_poses(sample.key, sample.poses_3d)
    _check_spans(sample.key, (*sample.spans, *sample.captions), len(sample.poses_3d))
    if isinstance(sample.meta.get("camera"), Mapping):
        recorded_rotation(sample.key, sample.meta)
    labels = [{"label": span.label, "start": span.start, "end": span.end} for span in sample.spans]
    members = {LABELS: _to_json(labels), META: _to_json(dict(sample.meta)), POSES: _to_npy(sample.poses_3d)}
    if sample.keypoints_2d is not None:
        _check_keypoints(sample.key, sample.keypoints_2d, len(sample.poses_3d))
        members[KEYPOINTS] = _to_npy(sample.keypoints_2d)
    return members


def decode_sample(key: str, members: Mapping[str, bytes]) -> Sample:
    """Decode and check the members of a sample; members of other names are ignored.

    Raises:
        DataError: If a member is missing or is not what ``encode_sample`` writes.
    """
    if missing := [name for name in MEMBERS if name not in members]:
        raise DataError(f"{key}: member {missing[0]} is missing")
    poses = _from_npy(key, POSES, members[POSES])
    _check_poses(key, poses)
    keypoints = None
    if KEYPOINTS in members:
        keypoints = _from_npy(key, KEYPOINTS, members[KEYPOINTS])
        _check_keypoints(key, keypoints, len(poses))
    meta = decode_meta(key, members[META])
    spans = _decode_spans(key, _from_json(key, LABELS, members[LABELS]))
    _check_spans(key, spans, len(poses))
    return Sample(key=key, poses_3d=poses, spans=spans, meta=meta, keypoints_2d=keypoints)


def decode_meta(key: str, content: bytes) -> dict[str, Any]:
    """Decode ``meta.json``; the key is named in messages.

    Raises:
        DataError: If it is not a JSON object.
    """
    meta = _from_json(key, META, content)
    if not isinstance(meta, dict):
        raise DataError(f"{key}: {META} must hold an object")
    return meta


def recorded_rotation(key: str, meta: Mapping[str, Any]) -> Float32[np.ndarray, "3 3"]:
    """Rotation from world axes to those of the camera that recorded a clip (x right, y down, z forward).

    Args:
        key: Named in messages.
        meta: The content of the clip's ``meta.json``.

    Raises:
        DataError: If there is no camera, or its rotation is none.
    """
    camera = meta.get("camera")
    if not isinstance(camera, Mapping) or "rotation" not in camera:
        raise DataError(f"{key}: {META} has no camera with a rotation; build the data again")
    try:
        rotation = np.array(camera["rotation"], dtype=np.float64)
    except (TypeError, ValueError):
        rotation = np.zeros(0)
    if (
        rotation.shape != (3, 3)
        or not np.allclose(rotation @ rotation.T, np.eye(3), rtol=0, atol=ROTATION_TOLERANCE)
        or np.linalg.det(rotation) < 0
    ):
        raise DataError(f"{key}: the camera's rotation in {META} is no rotation matrix; build the data again")
    return rotation.astype(np.float32)


def recorded_lens(key: str, meta: Mapping[str, Any]) -> Float32[np.ndarray, "6"]:
    """Lens of the camera that recorded a clip, as ``WindowBatch.lens`` holds it.

    Raises:
        DataError: If ``meta.json`` does not tell its place, focal length and picture size.
    """
    camera = meta.get("camera")
    camera = camera if isinstance(camera, Mapping) else {}
    try:
        width = float(camera["image_size"][0])
        place = [float(value) for value in camera["translation"]]
        focal_length = [float(value) * 2 / width for value in camera["focal_length"]]
        lens = np.array([*place, *focal_length, 2 / width], np.float32)
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        lens = np.zeros(0)
    if lens.shape != (6,) or not np.isfinite(lens).all() or not (lens[3:] > 0).all():
        raise DataError(
            f"{key}: {META} does not tell the camera's translation, focal_length and image_size, which "
            "target.space=image_25d needs; set target.space=camera"
        )
    return lens


def parse_header(key: str, content: bytes, name: str = POSES) -> tuple[tuple[int, int, int], int]:
    """Parse the header of a ``poses_3d.npy`` or ``keypoints_2d.npy``: its shape and the offset of its data.

    Args:
        key: Named in messages.
        content: The member, or at least its first ``NPY_HEADER_BYTES``.
        name: Name of the member, for messages.

    Raises:
        DataError: If it is not a C-ordered little-endian float32 array of T x 17 x 3 with T >= 1.
    """
    stream = io.BytesIO(content[:NPY_HEADER_BYTES])
    try:
        if (version := np.lib.format.read_magic(stream)) != (1, 0):
            raise DataError(f"{key}: {name} has npy version {version}, not (1, 0)")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except DataError:
        raise
    except Exception:  # numpy's parser raises several kinds on damaged headers
        raise DataError(f"{key}: {name} does not begin with an npy header") from None
    if dtype != np.dtype("<f4") or fortran_order:
        raise DataError(
            f"{key}: {name} is {dtype} in {'F' if fortran_order else 'C'} order, not float32 in C"
        )
    if len(shape) != 3 or shape[1:] != (H36M17.num_joints, 3) or shape[0] < 1:
        raise DataError(f"{key}: {name} has shape {shape}, not T x {H36M17.num_joints} x 3")
    return (shape[0], shape[1], shape[2]), stream.tell()


def _check_poses(key: str, poses: np.ndarray) -> None:
    if poses.dtype != np.float32 or poses.ndim != 3 or poses.shape[1:] != (H36M17.num_joints, 3):
        raise DataError(
            f"{key}: poses are {poses.dtype} {poses.shape}, not float32 T x {H36M17.num_joints} x 3"
        )
    if len(poses) == 0:
        raise DataError(f"{key}: no frames")
    if not np.isfinite(poses).all():
        raise DataError(f"{key}: poses hold NaN or infinity")


def _check_keypoints(key: str, keypoints: np.ndarray, num_frames: int) -> None:
    if keypoints.dtype != np.float32 or keypoints.shape != (num_frames, H36M17.num_joints, 3):
        raise DataError(
            f"{key}: keypoints are {keypoints.dtype} {keypoints.shape}, "
            f"not float32 {num_frames} x {H36M17.num_joints} x 3"
        )
    try:
        check_keypoints(keypoints)
    except ValueError as error:
        raise DataError(f"{key}: {error}") from None


def _check_spans(key: str, spans: tuple[Span, ...], num_frames: int) -> None:
    for span in spans:
        if not span.label:
            raise DataError(f"{key}: a label is empty")
        if not 0 <= span.start < span.end <= num_frames:
            raise DataError(
                f"{key}: span {span.start}..{span.end} of {span.label!r} is outside 0..{num_frames}"
            )


def _decode_spans(key: str, content: Any) -> tuple[Span, ...]:
    wrong = DataError(f"{key}: {LABELS} must hold a list of label, start and end")
    if not isinstance(content, list):
        raise wrong
    spans: list[Span] = []
    for item in content:
        if not isinstance(item, dict) or item.keys() != {"label", "start", "end"}:
            raise wrong
        label, start, end = item["label"], item["start"], item["end"]
        if not isinstance(label, str) or type(start) is not int or type(end) is not int:
            raise wrong
        spans.append(Span(label, start, end))
    return tuple(spans)


def _to_npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    values = np.ascontiguousarray(values, dtype="<f4")
    np.lib.format.write_array(stream, values, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _from_npy(key: str, name: str, content: bytes) -> np.ndarray:
    shape, data_offset = parse_header(key, content, name)
    data = content[data_offset:]
    if len(data) != int(np.prod(shape)) * 4:
        raise DataError(f"{key}: {name} has {len(data)} bytes of data for {shape[0]} frames")
    return np.frombuffer(data, dtype="<f4").reshape(shape)


def _to_json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()


def _from_json(key: str, name: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise DataError(f"{key}: {name} is not JSON") from None
