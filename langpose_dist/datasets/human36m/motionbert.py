"""Human3.6M as MotionBERT's ``h36m_sh_conf_cam_source_final.pkl``: Stacked Hourglass keypoints, 3D as 2.5D.

It holds ``train`` and ``test``, each a table with one row per frame and camera: ``joint_2d`` in pixels,
``confidence``, ``joint3d_image`` (x, y: pixels, projected without distortion; z: pixels from the pelvis),
``camera_name``, ``source`` and, for testing only, ``2.5d_factor``, millimetres per pixel. A clip is a run of
rows with one source: ``s_09_act_05_subact_02_ca_01``, or ``s_01_act_05_cam_01`` for training, which comes
once for each of the two takes.

The pelvis's distance is lost in one image, but four cameras saw it: their rays meet in it, which gives back
the distance and with it the pose in metres, in the world. That the rays do meet tells that cameras and
frames belong together; a clip where they do not is given up.
"""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample, make_key
from langpose_dist.datasets.arrays import take_frames
from langpose_dist.datasets.clip import FileClip, Found
from langpose_dist.datasets.files import version_of
from langpose_dist.datasets.human36m.cameras import CAMERAS, SUBJECTS, Camera, find_camera
from langpose_dist.datasets.human36m.facts import (
    ACTIONS,
    DRIFTING,
    make_sample,
    pixels_per_mm,
)
from langpose_dist.datasets.pickles import load_pickle
from langpose_dist.datasets.splits import RECORDING

TOLERANCE = 0.02
"""Metres by which the rays of cameras may miss each other."""

PARTS = ("train", "test")

DRIFTING_RECORDINGS = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")

_SOURCE = re.compile(r"(?P<recording>s_(\d+)_act_(\d+)(?:_subact_(\d+))?)_cam?_(\d+)")


@dataclass(frozen=True)
class View:
    """Rows of one camera's clip."""

    camera: str
    start: int
    stop: int

    def rows(self, num_frames: int) -> slice:
        """Those of its first frames."""
        return slice(self.start, self.start + num_frames)


@dataclass(frozen=True, kw_only=True)
class MotionBertPickleClip(FileClip):
    """One camera's view of a recording."""

    split: str
    subject: str
    view: View
    others: tuple[View, ...]
    """The other cameras' views of the same frames."""

    def read(self) -> Sample:
        """Take it out of its file, which is read once per process.

        Raises:
            DataError: If the file changed, the arrays are not what the layout says, or the cameras
                contradict each other.
        """
        table = _read(self.path)[self.split]
        num_frames = self.view.stop - self.view.start
        rows = self.view.rows(num_frames)
        image = take_frames(table["joint3d_image"][rows][..., :3], "joint3d_image", (17, 3))
        camera = find_camera(self.subject, self.view.camera)
        factor = (
            take_frames(table["2.5d_factor"][rows], "2.5d_factor", ()) if "2.5d_factor" in table else None
        )
        left_out: tuple[str, ...] = ()
        if self.others:
            shared = min(view.stop - view.start for view in self.others)
            if shared < num_frames:
                left_out = (f"frames that no other camera has: {num_frames - shared} at the end",)
            rows, image = self.view.rows(min(shared, num_frames)), image[:shared]
            factor = factor[:shared] if factor is not None else None
            depth = self._triangulate(table, camera, image)
        elif factor is not None:
            with np.errstate(divide="ignore"):  # a wrong factor is refused below
                depth = camera.focal_length[0] / (1 / factor - 1 / 2000)
        else:
            raise DataError("no distance from the camera: neither 2.5d_factor nor another camera's view")
        with np.errstate(divide="ignore"):
            scale = pixels_per_mm(depth, camera.focal_length[0]) if factor is None else 1 / factor
        if not all(np.isfinite(values).all() and (values > 0).all() for values in (scale, depth)):
            raise DataError("no distance from the camera: the pelvis is behind it, or 2.5d_factor is not one")
        depths = depth[:, None] + (image[..., 2] - image[:, :1, 2]) / scale[:, None]
        poses = camera.to_world(camera.rays(image[..., :2]) * depths[..., None] / 1000)
        meta = {
            **self.fields,
            "source": self.source,
            "keypoints_2d": keypoints_name(self.path, "confidence" in table),
            "distance_from": "views of other cameras" if self.others else "2.5d_factor",
        }
        sample = make_sample(
            self.key,
            poses,
            label=self.fields["action"],
            fps=self.fps,
            meta=meta,
            camera=camera,
            keypoints=_keypoints(table, rows),
        )
        return replace(sample, left_out=left_out)

    def _triangulate(
        self, table: Mapping[str, Any], camera: Camera, image: Float64[np.ndarray, "T 17 3"]
    ) -> Float64[np.ndarray, "T"]:
        """Depth of the pelvis, millimetres."""
        origins = [camera.translation]
        pixels = [image[:, 0, :2]]
        cameras = [camera]
        for view in self.others:
            cameras.append(find_camera(self.subject, view.camera))
            origins.append(cameras[-1].translation)
            rows = table["joint3d_image"][view.rows(len(image)), 0]
            pixels.append(take_frames(rows[:, :2], "joint3d_image", (2,)))
        directions = [one.rays(xy) @ one.rotation for one, xy in zip(cameras, pixels, strict=True)]
        points, miss = meet(np.array(origins), np.stack(directions, axis=1))
        if miss.max() > TOLERANCE:
            raise DataError(
                "cameras contradict each other: their rays to the pelvis miss by up to "
                f"{miss.max() * 1000:.0f} mm"
            )
        return camera.to_camera(points)[:, 2] * 1000


