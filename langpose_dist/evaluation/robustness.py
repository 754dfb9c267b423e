"""Errors of models on corrupted 2D input: curves over severities, and what one model loses on another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from langpose_dist.data.corpus import Corpus
from langpose_dist.evaluation.bootstrap import draw_recordings, interval, resampled_means
from langpose_dist.evaluation.comparison import Scored
from langpose_dist.evaluation.corruption_table import VERSION, Corruption, Level
from langpose_dist.evaluation.corruptions import corrupt
from langpose_dist.evaluation.measure import (
    RecordingScore,
    group_means,
    join_windows,
    known_mean,
    score_recording,
)
from langpose_dist.evaluation.protocols import Protocol
from langpose_dist.evaluation.recordings import Recording, count_readings, read_recordings
from langpose_dist.host.bars import Bar

PARTS = ("all_joints", "corrupted_joints", "intact_joints")
"""Joints that an error is taken over."""


@dataclass(frozen=True)
class Curves:
    """Errors of one model at every level, recording by recording."""

    name: str
    clean: tuple[RecordingScore, ...]
    scores: Mapping[tuple[str, Level], tuple[RecordingScore, ...]]
    """Key of a corruption and level -> MPJPE in millimetres of each of ``PARTS``."""

    def at(self, corruption: Corruption, level: Level) -> tuple[RecordingScore, ...]:
        """Errors at a level, or at the clean one."""
        return self.clean if level == corruption.clean_level else self.scores[corruption.key, level]


def add_robustness(
    report: dict[str, Any],
    scored: Sequence[Scored],
    protocol: Protocol,
    corpus: Corpus,
    corruptions: Sequence[Corruption],
) -> None:
    """Measure models on corrupted input and add the section ``robustness`` to their comparison."""
    curves = [measure_curves(one, protocol, corpus, corruptions) for one in scored]
    report["robustness"] = summarise_curves(curves, protocol, corruptions, corpus.manifest.fps)


def measure_curves(
    scored: Scored, protocol: Protocol, corpus: Corpus, corruptions: Sequence[Corruption]
) -> Curves:
    """Lift every recording once for each level, with draws that are the same for every model."""
    split, contender = corpus.config.data.validation_split, scored.contender
    damages = [(row, level) for row in corruptions for level in row.levels]
    clean: list[RecordingScore] = []
    scores: dict[tuple[str, Level], list[RecordingScore]] = {(row.key, level): [] for row, level in damages}
    num_lifts = (1 + len(damages)) * count_readings(corpus, protocol, split)
    with Bar(num_lifts, f"{contender.name}, corrupted", "lift", is_kept=False) as bar:
        for recording in read_recordings(corpus, protocol, split, scored.camera):
            nothing = torch.zeros(recording.keypoints_2d.shape[:2], dtype=torch.bool)
            score = score_recording(contender, recording, protocol, _parts(nothing))
            bar.update()
            if score is None:
                bar.update(len(damages))
                continue
            clean.append(score)
            for row, level in damages:
                damaged, mask = damage(recording, row, level)
                score = score_recording(contender, damaged, protocol, _parts(mask))
                assert score is not None  # the same frames count
                scores[row.key, level].append(score)
                bar.update()
    found = {place: join_windows(some) for place, some in scores.items()}
    return Curves(contender.name, join_windows(clean), found)


def damage(
    recording: Recording, corruption: Corruption, level: Level
) -> tuple[Recording, Bool[Tensor, "T J"]]:
    """The recording with corrupted 2D joints, and which of them are."""
    keypoints, mask = corrupt(corruption, level, recording.keypoints_2d.numpy(), recording.name)
    return replace(recording, keypoints_2d=torch.from_numpy(keypoints)), torch.from_numpy(mask)


def area(corruption: Corruption, values: Float[np.ndarray, "*R L"]) -> Float[np.ndarray, "*R"]:
    """Mean height of curves: the area below them by trapezoids, over the range of the levels.

    The values are those at ``curve_levels``; of categories it is their mean.
    """
    if corruption.clean_level is None:
        return np.asarray(values.mean(axis=-1))
    levels = np.array(curve_levels(corruption), dtype=float)
    return np.asarray(np.trapezoid(values, levels, axis=-1) / (levels[-1] - levels[0]))


def curve_levels(corruption: Corruption) -> tuple[Level, ...]:
    """Levels from the clean one on; of categories, these."""
    clean = () if corruption.clean_level is None else (corruption.clean_level,)
    return (*clean, *corruption.levels)


def summarise_curves(
    curves: Sequence[Curves], protocol: Protocol, corruptions: Sequence[Corruption], fps: float
) -> dict[str, Any]:
    """Section ``robustness`` of a report; plain containers. The first model is the baseline of the others."""
    return {
        "version": VERSION,
        "metric": "mpjpe_mm",
        "mean": f"over {protocol.group}s",
        "curves": [_summarise(curves, protocol, row, fps) for row in corruptions],
    }


def _summarise(
    curves: Sequence[Curves], protocol: Protocol, corruption: Corruption, fps: float
) -> dict[str, Any]:
    levels = curve_levels(corruption)
    others = () if protocol.has_held_out_camera else curves[1:]  # these saw other recordings
    in_seconds = [float(level) / fps for level in levels] if corruption.unit == "frames" else None
    return {
        "corruption": corruption.name,
        "variant": corruption.variant,
        "description": corruption.description,
        "unit": corruption.unit,
        "levels": list(levels),
        **({"seconds": in_seconds} if in_seconds else {}),
        "models": [_describe(one, corruption) for one in curves],
        "improvements": [_improvement(curves[0], other, corruption) for other in others],
    }


def _describe(curves: Curves, corruption: Corruption) -> dict[str, Any]:
    levels = curve_levels(corruption)
    values = {part: [_mean(curves.at(corruption, level), part) for level in levels] for part in PARTS}
    heights = np.array(values["all_joints"], dtype=float)
    return {
        "name": curves.name,
        "clean_input": _mean(curves.clean, "all_joints"),
        **values,
        "area": float(area(corruption, heights)),
    }


def _improvement(baseline: Curves, other: Curves, corruption: Corruption) -> dict[str, Any]:
    """Millimetres by which a model is better, over all joints: at each level, and on the mean of the curve.

    Recordings are drawn in pairs, and one draw holds the same recordings at every level.
    """
    levels = curve_levels(corruption)
    draws = draw_recordings(len(baseline.clean))
    heights, samples = [], []
    for curves in (baseline, other):
        scores = [curves.at(corruption, level) for level in levels]
        heights.append(np.array([_mean(some, "all_joints") for some in scores], dtype=float))
        samples.append(np.stack([resampled_means(some, "all_joints", draws) for some in scores], axis=-1))
    gain, resampled = heights[0] - heights[1], samples[0] - samples[1]
    return {
        "model": other.name,
        "baseline": baseline.name,
        "levels": [_with_interval(gain[place], resampled[:, place]) for place in range(len(levels))],
        "area": _with_interval(area(corruption, gain), area(corruption, resampled)),
    }


def _with_interval(mean: Any, samples: Float[np.ndarray, "R"]) -> dict[str, float]:
    low, high = interval(samples)
    return {"mean": float(mean), "low": low, "high": high}


def _mean(scores: Sequence[RecordingScore], part: str) -> float | None:
    return known_mean(group_means(scores, part).values())


def _parts(corrupted: Bool[Tensor, "T J"]) -> dict[str, Bool[Tensor, "T J"]]:
    masks = (torch.ones_like(corrupted), corrupted, ~corrupted)
    return dict(zip(PARTS, masks, strict=True))
