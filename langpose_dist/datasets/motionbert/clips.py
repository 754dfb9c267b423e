"""MotionBERT's prepared windows: ``MB3D_f243s81/{AMASS,H36M-SH}/{train,test}/00000000.pkl`` and its like.

Each file is one window of 243 frames, already on the common skeleton: ``data_label``, 3D in camera axes (x
right, y down, z forward) without a unit, and ``data_input``, detected 2D with confidences, ``None`` where
there are none, as in AMASS. What the windows no longer tell limits what can be made of them:

- Windows of the train folders overlap (one starts every 81 frames), so frames come up to three times, and a
  share of the windows held out for validation would be seen in training. They do not overlap in test folders.
- A recording shorter than a window was stretched by repeating frames; ``meta["num_repeated_frames"]`` counts
  them. Recordings have no names, and there are no labels.
- AMASS was scaled by a constant, which is undone: these are its metres and its world. Its 60 Hz are nominal:
  every n-th frame of files of any rate was taken, n rounded, so 100 Hz became 50 Hz, and 250 Hz 62.5 Hz.
- Human3.6M became pixels: x and y as projected, z relative to the pelvis, all over half the image's width.
  The metres are estimated frame by frame: the limbs get the length of a nominal person's. The pelvis's
  distance from the camera is lost (its y is 0), and z is up in the image, whatever the camera's tilt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError, Sample, make_key
from langpose_dist.datasets.arrays import take_frames
from langpose_dist.datasets.axes import TO_CAMERA, from_camera_axes
from langpose_dist.datasets.clip import FileClip, Found, make_clips
from langpose_dist.datasets.files import list_input
from langpose_dist.datasets.pickles import load_pickle
from langpose_dist.datasets.splits import to_words
from langpose_dist.datasets.timing import resample
from langpose_dist.skeleton import H36M17

FRAME_RATES: Mapping[str, float] = MappingProxyType({"AMASS": 60.0, "H36M-SH": 50.0})
"""Frames per second of the official folders."""

UNITS_PER_METRE = {"AMASS": 0.298}
"""``scale_factor`` of MotionBERT's ``convert_amass.py``; folders without one have their metres estimated."""

LIMB_LENGTHS = {"knee": 0.443, "ankle": 0.454, "elbow": 0.279, "wrist": 0.252}
"""Metres from a joint's parent to the joint, on either side: thigh, shank, upper arm and forearm of the
skeleton that comes with Human3.6M."""

SMALLEST_PERSON = 1e-6
"""Limbs together, in the files' units; real ones are about 1."""

SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class MotionBertClip(FileClip):
    """One window."""

    windows: str
    units_per_metre: float | None
    original_fps: float

    def read(self) -> Sample:
        """Read the file.

        Raises:
            DataError: If it is no such window.
        """
        content = load_pickle(self.path)
        if not isinstance(content, dict) or "data_label" not in content:
            raise DataError("no window: the file holds no 'data_label'")
        label = take_frames(content["data_label"], "data_label", (H36M17.num_joints, 3))
        if self.units_per_metre is None:
            metres = label * _estimate_metres_per_unit(label)
        else:
            metres = label / self.units_per_metre
        meta = {
            **self.fields,
            "dataset": "motionbert",
            "source": self.source,
            "fps": self.fps,
            "original_fps": self.original_fps,
            "windows": self.windows,
            "overlapping": self.split == "train",
            "num_repeated_frames": int((label[1:] == label[:-1]).all(axis=(1, 2)).sum()),
        }
        if self.units_per_metre is None:
            meta["scale"] = "estimated from bone lengths"
            meta["camera"] = {
                "name": "unknown",
                "rotation": [list(row) for row in TO_CAMERA],
                "translation": [0.0, 0.0, 0.0],
            }
        else:
            meta["scale"] = f"{self.units_per_metre} per metre, undone"
        keypoints = None
        if (detected := content.get("data_input")) is not None:
            detected = take_frames(detected, "data_input", (H36M17.num_joints, 3))
            if len(detected) != len(label):
                raise DataError(f"different lengths: {len(label)} frames in 3D and {len(detected)} in 2D")
            detected[..., 2] = detected[..., 2].clip(0, 1)
            keypoints = resample(detected, self.original_fps, self.fps).astype(np.float32)
        poses = resample(from_camera_axes(metres), self.original_fps, self.fps).astype(np.float32)
        return Sample(self.key, poses, (), meta, keypoints)


def find_clips(folder: Path, *, fps: float) -> Found[MotionBertClip]:
    """Windows below a folder, in the order of their paths.

    Args:
        folder: ``MB3D_f243s81`` or another of its kind, a folder above it, or one of those within it.
        fps: Frame rate that the clips will have.

    Returns:
        Clips, windows in folders of other names with the reason, and the number of other files.

    Raises:
        DataError: If the folder is missing or holds no such window, or those of several preparations.
    """
    folder = folder.resolve()
    files, num_system, broken = list_input(folder)
    paths = [path for path in files if path.suffix == ".pkl"]
    roots = {path.parents[2] for path in paths if len(path.parents) > 2 and path.parent.name in SPLITS}
    if not roots:
        raise DataError(
            f"input folder {folder} has no MotionBERT windows SUBSET/train/*.pkl ({len(paths)} .pkl files "
            "elsewhere); give the folder whose name is like MB3D_f243s81"
        )
    if len(roots) > 1:
        names = ", ".join(sorted(str(root.relative_to(folder)) for root in roots))
        raise DataError(f"input folder {folder} holds the same motions several times: choose one of {names}")

    def make(path: Path, source: str) -> MotionBertClip:
        subset, split = path.parents[1].name, path.parent.name
        if split not in SPLITS:
            raise DataError(f"unknown split: the folder {split!r} is neither train nor test")
        if subset not in FRAME_RATES:
            raise DataError(f"no frame rate: the folder {subset!r} is none of {', '.join(FRAME_RATES)}")
        return MotionBertClip(
            path=path,
            source=source,
            key=make_key(f"{subset}/{split}/{path.stem}"),
            fields={"subset": to_words(subset)},
            split=split,
            windows=path.parents[2].name,
            units_per_metre=UNITS_PER_METRE.get(subset),
            original_fps=FRAME_RATES[subset],
            fps=fps,
        )

    clips, skipped = make_clips(paths, folder, make)
    return Found(tuple(clips), (*broken, *skipped), num_system + len(files) - len(paths))


def _estimate_metres_per_unit(label: Float64[np.ndarray, "T 17 3"]) -> Float64[np.ndarray, "T 1 1"]:
    units = np.zeros(len(label))
    for joint in LIMB_LENGTHS:
        for side in ("left", "right"):
            child = H36M17.index(f"{side}_{joint}")
            parent = next(parent for parent, other in H36M17.bones if other == child)
            units += np.linalg.norm(label[:, child] - label[:, parent], axis=1)
    if units.min() < SMALLEST_PERSON:
        raise DataError(f"no person: frame {int(np.argmin(units))} has all its limbs in one point")
    return (2 * sum(LIMB_LENGTHS.values()) / units)[:, None, None]
