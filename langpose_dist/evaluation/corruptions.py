"""Corruptions of 2D input, the same for every model: draws depend on the clip and the level alone.

Coordinates are those of ``langpose_dist.keypoints``: half image widths, clipped to its largest coordinate,
so whatever comes out keeps the contract if the input does. A pixel is one of a picture 1000 px wide. A joint
that is missing in the input (confidence 0) stays missing and does not count as corrupted.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from langpose_dist.evaluation.corruption_table import VERSION, Corruption, Level
from langpose_dist.keypoints import MAX_COORDINATE
from langpose_dist.skeleton import H36M17

PX = 2 / 1000
"""Half image widths per pixel."""
HALF_CONFIDENCE_PX = 25.0
"""Error at which a told confidence is halved: 0.1 m, as our synthetic detector's, of a person 5 m away from
Human3.6M's cameras."""
JUMP_PX = (150.0, 350.0)
"""Distance to another person's joint: 0.65 to 1.5 m beside, at the same distance from the camera."""

Keypoints = Float[np.ndarray, "T 17 3"]
Mask = Bool[np.ndarray, "T 17"]
Encoding = Literal["zero", "hold", "interp"]
_Change = Callable[[np.random.Generator, Any, Any], tuple[Any, Any]]


def corrupt(
    corruption: Corruption, level: Level, keypoints_2d: Float32[np.ndarray, "T 17 3"], key: str
) -> tuple[Float32[np.ndarray, "T 17 3"], Bool[np.ndarray, "T 17"]]:
    """Corrupt the 2D joints of a clip.

    Args:
        corruption: Row of the table.
        level: One of its levels, or its clean level.
        keypoints_2d: x and y in half image widths, confidence; left as it is.
        key: The clip's key, from which the draws follow. Variants of one name share them, so that ``told``
            adds the very errors that ``blind`` adds.

    Returns:
        Corrupted joints, and which of them are; the others have the very values of the input.

    Raises:
        ValueError: If the corruption has no such level.
    """
    if level == corruption.clean_level:
        return keypoints_2d.copy(), np.zeros(keypoints_2d.shape[:2], dtype=bool)
    if level not in corruption.levels:
        known = ", ".join(map(str, corruption.levels))
        raise ValueError(f"{corruption.key} has no level {level!r}; choose one of {known}")
    rng = _generator(corruption.name, level, key)
    changed, mask = _CHANGES[corruption.key](rng, level, keypoints_2d.astype(np.float64))
    mask &= keypoints_2d[..., 2] > 0
    changed[..., :2] = changed[..., :2].clip(-MAX_COORDINATE, MAX_COORDINATE)
    return np.where(mask[..., None], changed.astype(np.float32), keypoints_2d), mask


def _generator(name: str, level: Level, key: str) -> np.random.Generator:
    """Counter-based draws of one clip.

    Source:
        Philox, Salmon et al., SC 2011.
    """
    text = json.dumps([VERSION, name, level if isinstance(level, str) else float(level), key])
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8")))


def _add_noise(
    rng: np.random.Generator, sigma: int, keypoints: Keypoints, *, is_told: bool
) -> tuple[Keypoints, Mask]:
    error = rng.normal(0.0, sigma, (*keypoints.shape[:2], 2))
    changed = keypoints.copy()
    changed[..., :2] += PX * error
    if is_told:
        changed[..., 2] *= HALF_CONFIDENCE_PX / (HALF_CONFIDENCE_PX + np.linalg.norm(error, axis=-1))
    return changed, np.ones(keypoints.shape[:2], dtype=bool)


def _drop_joints(
    rng: np.random.Generator, share: float, keypoints: Keypoints, *, encoding: Encoding
) -> tuple[Keypoints, Mask]:
    mask = rng.random(keypoints.shape[:2]) < share
    return _hide(keypoints, mask, encoding), mask


def _drop_frames(rng: np.random.Generator, share: float, keypoints: Keypoints) -> tuple[Keypoints, Mask]:
    return _hide_frames(keypoints, rng.random(len(keypoints)) < share, "zero")


def _drop_block(rng: np.random.Generator, length: int, keypoints: Keypoints) -> tuple[Keypoints, Mask]:
    """A gap in the middle; of a clip that is not longer, all but its first and last frame."""
    num_frames = len(keypoints)
    length = min(length, max(num_frames - 2, 0))
    start = (num_frames - length) // 2
    frames = np.arange(num_frames)
    return _hide_frames(keypoints, (frames >= start) & (frames < start + length), "zero")


