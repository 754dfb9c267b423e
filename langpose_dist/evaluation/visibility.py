"""Errors of joints that a detector saw well, and of those that it did not."""

from collections.abc import Sequence
from typing import Any

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.evaluation.comparison import Scored
from langpose_dist.evaluation.measure import Parts, RecordingScore, group_means, known_mean, score_split
from langpose_dist.evaluation.protocols import Protocol
from langpose_dist.evaluation.recordings import Recording, check_data, read_recordings, source_2d

VISIBLE_ABOVE = 0.6
"""Confidence above which a joint is visible; LangPose's supplement, Table 2."""


def check_confidences(protocol: Protocol, config: RunConfig) -> None:
    """Check that the 2D joints of ``protocol_config`` come with a detector's confidences.

    Raises:
        UserError: If all are 1, with the source of the joints.
    """
    corpus = Corpus.open(config, has_labels=False)
    split = config.data.validation_split
    check_data(corpus, protocol, split)
    recordings = read_recordings(corpus, protocol, split)
    if all((recording.keypoints_2d[..., 2] == 1).all() for recording in recordings):
        raise without_confidences(split, source_2d(corpus, protocol, split))


def without_confidences(split: str, source: str) -> UserError:
    """Message about 2D joints whose confidences are all 1."""
    return UserError(
        f"visibility needs confidences of a detector, and all of split {split!r} are 1 (2D: {source}); leave "
        "it out, or build the data with detections that have some, such as MotionBERT's pickle"
    )


def add_visibility(
    report: dict[str, Any], scored: Sequence[Scored], protocol: Protocol, corpus: Corpus
) -> None:
    """Measure models by visibility and add the section ``visibility`` to their comparison."""
    report["visibility"] = {
        "threshold": VISIBLE_ABOVE,
        "models": [
            {"name": one.contender.name, **_summarise(measure_visibility(one, protocol, corpus), protocol)}
            for one in scored
        ],
    }


def measure_visibility(scored: Scored, protocol: Protocol, corpus: Corpus) -> tuple[RecordingScore, ...]:
    """MPJPE of ``visible`` and ``not_visible`` joints, recording by recording."""
    return score_split(scored.contender, protocol, corpus, scored.camera, _by_visibility)


def _by_visibility(recording: Recording) -> Parts:
    visible = recording.keypoints_2d[..., 2] > VISIBLE_ABOVE
    return {"visible": visible, "not_visible": ~visible}


def _summarise(scores: Sequence[RecordingScore], protocol: Protocol) -> dict[str, Any]:
    groups = {
        name: _describe([score for score in scores if score.group == name])
        for name in sorted({score.group for score in scores})
    }
    means = {
        name: known_mean([group[name] for group in groups.values()]) for name in next(iter(groups.values()))
    }
    return {f"{protocol.group}s": groups, f"{protocol.group}_mean": means}


def _describe(scores: Sequence[RecordingScore]) -> dict[str, float | None]:
    """Share of visible joints, and errors of both kinds, in one group."""
    counts = {
        part: sum(score.values[part][1] for score in scores if part in score.values)
        for part in ("visible", "not_visible")
    }
    errors = {f"{part}_mpjpe_mm": known_mean(group_means(scores, part).values()) for part in counts}
    return {"visible_share": counts["visible"] / sum(counts.values()), **errors}
