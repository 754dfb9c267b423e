"""MMD between two data sets, action by action."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from langpose_dist.analysis.clips import Clip, ClipSet
from langpose_dist.analysis.features import FEATURES, STD_FLOOR
from langpose_dist.analysis.kernels import clip_sums, median_bandwidth
from langpose_dist.analysis.mmd import CONFIDENCE, NUM_PERMUTATIONS, KernelSums, compare
from langpose_dist.config import UserError

Features = Mapping[str, Float64[np.ndarray, "_ 6"]]
"""By the key of the clip."""
Pair = tuple[list[Clip], list[Clip]]
"""Clips of the first and of the second set in one row."""


@dataclass(frozen=True, kw_only=True)
class MmdOptions:
    """Choices of a comparison."""

    by: Literal["action", "subject"] | None = None
    """A row for each; ``None``: one row of everything."""
    against: Literal["same", "all"] = "same"
    """Clips of the second set: those of the same action or subject, or all."""
    unit: Literal["clip", "subject"] = "clip"
    """Independent unit of the test and the interval."""
    sigma: Literal["table", "row"] = "table"
    """One bandwidth, so that rows compare, or one for each row."""
    fps: float | None = None
    """Rate of all features; ``None``: the lower one of the two sets."""
    max_frames: int = 20_000
    """Most frames of either set in a row."""


def compare_sets(first: ClipSet, second: ClipSet, options: MmdOptions) -> dict[str, Any]:
    """Compare two sets; plain containers, fit for JSON.

    Raises:
        UserError: If no row has two clips on either side, or the options ask for what the data lack.
    """
    fps = _common_rate(first, second, options)
    groups = [first.groups(options.by), second.groups(options.by)]
    if options.against == "all":
        groups[1] = dict.fromkeys(groups[0], second.clips)
    names = sorted({*groups[0], *groups[1]})
    available = {name: [len(some.get(name, ())) for some in groups] for name in names}
    pairs: dict[str, Pair] = {}
    for name in names:
        a, b = (
            one.draw(some.get(name, ()), fps, options.max_frames)
            for one, some in zip((first, second), groups, strict=True)
        )
        if all(len(set(_units(clips, options.unit))) > 1 for clips in (a, b)):
            pairs[name] = (a, b)
    if not pairs:
        raise UserError(
            f"no {options.by or 'set'} has two {options.unit}s on either side with at most "
            f"{options.max_frames} frames; compare other splits, leave --by out, or raise --max-frames"
        )
    features, scale = _standardise(
        [_read_all(one, place, pairs, fps) for place, one in enumerate((first, second))]
    )
    sigma = median_bandwidth(*([*some.values()] for some in features)) if options.sigma == "table" else None
    return {
        "first": first.describe(),
        "second": second.describe(),
        **asdict(options),
        "fps": fps,
        "std_floor_m": STD_FLOOR,
        "features": scale,
        "sigma": sigma,
        "num_permutations": NUM_PERMUTATIONS,
        "confidence": CONFIDENCE,
        "rows": {
            name: _row(pair, features, sigma, options.unit) | {"num_available": available[name]}
            for name, pair in pairs.items()
        },
        "left_out": {name: counts for name, counts in available.items() if name not in pairs},
    }


def _common_rate(first: ClipSet, second: ClipSet, options: MmdOptions) -> float:
    lowest = min(first.manifest.fps, second.manifest.fps)
    if options.fps is not None and options.fps > lowest:
        raise UserError(
            f"--fps {options.fps:g} is above the lower rate of the data, {lowest:g}, and frames between "
            "those of the data move without acceleration; give at most that"
        )
    return options.fps or lowest


def _units(clips: Sequence[Clip], unit: str) -> list[str]:
    if unit == "clip":
        return [clip.entry.key for clip in clips]
    if nameless := [clip.entry.key for clip in clips if clip.entry.subject is None]:
        raise UserError(
            f"--unit subject needs each clip's person, which {nameless[0]} does not name; use clip"
        )
    return [str(clip.entry.subject) for clip in clips]


def _read_all(one: ClipSet, place: int, pairs: Mapping[str, Pair], fps: float) -> Features:
    clips = {clip.entry.key: clip for pair in pairs.values() for clip in pair[place]}
    return {key: one.read(clip, fps) for key, clip in clips.items()}


def _standardise(sets: Sequence[Features]) -> tuple[Sequence[Features], dict[str, dict[str, float]]]:
    """Features z-scored over the frames of both sets, and by what."""
    frames = np.concatenate([values for one in sets for values in one.values()])
    mean, std = frames.mean(axis=0), frames.std(axis=0)
    scaled = [{key: (values - mean) / std for key, values in one.items()} for one in sets]
    return scaled, {
        name: {"mean": float(mean[place]), "std": float(std[place])} for place, name in enumerate(FEATURES)
    }


def _row(pair: Pair, features: Sequence[Features], sigma: float | None, unit: str) -> dict[str, Any]:
    sides = [[some[clip.entry.key] for clip in clips] for clips, some in zip(pair, features, strict=True)]
    width = median_bandwidth(*sides) if sigma is None else sigma
    lengths = np.array([len(clip) for side in sides for clip in side])
    # A subject of both sets is two units: what is exchanged is its part in one of them.
    units = [f"{place} {name}" for place, clips in enumerate(pair) for name in _units(clips, unit)]
    kernels = KernelSums(clip_sums([*sides[0], *sides[1]], width), lengths)
    if unit == "subject":
        kernels = kernels.merged(units)
    is_first = np.array([name.startswith("0") for name in dict.fromkeys(units)])
    return {
        **asdict(compare(kernels, is_first)),
        "sigma": width,
        "num_clips": [len(side) for side in sides],
        "num_units": [int(is_first.sum()), int((~is_first).sum())],
        "num_frames": [sum(map(len, side)) for side in sides],
    }
