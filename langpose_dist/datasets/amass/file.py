"""One motion file of AMASS: the pose parameters of an SMPL+H body."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.pickles import load_npz

NUM_COLUMNS = 156
"""Columns of ``poses``: three components of a rotation vector for each of 52 joints."""

MAX_BETAS = 16

RATES = ("mocap_framerate", "mocap_frame_rate")
"""Names of the frame rate, in earlier and later releases."""

RATE_RANGE = (1.0, 10_000.0)
"""In Hz; a number beyond is not a frame rate."""


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
            usable frame rate, or holds no motion.
    """
    try:
        content = load_npz(path)
        poses, trans = _poses(content), _trans(content)
        if len(poses) != len(trans):
            raise _Wrong(f"different lengths: {len(poses)} frames of poses and {len(trans)} of trans")
        if len(poses) == 0:
            raise _Wrong("no frames: poses is empty")
        return Recording(poses, trans, _betas(content), _text(content, "gender"), _rate(content))
    except _Wrong as error:
        raise DataError(str(error)) from None
    except DataError as error:
        raise DataError(f"unreadable file: {error}") from None


class _Wrong(Exception):
    """A reason as it is shown; what ``load_npz`` says begins with the path instead of a kind."""


def _poses(content: Mapping[str, Any]) -> Float64[np.ndarray, "T 156"]:
    poses = _numbers(content, "poses")
    columns = poses.shape[1] if poses.ndim == 2 else 0
    if columns == 165 or _text(content, "surface_model_type").startswith("smplx"):
        raise _Wrong(f"SMPL-X motion: poses is {poses.shape}; download the subset as SMPL+H G")
    if columns != NUM_COLUMNS:
        raise _Wrong(f"not SMPL+H: poses is {poses.shape}, not frames x {NUM_COLUMNS}")
    return poses


def _trans(content: Mapping[str, Any]) -> Float64[np.ndarray, "T 3"]:
    trans = _numbers(content, "trans")
    if trans.ndim != 2 or trans.shape[1] != 3:
        raise _Wrong(f"wrong shape: trans is {trans.shape}, not frames x 3")
    return trans


def _betas(content: Mapping[str, Any]) -> Float64[np.ndarray, "B"]:
    betas = _numbers(content, "betas")
    if betas.ndim != 1 or not 1 <= len(betas) <= MAX_BETAS:
        raise _Wrong(f"wrong shape: betas is {betas.shape}, not up to {MAX_BETAS} numbers")
    return betas


def _rate(content: Mapping[str, Any]) -> float:
    name = next((name for name in RATES if name in content), None)
    if name is None:
        raise _Wrong(f"no frame rate: neither {RATES[0]} nor {RATES[1]}")
    values = np.asarray(content[name])
    if values.size != 1 or values.dtype.kind not in "iuf":
        raise _Wrong(f"unusable frame rate: {name} is {values.dtype} {values.shape}, not a number")
    low, high = RATE_RANGE
    if not low <= (fps := float(values.reshape(())[()])) <= high:
        raise _Wrong(f"unusable frame rate: {fps:g} Hz is not within {low:g} to {high:g} Hz")
    return fps


def _numbers(content: Mapping[str, Any], name: str) -> Float64[np.ndarray, "..."]:
    if name not in content:
        raise _Wrong(f"no {name}: the file has {', '.join(sorted(content))}")
    values = np.asarray(content[name])
    if values.dtype.kind not in "iuf":
        raise _Wrong(f"no numbers: {name} is {values.dtype}")
    if not np.isfinite(values).all():
        raise _Wrong(f"NaN or infinity: in {name}")
    return values.astype(np.float64)


def _text(content: Mapping[str, Any], name: str) -> str:
    """A word that the releases hold as a string, as bytes or as an object; empty where there is none."""
    if name not in content or (values := np.asarray(content[name])).size != 1:
        return ""
    value = values.reshape(())[()]
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return str(value).strip().lower()