def keypoints_name(path: Path, has_confidence: bool) -> str:
    """Origin of the 2D joints, by the name of MotionBERT's file: ``h36m_sh_conf_cam_source_final.pkl``."""
    detector = "stacked hourglass" if "_sh_" in path.name else "CPN" if "_cpn_" in path.name else path.stem
    return detector if has_confidence else f"{detector}, without confidences"


def find_pickle_clips(path: Path, *, fps: float) -> Found[MotionBertPickleClip]:
    """Clips in the order of the file, those for training first.

    Args:
        path: The pickle.
        fps: Frame rate that the clips will have.

    Raises:
        DataError: If it has another layout.
    """
    content = _read(path)
    clips: dict[str, MotionBertPickleClip] = {}
    skipped: list[Skipped] = []
    for part in PARTS:
        views: dict[tuple[str, int], list[MotionBertPickleClip]] = defaultdict(list)
        occurrences: Counter[str] = Counter()
        for name, start, stop in _runs(content[part]["source"]):
            occurrences[name] += 1
            source = f"{path.name}#{part}/{name}" + (f"/{occurrences[name]}" if occurrences[name] > 1 else "")
            try:
                clip, recording = _make_clip(
                    path,
                    source,
                    part,
                    name,
                    occurrences[name],
                    _camera_names(content[part], start, stop),
                    fps,
                )
            except DataError as error:
                skipped.append(Skipped(source=source, reason=str(error)))
                continue
            views[recording].append(replace(clip, view=replace(clip.view, start=start, stop=stop)))
        for together in views.values():
            for clip in together:
                if clip.key in clips:
                    first = clips[clip.key].source
                    skipped.append(Skipped(source=clip.source, reason=f"duplicate clip: same as {first}"))
                    continue
                clips[clip.key] = replace(clip, others=_others(clip.view, together))
    return Found(tuple(clips.values()), tuple(skipped))


def _make_clip(
    path: Path, source: str, part: str, name: str, occurrence: int, cameras: set[str], fps: float
) -> tuple[MotionBertPickleClip, tuple[str, int]]:
    """A clip without its rows, and the recording that it is a view of."""
    match = _SOURCE.fullmatch(name)
    if match is None:
        raise DataError(f"unknown name: {name!r} is not like 's_09_act_05_subact_02_ca_01'")
    recording, subject, action, take_number, slot = match.groups()
    subject = f"S{int(subject)}"
    if subject not in SUBJECTS or int(action) not in ACTIONS or not 1 <= int(slot) <= len(CAMERAS):
        raise DataError(f"unknown name: {name!r} has a subject, action or camera that Human3.6M has not")
    # Rows of one clip may name several cameras, by mistake; the number in the source is right then.
    camera = cameras.pop() if len(cameras) == 1 else CAMERAS[int(slot) - 1]
    if camera not in CAMERAS:
        raise DataError(f"unknown camera: {camera!r} is none of {', '.join(CAMERAS)}")
    label = ACTIONS[int(action)][1]
    number = int(take_number) if take_number else occurrence
    fields = {"subject": subject.lower(), "action": label, "take": str(number), "camera": camera}
    fields[RECORDING] = f"{subject.lower()} {label} {number}"
    fields |= DRIFTING if recording in DRIFTING_RECORDINGS else {}
    clip = MotionBertPickleClip(
        path=path,
        source=source,
        key=make_key(f"{subject}_{label}_{number}_{camera}"),
        fields=fields,
        split=part,
        subject=subject,
        view=View(camera, 0, 0),
        others=(),
        fps=fps,
    )
    return clip, (f"{subject}/{action}", number)


