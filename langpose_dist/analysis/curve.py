"""Fit of labels to one clip over time: the supplement's Fig. 3."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.special import softmax

from langpose_dist.analysis.clips import Clip
from langpose_dist.analysis.embeddings import (
    LabelledSpan,
    SpanSet,
    embed_spans,
    label_features,
    open_motion,
    see_windows,
)
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.labels import normalise_label
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.windows import Window
from langpose_dist.evaluation.contenders import Contender

SPAN_S = 1.0
"""Length of motion that labels are compared with; a window of the model, if that is shorter."""
HOP = 5
"""Frames from one such span to the next."""
NUM_FIGURES = 9
"""Moments at which the model's input is drawn."""


def measure_curve(
    contender: Contender, config: RunConfig, key: str, labels: Sequence[str], *, isolated: bool = False
) -> dict[str, Any]:
    """Probabilities and cosines of labels over time; plain containers, fit for JSON.

    Args:
        contender: A pretrained model.
        config: Its ``data``, ``camera`` and ``noise`` sections say what the model sees; its
            ``loss.temperature`` is the softmax's.
        key: The clip's.
        labels: Two or more, in normal form; see ``parse_labels``.
        isolated: Show the model each span alone.

    Raises:
        UserError: If there is no such clip, or the model has no text side.
    """
    split, clip = _find(config, key)
    corpus = open_motion(config, split)
    fps, num_frames = corpus.manifest.fps, clip.entry.num_frames
    length = min(max(round(SPAN_S * fps), 1), contender.num_frames, num_frames)
    hop = min(HOP, length)
    starts = [*range(0, num_frames - length, hop), num_frames - length]
    pieces = tuple(LabelledSpan(clip, "", (), start, start + length, 0) for start in starts)
    spans = SpanSet(corpus, split, pieces)
    texts = label_features(contender, labels).astype(float)
    cosines = embed_spans(contender, spans, isolated=isolated) @ texts.T
    assert contender.config is not None
    temperature = config.loss.temperature
    probabilities = softmax(cosines / temperature, axis=1)
    whole = Window(clip.shard_index, clip.sample_index, clip.entry, 0, num_frames, ())
    keypoints = see_windows(corpus, [whole], [0], num_frames).keypoints_2d[0].numpy()
    moments = np.unique((np.arange(NUM_FIGURES) + 0.5) * num_frames // NUM_FIGURES).astype(int)
    return {
        "clip": key,
        "name": contender.name,
        "model": dict(contender.facts),
        "labels": list(labels),
        "temperature": temperature,
        "trained_temperature": contender.config.loss.temperature,
        "meaning": "softmax over these labels alone: they say which fits best, not that any does",
        "span_s": length / fps,
        "hop_s": hop / fps,
        "is_isolated": isolated,
        "data": spans.describe(),
        "times_s": [frame / fps for frame in range(num_frames)],
        "probabilities": _by_label(labels, _over_frames(probabilities, pieces, num_frames)),
        "cosines": _by_label(labels, _over_frames(cosines, pieces, num_frames)),
        "true_spans": [
            {"label": normalise_label(span.label), "start_s": span.start / fps, "end_s": span.end / fps}
            for span in clip.entry.spans
        ],
        "figures": [
            {"time_s": moment / fps, "keypoints_2d": keypoints[moment].round(4).tolist()}
            for moment in moments
        ],
    }


def _find(config: RunConfig, key: str) -> tuple[str, Clip]:
    manifest = Manifest.load(config.data.path)
    for shard_index, shard in enumerate(manifest.shards):
        for sample_index, entry in enumerate(shard.samples):
            if entry.key == key:
                return shard.split, Clip(shard_index, sample_index, entry)
    first = manifest.shards[0].samples[0].key
    raise UserError(f"{config.data.path} has no clip {key!r}; its clips are named as {first!r} is")


def _over_frames(
    values: Float64[np.ndarray, "N L"], spans: Sequence[LabelledSpan], num_frames: int
) -> Float64[np.ndarray, "T L"]:
    """Mean over the spans that a frame lies in."""
    total, count = np.zeros((num_frames, values.shape[1])), np.zeros((num_frames, 1))
    for row, span in zip(values, spans, strict=True):
        total[span.start : span.stop] += row
        count[span.start : span.stop] += 1
    return total / count


def _by_label(labels: Sequence[str], values: Float64[np.ndarray, "T L"]) -> dict[str, list[float]]:
    return {label: row.round(5).tolist() for label, row in zip(labels, values.T, strict=True)}
