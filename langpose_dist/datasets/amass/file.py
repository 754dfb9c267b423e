"""One motion file of AMASS: the pose parameters of an SMPL+H body."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.pickles import load_npz
from langpose_dist.datasets.timing import SAME_RATE, check_rate

NUM_COLUMNS = 156
"""Columns of ``poses``: three components of a rotation vector for each of 52 joints."""

MAX_BETAS = 16

RATES = ("mocap_framerate", "mocap_frame_rate")
"""Names of the frame rate, in earlier and later releases."""


@dataclass(frozen=True)
class Recording:
    """Content of a file, checked."""

    poses: Float64[np.ndarray, "T 156"]
    """Rotation vectors, radians; the hands' without the mean hand taken off."""
    trans: Float64[np.ndarray, "T 3"]
    """Metres, z up."""
    betas: Float64[np.ndarray, "B"]
    """Shape of the body, at most 16 numbers."""
    gender: str
    """In lower case; empty where the file does not say."""
    fps: float


def read_recording(path: Path) -> Recording:
    """Read an npz file of an SMPL+H release; nothing in it can run.

    Raises:
        DataError: With what is wrong, a kind before the colon: it is damaged, of another body model, has no
            frame rate or two, or holds no motion.
    """
    content = load_npz(path)
    poses, trans = _poses(content), _trans(content)
    if len(poses) != len(trans):
        raise DataError(f"different lengths: {len(poses)} frames of poses and {len(trans)} of trans")
    if len(poses) == 0:
        raise DataError("no frames: poses is empty")
    return Recording(poses, trans, _betas(content), _text(content, "gender"), _rate(content))


def _poses(content: Mapping[str, Any]) -> Float64[np.ndarray, "T 156"]:
    poses = _numbers(content, "poses")
    columns = poses.shape[1] if poses.ndim == 2 else 0
    if columns == 165 or _text(content, "surface_model_type").startswith("smplx"):
        raise DataError(f"SMPL-X motion: poses is {poses.shape}; download the subset as SMPL+H G")
    if columns != NUM_COLUMNS:
        raise DataError(f"not SMPL+H: poses is {poses.shape}, not frames x {NUM_COLUMNS}")
    return poses


def _trans(content: Mapping[str, Any]) -> Float64[np.ndarray, "T 3"]:
    trans = _numbers(content, "trans")
    if trans.ndim != 2 or trans.shape[1] != 3:
        raise DataError(f"wrong shape: trans is {trans.shape}, not frames x 3")
    return trans


def _betas(content: Mapping[str, Any]) -> Float64[np.ndarray, "B"]:
    betas = _numbers(content, "betas")
    if betas.ndim != 1 or not 1 <= len(betas) <= MAX_BETAS:
        raise DataError(f"wrong shape: betas is {betas.shape}, not up to {MAX_BETAS} numbers")
    return betas


def _rate(content: Mapping[str, Any]) -> float:
    rates = [_one_rate(name, content[name]) for name in RATES if name in content]
    if not rates:
        raise DataError(f"no frame rate: neither {RATES[0]} nor {RATES[1]}")
    if abs(rates[-1] / rates[0] - 1) > SAME_RATE:
        raise DataError(f"contradicting frame rates: {RATES[0]} is {rates[0]:g}, {RATES[1]} is {rates[1]:g}")
    return rates[0]


def _one_rate(name: str, value: Any) -> float:
    values = np.asarray(value)
    if values.size != 1 or values.dtype.kind not in "iuf":
        raise DataError(f"unusable frame rate: {name} is {values.dtype} {values.shape}, not a number")
    return check_rate(float(values.reshape(())[()]))


def _numbers(content: Mapping[str, Any], name: str) -> Float64[np.ndarray, "..."]:
    if name not in content:
        raise DataError(f"no {name}: the file has {', '.join(sorted(content))}")
    values = np.asarray(content[name])
    if values.dtype.kind not in "iuf":
        raise DataError(f"no numbers: {name} is {values.dtype}")
    if not np.isfinite(values).all():
        raise DataError(f"NaN or infinity: in {name}")
    return values.astype(np.float64)


def _text(content: Mapping[str, Any], name: str) -> str:
    """A word that the releases hold as a string, as bytes or as an object; empty where there is none."""
    if name not in content or (values := np.asarray(content[name])).size != 1:
        return ""
    value = values.reshape(())[()]
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return str(value).strip().lower()
