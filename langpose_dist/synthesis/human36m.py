"""Writes procedural motion as Human3.6M, in the forms that MotionBERT and VideoPose3D prepared.

Both forms hold the same recordings: S1, S5, S6, S7 and S8 for training, S9 and S11 for testing, 15 actions,
two takes of each, 50 Hz, seen by the data set's four cameras. What is awkward about the real files is there
on purpose, and ``synthesis.json`` lists it.
"""

import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.datasets.human36m import motionbert, videopose3d
from langpose_dist.datasets.human36m.cameras import CAMERAS, SUBJECTS, Camera, find_camera
from langpose_dist.datasets.human36m.facts import ACTIONS, FRAME_RATE, pixels_per_mm
from langpose_dist.host.atomic import write_bytes
from langpose_dist.skeleton import H36M17
from langpose_dist.synthesis.detector import CPN, STACKED_HOURGLASS, Detector
from langpose_dist.synthesis.folder import (
    check_frames,
    check_subjects,
    new_folder,
    write_description,
)
from langpose_dist.synthesis.motion import ease
from langpose_dist.synthesis.performer import WALK, Performer, generator

PICKLE = "h36m_sh_conf_cam_source_final.pkl"

DEFAULT_SUBJECTS = ("S1", "S9", "S11")
DEFAULT_FRAMES = 160

TAKES = (1, 2)

# fmt: off
SCRIPTS: Mapping[int, tuple[str, ...]] = {
    2: ("point with left hand", "point with right hand", "turn left", "turn right", "wave right hand"),
    3: ("shrug", "raise left arm", "raise right arm", "nod", "point with right hand", "stand"),
    4: ("stand", "drink with right hand", "drink with left hand", "nod"),
    5: ("wave left hand", "wave right hand", "bow", "clap"),
    6: ("stand", "drink with left hand", "look around", "turn left", "lean left"),
    7: ("hands on hips", "twist torso", "lean left", "lean right", "stretch arms"),
    8: ("pick up with left hand", "pick up with right hand", "bend down", "stand"),
    9: ("sit down", "sit", "look around", "nod"),
    10: ("sit down", "sit", "stand up", "kneel on left knee"),
    11: ("stand", "drink with right hand", "look around", "lean right"),
    12: ("squat", "raise both arms", "point with left hand", "stand"),
    13: ("stand", "look around", "stretch arms", "lean left"),
    14: (WALK,),
    15: (WALK, "bend down"),
    16: (WALK, "look around"),
}
# fmt: on
"""Number of an action -> labels of the procedural actions that it is made of."""

_SPECIAL_LENGTHS: Mapping[tuple[str, int, int], tuple[int, str]] = {
    ("S1", 2, 1): (250, "one window of 243 frames and a tail of 7"),
    ("S1", 3, 1): (324, "two windows of 243 frames, 81 apart, and no tail"),
    ("S9", 2, 1): (243, "exactly one window of 243 frames"),
    ("S9", 2, 2): (100, "shorter than a window of 243 frames"),
    ("S9", 3, 1): (486, "exactly two windows of 243 frames"),
    ("S9", 4, 1): (500, "two windows of 243 frames and a tail of 14"),
    ("S11", 14, 1): (242, "one frame shorter than a window of 243 frames"),
    ("S11", 16, 2): (90, "shorter than a window of 243 frames, and the last of all"),
}
"""(subject, action, take) -> frames, whatever the usual length, and why."""

_SITTING = 9
_EXTRA_FRAMES = 5
"""Frames for which the videos of sitting go on after the 3D has ended."""

_LACKING_VIDEO = ("S11", "Directions")
"""Recording whose first video VideoPose3D's files lack."""

_DRIFT_M = 0.35
"""Distance by which a drifting recording's 3D is off at its end."""

_SYMMETRY = [
    [H36M17.index(joint) for joint in H36M17.joints if joint.startswith(side)] for side in ("left_", "right_")
]

_OF_32 = np.searchsorted(videopose3d.JOINTS, np.arange(32), side="right") - 1
_OF_32[[11, 16, 24]] = 0, 8, 8  # doubles of the pelvis and the thorax
"""The joint of the 17 that stands for each of the 32: ends of limbs, fingers, toes and doubles included."""


