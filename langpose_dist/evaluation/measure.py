"""Errors of a model on every recording of a split, and their means as a protocol takes them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from langpose_dist.data.corpus import Corpus
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.lifting import lift_recording
from langpose_dist.evaluation.protocols import Protocol
from langpose_dist.evaluation.recordings import Recording, count_readings, group_of, read_recordings
from langpose_dist.host.bars import Bar
from langpose_dist.metrics.pose import (
    acceleration_error,
    auc_3dhp,
    joint_mpjpe,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pck_3dhp,
)

Measure = Callable[[Tensor, Tensor, Tensor], Tensor]
Parts = Mapping[str, Bool[Tensor, "T J"]]
"""Name -> joints of a recording."""

_MEASURES: Mapping[str, tuple[Measure, float, int]] = {
    "mpjpe_mm": (mpjpe, 1000, 1),
    "p_mpjpe_mm": (p_mpjpe, 1000, 1),
    "n_mpjpe_mm": (n_mpjpe, 1000, 1),
    "mpjve_mm": (mpjve, 1000, 2),
    "accel_mm": (acceleration_error, 1000, 3),
    "pck_3dhp": (pck_3dhp, 1, 1),
    "auc_3dhp": (auc_3dhp, 1, 1),
}
"""Metric -> function, factor to its unit, and neighbouring frames that one of its values needs."""
UNGROUPED = "all"
"""Group of recordings whose data set names none."""


@dataclass(frozen=True)
class RecordingScore:
    """Errors of one recording."""

    key: str
    group: str
    """Action or sequence."""
    num_frames: int
    """Frames that count and have a prediction."""
    values: Mapping[str, tuple[float, int]]
    """Metric -> mean, and how many values it was taken over."""


def score_split(
    contender: Contender,
    protocol: Protocol,
    corpus: Corpus,
    camera: str | None,
    split_joints: Callable[[Recording], Parts] | None = None,
) -> tuple[RecordingScore, ...]:
    """Scores of all recordings of the evaluated split, or of one camera, that have a frame that counts.

    ``split_joints`` gives the ``parts`` of ``score_recording``.
    """
    split = corpus.config.data.validation_split
    scores = []
    with Bar(count_readings(corpus, protocol, split), contender.name, "recording", is_kept=False) as bar:
        for recording in read_recordings(corpus, protocol, split, camera):
            parts = split_joints and split_joints(recording)
            score = score_recording(contender, recording, protocol, parts)
            scores += [score] if score is not None else []
            bar.update()
    return join_windows(scores)


def score_recording(
    contender: Contender, recording: Recording, protocol: Protocol, parts: Parts | None = None
) -> RecordingScore | None:
    """Lift a recording and measure it; ``None`` if no frame of it counts.

    ``parts`` get an MPJPE in millimetres each, if they have a joint that counts; without them the values are
    the protocol's metrics.

    Raises:
        UserError: If the input breaks the contract of 2D joints.
    """
    poses, counted = lift_recording(
        contender.model, recording.keypoints_2d, contender.num_frames, protocol, recording.counted
    )
    if not counted.any():
        return None
    metres = recording.metres[:, None, None]
    predicted, target = (poses - poses[:, :1]) * metres, recording.poses_3d * metres
    if parts is None:
        values = measure(predicted, target, counted, protocol.metrics)
    else:
        values = _measure_parts(predicted, target, counted, parts)
    return RecordingScore(
        key=recording.entry.key,
        group=group_of(recording.entry, protocol) or UNGROUPED,
        num_frames=int(counted.sum()),
        values=values,
    )


def measure(
    predicted: Float[Tensor, "T J 3"],
    target: Float[Tensor, "T J 3"],
    counted: Bool[Tensor, "T"],
    metrics: Iterable[str],
) -> dict[str, tuple[float, int]]:
    """Mean of each metric over the frames that count, and the number of its values."""
    found: dict[str, tuple[float, int]] = {}
    for name in metrics:
        function, factor, span = _MEASURES[name]
        windows = counted.unfold(0, span, 1).all(dim=1) if len(counted) >= span else torch.zeros(0)
        if num_values := int(windows.sum()):
            value = function(predicted[None], target[None], counted[None])
            found[name] = (float(value[0]) * factor, num_values)
    return found


def _measure_parts(
    predicted: Float[Tensor, "T J 3"],
    target: Float[Tensor, "T J 3"],
    counted: Bool[Tensor, "T"],
    parts: Parts,
) -> dict[str, tuple[float, int]]:
    found: dict[str, tuple[float, int]] = {}
    for name, joints in parts.items():
        mask = joints & counted[:, None]
        if num_values := int(mask.sum()):
            found[name] = (1000 * float(joint_mpjpe(predicted[None], target[None], mask[None])), num_values)
    return found


def join_windows(scores: Iterable[RecordingScore]) -> tuple[RecordingScore, ...]:
    """Scores of whole recordings from those of their windows."""
    parts: dict[str, list[RecordingScore]] = {}
    for score in scores:
        parts.setdefault(score.key, []).append(score)
    return tuple(some[0] if len(some) == 1 else _join(some) for some in parts.values())


def _join(scores: Sequence[RecordingScore]) -> RecordingScore:
    metrics = dict.fromkeys(name for score in scores for name in score.values)
    counts = {
        name: sum(score.values[name][1] for score in scores if name in score.values) for name in metrics
    }
    return RecordingScore(
        key=scores[0].key,
        group=scores[0].group,
        num_frames=sum(score.num_frames for score in scores),
        values={name: (frame_mean(scores, name), counts[name]) for name in metrics},
    )


def frame_mean(scores: Iterable[RecordingScore], metric: str) -> float:
    """Mean over all values of all recordings; NaN without any."""
    pairs = [score.values[metric] for score in scores if metric in score.values]
    total = sum(count for _, count in pairs)
    return sum(value * count for value, count in pairs) / total if total else float("nan")


def known_mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that there are; ``None`` without any."""
    known = [value for value in values if value is not None and value == value]
    return float(np.mean(known)) if known else None


def group_means(scores: Sequence[RecordingScore], metric: str) -> dict[str, float]:
    """Group -> mean over the values of its recordings, in the order of the alphabet."""
    groups = sorted({score.group for score in scores})
    return {name: frame_mean([one for one in scores if one.group == name], metric) for name in groups}


def group_mean(scores: Sequence[RecordingScore], metric: str) -> float:
    """Mean over the groups, each weighing the same: what papers print."""
    values = list(group_means(scores, metric).values())
    return float(np.mean(values)) if values else float("nan")