def _hide_limb(rng: np.random.Generator, limb: str, keypoints: Keypoints) -> tuple[Keypoints, Mask]:
    mask = np.zeros(keypoints.shape[:2], dtype=bool)
    mask[:, _joints_of(limb)] = True
    return _hide(keypoints, mask, "zero"), mask


def _swap_legs(rng: np.random.Generator, length: int, keypoints: Keypoints) -> tuple[Keypoints, Mask]:
    frames = _draw_block(rng, length, len(keypoints))
    changed, mask = keypoints.copy(), np.zeros(keypoints.shape[:2], dtype=bool)
    legs = [*_joints_of("right_leg"), *_joints_of("left_leg")]
    changed[frames] = keypoints[frames][:, list(H36M17.mirror)]
    mask[frames, legs] = True
    return changed, mask


def _displace_joint(rng: np.random.Generator, length: int, keypoints: Keypoints) -> tuple[Keypoints, Mask]:
    frames = _draw_block(rng, length, len(keypoints))
    joint = rng.integers(H36M17.num_joints)
    distance = rng.choice((-1, 1)) * rng.uniform(*JUMP_PX)
    changed, mask = keypoints.copy(), np.zeros(keypoints.shape[:2], dtype=bool)
    changed[frames, joint, 0] += PX * distance
    mask[frames, joint] = True
    return changed, mask


def _slow_down(
    rng: np.random.Generator, every: int, keypoints: Keypoints, *, encoding: Encoding
) -> tuple[Keypoints, Mask]:
    return _hide_frames(keypoints, np.arange(len(keypoints)) % every != 0, encoding)


_CHANGES: Mapping[str, _Change] = {
    "noise_px/blind": partial(_add_noise, is_told=False),
    "noise_px/told": partial(_add_noise, is_told=True),
    "drop_joints/zero": partial(_drop_joints, encoding="zero"),
    "drop_joints/hold": partial(_drop_joints, encoding="hold"),
    "drop_joints/interp": partial(_drop_joints, encoding="interp"),
    "drop_frames/random": _drop_frames,
    "drop_frames/gap": _drop_block,
    "hide_limb/zero": _hide_limb,
    "swap_lr/legs": _swap_legs,
    "swap_lr/jump": _displace_joint,
    "low_fps/repeat": partial(_slow_down, encoding="hold"),
    "low_fps/interp": partial(_slow_down, encoding="interp"),
}
"""Key of a row -> function of draws, level and joints that gives changed joints and where they count."""


def _joints_of(limb: str) -> list[int]:
    parts = H36M17.body_parts
    names = ("pelvis", *parts["right_leg"], *parts["left_leg"]) if limb == "lower_body" else parts[limb]
    return [H36M17.index(name) for name in names]


def _draw_block(rng: np.random.Generator, length: int, num_frames: int) -> slice:
    """Frames of a block, somewhere in the clip; a clip that is not longer is one block."""
    length = min(length, num_frames)
    start = int(rng.integers(num_frames - length + 1))
    return slice(start, start + length)


def _hide_frames(
    keypoints: Keypoints, hidden: Bool[np.ndarray, "T"], encoding: Encoding
) -> tuple[Keypoints, Mask]:
    mask = np.repeat(hidden[:, None], keypoints.shape[1], axis=1)
    return _hide(keypoints, mask, encoding), mask


def _hide(keypoints: Keypoints, hidden: Mask, encoding: Encoding) -> Keypoints:
    """Joints whose hidden values are filled in; a joint that is never seen has zeros."""
    filled = np.where(hidden[..., None], 0.0, keypoints)
    if encoding == "zero":
        return filled
    fill = _hold if encoding == "hold" else _interpolate
    seen = ~hidden & (keypoints[..., 2] > 0)
    for joint in range(keypoints.shape[1]):
        moments = np.flatnonzero(seen[:, joint])
        if len(moments):
            filled[:, joint] = fill(keypoints[moments, joint], moments, len(keypoints))
    return filled


def _hold(values: Float[np.ndarray, "N 3"], moments: np.ndarray, num_frames: int) -> Float[np.ndarray, "T 3"]:
    """The last value before each frame; before the first value, the first."""
    last = np.searchsorted(moments, np.arange(num_frames), side="right") - 1
    return values[last.clip(0)]


def _interpolate(
    values: Float[np.ndarray, "N 3"], moments: np.ndarray, num_frames: int
) -> Float[np.ndarray, "T 3"]:
    """Straight lines between values; before the first and after the last one, those."""
    return np.stack([np.interp(np.arange(num_frames), moments, axis) for axis in values.T], axis=-1)