@dataclass(frozen=True)
class Plan:
    """One recording before it is made."""

    subject: str
    action: int
    """The data set's number."""
    take: int
    num_frames: int
    num_extra_frames: int = 0
    """Frames that the videos have more than the 3D."""
    notes: tuple[str, ...] = ()
    """Awkward properties of the recording, for a person."""

    @property
    def is_test(self) -> bool:
        """True for the subjects that are held out."""
        return self.subject in videopose3d.TEST_SUBJECTS

    @property
    def name(self) -> str:
        """VideoPose3D's name of the recording: the first take is ``Walking 1``, the second ``Walking``.

        S9's of sitting down are named the other way round, or it would not be ``SittingDown 1`` that drifts.
        """
        name = ACTIONS[self.action][0]
        is_plain = self.take == (1 if (self.subject, name) == ("S9", "SittingDown") else 2)
        return name if is_plain else f"{name} 1"

    @property
    def recording(self) -> str:
        """MotionBERT's name of a test recording; of a training one, with the take, which its name lacks."""
        return f"s_{int(self.subject[1:]):02}_act_{self.action:02}_subact_{self.take:02}"

    @property
    def drifts(self) -> bool:
        """True for the three recordings whose 3D moves away from the person."""
        return self.recording in motionbert.DRIFTING_RECORDINGS

    @property
    def num_videos(self) -> int:
        """Videos that VideoPose3D's files have of it."""
        return len(CAMERAS) - ((self.subject, self.name) == _LACKING_VIDEO)

    def source(self, camera: Camera) -> str:
        """MotionBERT's name of a camera's rows."""
        number = f"{CAMERAS.index(camera.name) + 1:02}"
        if self.is_test:
            return f"{self.recording}_ca_{number}"
        return f"{self.recording.rpartition('_subact')[0]}_cam_{number}"

    def describe(self) -> dict[str, Any]:
        """Row of ``synthesis.json``."""
        return {
            **asdict(self),
            "motionbert": self.recording,
            "videopose3d": self.name,
            "num_videos": self.num_videos,
            "drifts": self.drifts,
        }


@dataclass(frozen=True)
class Recording:
    """A recording that was made."""

    plan: Plan
    seed: int
    seen: Float64[np.ndarray, "S 17 3"]
    """The person in the videos, which may last longer than the 3D; world, metres."""

    @cached_property
    def poses(self) -> Float64[np.ndarray, "T 17 3"]:
        """The 3D, world, metres."""
        poses = self.seen[: self.plan.num_frames]
        if not self.plan.drifts:
            return poses
        share = ease(np.linspace(0.0, 1.0, len(poses)))
        return poses + share[:, None, None] * _DRIFT_M * np.array([0.8, 0.6, 0.0])

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """All four."""
        return tuple(find_camera(self.plan.subject, name) for name in CAMERAS)

    def detect(
        self, camera: Camera, detector: Detector, number: int
    ) -> tuple[Float64[np.ndarray, "S 17 2"], Float64[np.ndarray, "S 17"]]:
        """Pixels and confidences in a camera's video; detectors of other numbers draw other errors."""
        key = _key(self.seed, self.plan)
        rng = generator(*key, 1 + number, CAMERAS.index(camera.name))
        return detector.detect(camera.project(camera.to_camera(self.seen), with_lens=True), rng)


def write_human36m(
    out: Path,
    *,
    seed: int = 0,
    subjects: Sequence[str] = DEFAULT_SUBJECTS,
    frames: int = DEFAULT_FRAMES,
    progress: Callable[[Sequence[Plan]], Iterable[Plan]] = iter,
) -> dict[str, Any]:
    """Write MotionBERT's pickle, VideoPose3D's three npz files and ``synthesis.json``.

    Args:
        out: New or empty.
        seed: The same seed, subjects and frames give the same bytes.
        subjects: Some of the data set's.
        frames: Usual length of a recording.
        progress: Passes the recordings on as they are made.

    Returns:
        Content of ``synthesis.json``; ``recordings`` lists each one with what is awkward about it.

    Raises:
        DataError: If the folder holds something or cannot be written, or a subject or number makes no sense.
    """
    plans = plan_recordings(subjects, frames)
    with new_folder(out):
        tables: dict[str, dict[str, list[Any]]] = {part: defaultdict(list) for part in motionbert.PARTS}
        positions: dict[str, dict[str, Any]] = defaultdict(dict)
        truth: dict[str, dict[str, list[Any]]] = defaultdict(dict)
        detections: dict[str, dict[str, list[Any]]] = defaultdict(dict)
        for plan in progress(plans):
            recording = _make(plan, seed)
            add_rows(tables["test" if plan.is_test else "train"], recording)
            positions[plan.subject][plan.name] = recording.poses[:, _OF_32].astype(np.float32)
            truth[plan.subject][plan.name] = _views_of_truth(recording)
            detections[plan.subject][plan.name] = _views_of_detections(recording)
        content = {part: _to_columns(table) for part, table in tables.items()}
        write_bytes(out / PICKLE, pickle.dumps(content, protocol=4))
        np.savez_compressed(out / videopose3d.POSITIONS, positions_3d=np.array(dict(positions)))
        for name, views in (("gt", truth), ("cpn_ft_h36m_dbb", detections)):
            metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": _SYMMETRY}
            path = out / f"{videopose3d.DETECTIONS}{name}.npz"
            np.savez_compressed(path, positions_2d=np.array(dict(views)), metadata=np.array(metadata))
        return write_description(
            out,
            {
                "layout": "human36m",
                "seed": seed,
                "subjects": list(subjects),
                "frames": frames,
                "num_recordings": len(plans),
                "num_frames": sum(plan.num_frames for plan in plans),
                "recordings": [plan.describe() for plan in plans],
            },
        )