def _others(view: View, together: Sequence[MotionBertPickleClip]) -> tuple[View, ...]:
    """Views of other cameras: those at least as long, else the longest; all begin with the same frame."""
    found: dict[str, View] = {}
    for clip in together:
        if clip.view.camera != view.camera:
            found.setdefault(clip.view.camera, clip.view)
    lengths = {camera: other.stop - other.start for camera, other in found.items()}
    needed = min(view.stop - view.start, max(lengths.values(), default=0))
    return tuple(other for camera, other in found.items() if lengths[camera] >= needed)


def meet(
    origins: Float64[np.ndarray, "V 3"], directions: Float64[np.ndarray, "T V 3"]
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T"]]:
    """Points nearest to all rays, by least squares, and how far each is from the ray farthest from it.

    Args:
        origins: Where the rays begin; any unit.
        directions: Where they point; any length.

    Raises:
        DataError: If they are parallel.
    """
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    across = np.eye(3) - unit[..., :, None] * unit[..., None, :]  # drops what lies along the ray
    try:
        points = np.linalg.solve(across.sum(axis=1), (across @ origins[..., None]).sum(axis=1))[..., 0]
    except np.linalg.LinAlgError:
        raise DataError("cameras contradict each other: their rays to the pelvis are parallel") from None
    misses = np.linalg.norm((across @ (points[:, None] - origins)[..., None])[..., 0], axis=-1)
    return points, misses.max(axis=1)


def _runs(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """(name, first row, one past the last) of each run of equal names."""
    start = 0
    for row in range(1, len(names) + 1):
        if row == len(names) or names[row] != names[start]:
            yield str(names[start]), start, row
            start = row


def _camera_names(table: Mapping[str, Any], start: int, stop: int) -> set[str]:
    return {str(name) for name in table["camera_name"][start:stop]} if "camera_name" in table else set()


def _keypoints(table: Mapping[str, Any], rows: slice) -> Float64[np.ndarray, "T 17 3"]:
    """Pixels and confidence; 1 where the file has none."""
    pixels = take_frames(table["joint_2d"][rows][..., :2], "joint_2d", (17, 2))
    if "confidence" not in table:
        return np.concatenate((pixels, np.ones((*pixels.shape[:2], 1))), axis=-1)
    confidence = table["confidence"][rows]
    confidence = take_frames(confidence[..., 0] if confidence.ndim == 3 else confidence, "confidence", (17,))
    return np.concatenate((pixels, confidence[..., None]), axis=-1)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return _read_once(*version_of(path))


@functools.lru_cache(maxsize=1)
def _read_once(path: Path, _size: int, _mtime: int) -> dict[str, dict[str, Any]]:
    content = load_pickle(path)
    tables: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        table = content.get(part) if isinstance(content, dict) else None
        if not isinstance(table, dict):
            raise DataError(
                f"{path} holds no table {part!r}; give MotionBERT's h36m_sh_conf_cam_source_final.pkl"
            )
        tables[part] = _check_table(path, part, table)
    return tables


def _to_column(path: Path, name: str, values: Any) -> Any:
    """Text as a list, which is quickest to go through; numbers as an array."""
    if name.endswith(("source", "camera_name")):
        values = values.tolist() if isinstance(values, np.ndarray) else values
    elif isinstance(values, list):
        try:
            values = np.array(values)
        except ValueError:
            values = None
    if not isinstance(values, list) and not (isinstance(values, np.ndarray) and values.ndim):
        raise DataError(f"{path}: {name} is no column of a table; copy the file again")
    return values


def _check_table(path: Path, part: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that are used, as lists or arrays of one length."""
    columns: dict[str, Any] = {}
    for name in ("joint_2d", "confidence", "joint3d_image", "2.5d_factor", "camera_name", "source"):
        if name in table:
            columns[name] = _to_column(path, f"{part}/{name}", table[name])
            if len(columns[name]) != len(columns["joint_2d"]):
                raise DataError(f"{path}: {part}/{name} has another number of frames; copy the file again")
        elif name in ("joint_2d", "joint3d_image", "source"):
            raise DataError(
                f"{path}: {part} has no {name!r}; give MotionBERT's h36m_sh_conf_cam_source_final.pkl"
            )
    return columns
