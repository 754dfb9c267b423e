"""Several models under one protocol: what each scores, and how sure a difference is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.evaluation.bootstrap import draw_recordings, interval, resampled_means
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.measure import (
    RecordingScore,
    frame_mean,
    group_mean,
    group_means,
    score_split,
)
from langpose_dist.evaluation.protocols import Protocol
from langpose_dist.evaluation.recordings import check_data, count_recordings
from langpose_dist.metrics.table import higher_is_better


@dataclass(frozen=True)
class Scored:
    """One model with its errors on every recording."""

    contender: Contender
    scores: tuple[RecordingScore, ...]
    camera: str | None = None
    """The only camera that was tested, where the protocol holds one out."""


def score_all(
    contenders: Sequence[Contender],
    protocol: Protocol,
    config: RunConfig,
) -> tuple[list[Scored], Corpus]:
    """Errors of every model on every recording of the split; ``config`` is from ``protocol_config``.

    Raises:
        UserError: If the data or a model do not fit the protocol.
    """
    corpus = Corpus.open(config, has_labels=False)
    split = config.data.validation_split
    check_data(corpus, protocol, split)
    check_contenders(contenders, protocol, corpus.manifest.fps)
    device = "cuda" if torch.cuda.is_available() and config.train.device != "cpu" else "cpu"
    found = []
    for contender in contenders:
        contender.model.to(device)
        camera = contender.held_out_camera if protocol.has_held_out_camera else None
        scores = score_split(contender, protocol, corpus, camera)
        if not scores:
            raise UserError(
                f"--protocol {protocol.name} counts no frame of split {split!r}"
                + (f" and camera {camera}" if camera else "")
            )
        found.append(Scored(contender, scores, camera))
    return found, corpus


def check_contenders(contenders: Sequence[Contender], protocol: Protocol, fps: float) -> None:
    """Check that models may stand in one table of a protocol.

    Raises:
        UserError: If one predicts another space, was trained at another rate or on the held-out camera.
    """
    for one in contenders:
        if one.space != protocol.space:
            raise UserError(
                f"{one.name} predicts {one.space}, --protocol {protocol.name} measures {protocol.space}: "
                "numbers of different spaces do not compare; choose another protocol, or a model with "
                f"target.space={protocol.space}"
            )
        if one.fps is not None and one.fps != fps:
            raise UserError(f"{one.name} was trained at {one.fps:g} frames per second, the data have {fps:g}")
        if protocol.has_held_out_camera and one.held_out_camera is None:
            raise UserError(
                f"--protocol {protocol.name} tests on the camera that training left out; {one.name} left "
                "none out: train with data.held_out_camera=NAME"
            )
    lengths = sorted({one.num_frames for one in contenders})
    if protocol.observation == "camera" and len(lengths) > 1:
        raise UserError(
            f"--protocol {protocol.name} draws a camera for each window, and these models take windows of "
            f"{' and '.join(map(str, lengths))} frames; compare models of one length"
        )
    cameras = [one.held_out_camera for one in contenders]
    if protocol.has_held_out_camera and len(set(cameras)) < len(cameras):
        raise UserError(
            f"--protocol {protocol.name} takes one model for each camera; these left out "
            + ", ".join(map(str, cameras))
        )


def summarise(scored: Scored, protocol: Protocol) -> dict[str, Any]:
    """Numbers of one model; plain containers."""
    scores = scored.scores
    groups = sorted({score.group for score in scores})
    named = {
        name: [score for score in scores if score.group in members] for name, members in protocol.sets.items()
    }
    return {
        "name": scored.contender.name,
        **({"camera": scored.camera} if scored.camera else {}),
        "num_recordings": len(scores),
        "num_frames": sum(score.num_frames for score in scores),
        f"{protocol.group}_mean": {name: group_mean(scores, name) for name in protocol.metrics},
        "frame_mean": {name: frame_mean(scores, name) for name in protocol.metrics},
        "sets": {
            name: {metric: frame_mean(some, metric) for metric in protocol.metrics}
            for name, some in named.items()
            if some
        },
        f"{protocol.group}s": {
            group: {metric: group_means(scores, metric)[group] for metric in protocol.metrics}
            for group in groups
        },
        "model": dict(scored.contender.facts),
    }


def improvement(baseline: Scored, other: Scored, protocol: Protocol, metric: str) -> dict[str, Any]:
    """Improvement of a model on a baseline, positive if it is better, with an interval over recordings.

    Both are measured on the same recordings, which the bootstrap draws in pairs; each draw's means are taken
    as the protocol takes them, over the groups.

    Source:
        LangPose's supplement, Eq. 4, for the sign.
    """
    sign = 1.0 if higher_is_better(metric) else -1.0
    draws = draw_recordings(len(baseline.scores))
    pair = [resampled_means(one.scores, metric, draws) for one in (baseline, other)]
    low, high = interval(sign * (pair[1] - pair[0]))
    means = [group_means(one.scores, metric) for one in (baseline, other)]
    return {
        "model": other.contender.name,
        "baseline": baseline.contender.name,
        "metric": metric,
        "mean": sign * (group_mean(other.scores, metric) - group_mean(baseline.scores, metric)),
        "low": low,
        "high": high,
        f"{protocol.group}s": {name: sign * (means[1][name] - means[0][name]) for name in means[0]},
    }


def compare(
    scored: Sequence[Scored], protocol: Protocol, corpus: Corpus, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole report, fit for JSON; the first model is the baseline of the others, the origin a commit."""
    manifest, split = corpus.manifest, corpus.config.data.validation_split
    report: dict[str, Any] = {
        "protocol": protocol.describe(),
        "data": {
            "dataset": manifest.dataset,
            "split": split,
            "fps": manifest.fps,
            "fingerprint": manifest.fingerprint,
            **count_recordings(corpus, protocol, split),
        },
        **origin,
        "models": [summarise(one, protocol) for one in scored],
        "improvements": [],
    }
    if protocol.has_held_out_camera:
        name = f"{protocol.group}_mean"
        report["mean_over_cameras"] = {
            metric: float(np.mean([model[name][metric] for model in report["models"]]))
            for metric in protocol.metrics
        }
    else:
        report["improvements"] = [
            improvement(scored[0], other, protocol, metric)
            for other in scored[1:]
            for metric in protocol.metrics
        ]
    return report