def plan_recordings(subjects: Sequence[str], frames: int) -> list[Plan]:
    """Recordings in the order of the files: by subject, action and take.

    The first take of the n-th action, n from 0 to 14, lasts ``n / 20`` longer than usual, the second
    ``n / 40`` shorter, but for those of a special length.

    Raises:
        DataError: If a subject is unknown or named twice, or recordings would be too short.
    """
    check_subjects(subjects, SUBJECTS)
    check_frames(frames)
    return [
        _plan(subject, place, action, take, frames)
        for subject in SUBJECTS
        if subject in subjects
        for place, action in enumerate(ACTIONS)
        for take in TAKES
    ]


def _plan(subject: str, place: int, action: int, take: int, frames: int) -> Plan:
    usual = frames + frames * place // 20 if take == 1 else frames - frames * place // 40
    num_frames, note = _SPECIAL_LENGTHS.get((subject, action, take), (usual, ""))
    extra = _EXTRA_FRAMES if action == _SITTING else 0
    plan = Plan(subject, action, take, num_frames, extra)
    notes = [note] if note else []
    if extra:
        notes.append(f"VideoPose3D's detections go on for {extra} frames after the 3D")
    if plan.drifts:
        notes.append("the 3D drifts away from the person in the videos")
    if plan.num_videos < len(CAMERAS):
        notes.append(f"VideoPose3D's files have {plan.num_videos} of its videos")
    return replace(plan, notes=tuple(notes))


def _make(plan: Plan, seed: int) -> Recording:
    performer = Performer.draw(generator(seed, 36, SUBJECTS.index(plan.subject)))
    seen = performer.act(
        SCRIPTS[plan.action],
        generator(*_key(seed, plan)),
        fps=FRAME_RATE,
        num_frames=plan.num_frames + plan.num_extra_frames,
    )
    return Recording(plan, seed, seen)


def _key(seed: int, plan: Plan) -> tuple[int, ...]:
    return (seed, 36, SUBJECTS.index(plan.subject), plan.action, plan.take)


def add_rows(table: dict[str, list[Any]], recording: Recording) -> None:
    """Append a recording's rows to MotionBERT's table, camera after camera."""
    plan = recording.plan
    for camera in recording.cameras:
        image, factor = _film(recording.poses, camera)
        pixels, confidence = recording.detect(camera, STACKED_HOURGLASS, 0)
        table["joint_2d"].append(pixels[: plan.num_frames].astype(np.float32))
        table["confidence"].append(confidence[: plan.num_frames, :, None].astype(np.float32))
        table["joint3d_image"].append(image.astype(np.float32))
        if plan.is_test:
            table["joints_2.5d_image"].append((image * factor[:, None, None]).astype(np.float32))
            table["2.5d_factor"].append(factor)
        table["camera_name"] += [camera.name] * plan.num_frames
        table["action"] += [ACTIONS[plan.action][0]] * plan.num_frames
        table["source"] += [plan.source(camera)] * plan.num_frames


def _film(
    poses: Float64[np.ndarray, "T 17 3"], camera: Camera
) -> tuple[Float64[np.ndarray, "T 17 3"], Float64[np.ndarray, "T"]]:
    """``joint3d_image``, pixels without the lens and depth from the pelvis, and millimetres per pixel."""
    points = camera.to_camera(poses)
    factor = 1 / pixels_per_mm(points[:, 0, 2] * 1000, camera.focal_length[0])
    depth = (points[..., 2] - points[:, :1, 2]) * 1000 / factor[:, None]
    return np.concatenate((camera.project(points), depth[..., None]), axis=-1), factor


def _to_columns(table: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Blocks of rows as one array each, also where there are none; texts as they are."""
    shapes = {"joint_2d": (17, 2), "confidence": (17, 1), "joint3d_image": (17, 3)}
    columns: dict[str, Any] = {name: np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}
    columns |= {name: [] for name in ("camera_name", "action", "source")}
    for name, values in table.items():
        columns[name] = np.concatenate(values) if isinstance(values[0], np.ndarray) else values
    return columns


def _views_of_truth(recording: Recording) -> list[np.ndarray]:
    """The projected 3D, as the lenses bend it."""
    views = [
        camera.project(camera.to_camera(recording.poses), with_lens=True).astype(np.float32)
        for camera in recording.cameras
    ]
    return views[-recording.plan.num_videos :]


def _views_of_detections(recording: Recording) -> list[np.ndarray]:
    views = [recording.detect(camera, CPN, 1)[0].astype(np.float32) for camera in recording.cameras]
    return views[-recording.plan.num_videos :]
