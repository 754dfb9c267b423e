"""The semantic probe: of two labels, how often a motion's own is nearer to it than the other.

Source:
    LangPose's supplement, 3.1 and Fig. 3, which shows single clips; here every labelled span counts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from langpose_dist.analysis.embeddings import SpanSet, check_encoder, embed_spans, label_features
from langpose_dist.analysis.pairs import KINDS, SIMILAR, Kind, Pair, kind_of
from langpose_dist.config import TextConfig, UserError
from langpose_dist.evaluation.bootstrap import CONFIDENCE, NUM_RESAMPLES, draw_recordings, interval
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.host.bars import tracked
from langpose_dist.metrics.retrieval import TIE
from langpose_dist.models.text import load_text_encoder

PROTOCOL = {
    "score": "cosine of a span's feature with label a, less that with label b; differences below "
    f"{TIE:g} are ties",
    "auc": "probability that a random span of a scores higher than a random span of b; a tie is half",
    "accuracy": "mean of the shares of a's spans with a score above 0 and of b's below; a tie is half",
    "chance": "0.5 for both",
    "feature": "pooled over the span's frames alone, within the model's window around it; with is_isolated "
    "the model sees no other frame; a virtual camera, of synthetic 2D, is drawn for each span, the same for "
    "every model",
    "spans": "all frames that a label describes; spans that share a frame with one of the pair's other label "
    "are left out",
    "interval": f"{100 * CONFIDENCE:g} % of {NUM_RESAMPLES} bootstrap draws of clips (seed 0), the same for "
    "every pair and model; a clip that several cameras saw is one",
    "kinds": "inverse: equal but for opposite words, or listed as opposite; similar: cosine of the labels' "
    f"sentence features at least {SIMILAR:g}; unrelated: the others",
}


@dataclass(frozen=True)
class _Rows:
    """Spans of one pair."""

    pair: Pair
    kind: Kind
    cosine: float
    first: Int[np.ndarray, "A"]
    """Numbers of the spans of the first label."""
    second: Int[np.ndarray, "B"]
    num_left_out: int


def measure_probe(
    contenders: Sequence[Contender],
    spans: SpanSet,
    *,
    pairs: Sequence[Pair] | None = None,
    min_spans: int = 20,
    isolated: bool = False,
) -> dict[str, Any]:
    """Measure models on the labelled spans of a split; plain containers, fit for JSON.

    Args:
        contenders: Pretrained models; the first one's text encoder tells similar pairs.
        spans: From ``SpanSet.open``.
        pairs: Labels to compare; default: all pairs of labels with ``min_spans`` spans each.
        min_spans: See ``pairs``.
        isolated: Show the models each span alone.

    Raises:
        UserError: If a model has no text side, or no pair can be measured.
    """
    for one in contenders:
        check_encoder(one, spans)
    labels = np.array(spans.labels)
    chosen = _known(pairs, labels) if pairs else _frequent(labels, min_spans, spans)
    assert contenders[0].config is not None
    text = contenders[0].config.text
    rows = _rows(chosen, _label_cosines(chosen, text), spans)
    names, clips = np.unique([span.recording for span in spans.spans], return_inverse=True)
    draws = draw_recordings(len(names))
    measured = [_measure(one, spans, rows, clips, draws, isolated=isolated) for one in contenders]
    return {
        "protocol": PROTOCOL,
        "is_isolated": isolated,
        "min_spans": None if pairs else min_spans,
        "similar_from": SIMILAR,
        "confidence": CONFIDENCE,
        "num_resamples": NUM_RESAMPLES,
        "text_encoder": text.encoder,
        "data": spans.describe(),
        "num_pairs_left_out": len(chosen) - len(rows),
        "pairs": [
            {
                "labels": list(one.pair),
                "kind": one.kind,
                "label_cosine": one.cosine,
                "num_spans": [len(one.first), len(one.second)],
                "num_clips": [len({*clips[one.first]}), len({*clips[one.second]})],
                "num_left_out": one.num_left_out,
            }
            for one in rows
        ],
        "models": measured,
    }


def _known(pairs: Sequence[Pair], labels: np.ndarray) -> Sequence[Pair]:
    present = {*labels}
    if missing := [label for pair in pairs for label in pair if label not in present]:
        raise UserError(
            f"--pairs names {missing[0]!r}, which no span has; there are {', '.join(sorted(present)[:8])}"
            + (", ..." if len(present) > 8 else "")
        )
    return pairs


def _frequent(labels: np.ndarray, min_spans: int, spans: SpanSet) -> Sequence[Pair]:
    counts = Counter(labels.tolist()).most_common()
    frequent = sorted(label for label, count in counts if count >= min_spans)
    if len(frequent) < 2:
        most = ", ".join(f"{label} {count}" for label, count in counts[:3])
        raise UserError(
            f"{len(frequent)} labels of split {spans.split!r} have --min-spans {min_spans} spans or more, a "
            f"pair needs two; the most frequent: {most}"
        )
    return list(combinations(frequent, 2))


def _label_cosines(pairs: Sequence[Pair], text: TextConfig) -> list[float]:
    labels = sorted({label for pair in pairs for label in pair})
    features = load_text_encoder(text).sentence_features(labels).numpy()
    place = {label: number for number, label in enumerate(labels)}
    return [float(features[place[a]] @ features[place[b]]) for a, b in pairs]


def _rows(pairs: Sequence[Pair], cosines: Sequence[float], spans: SpanSet) -> list[_Rows]:
    labels, beside = np.array(spans.labels), _labels_beside(spans)
    found = []
    for (a, b), cosine in zip(pairs, cosines, strict=True):
        own = [np.flatnonzero(labels == label) for label in (a, b)]
        first, second = (
            np.array([row for row in rows if other not in beside[row]], int)
            for rows, other in zip(own, (b, a), strict=True)
        )
        if len(first) and len(second):
            left_out = sum(map(len, own)) - len(first) - len(second)
            found.append(_Rows((a, b), kind_of(a, b, cosine), cosine, first, second, left_out))
    if not found:
        raise UserError("the spans of each pair's labels share their frames: neither is the wrong one")
    return found


def _labels_beside(spans: SpanSet) -> list[set[str]]:
    """Labels of the spans that share a frame with each span."""
    by_clip: dict[str, list[int]] = {}
    for number, span in enumerate(spans.spans):
        by_clip.setdefault(span.clip.entry.key, []).append(number)
    return [
        {
            other.label
            for other in (spans.spans[number] for number in by_clip[span.clip.entry.key])
            if other.start < span.stop and span.start < other.stop
        }
        for span in spans.spans
    ]


def _measure(
    contender: Contender,
    spans: SpanSet,
    rows: Sequence[_Rows],
    clips: Int[np.ndarray, "N"],
    draws: Int[np.ndarray, "R U"],
    *,
    isolated: bool,
) -> dict[str, Any]:
    """One model: pairs in the order of ``rows``, and the mean of each kind."""
    names = sorted({label for one in rows for label in one.pair})
    texts = label_features(contender, names)
    cosines = embed_spans(contender, spans, isolated=isolated).astype(float) @ texts.T.astype(float)
    assert contender.config is not None
    values, samples = [], []
    for one in tracked(rows, f"pairs of {contender.name}", "pair"):
        a, b = (names.index(label) for label in one.pair)
        scores = cosines[:, a] - cosines[:, b]
        units = np.unique(clips[[*one.first, *one.second]])
        first, second = (
            (scores[part], np.searchsorted(units, clips[part])) for part in (one.first, one.second)
        )
        once = np.ones((1, len(units)), int)
        values.append([measure(first, second, once)[0] for measure in (auc, accuracy)])
        samples.append([measure(first, second, draws[:, units]) for measure in (auc, accuracy)])
    points, resampled = np.array(values), np.array(samples)  # P x 2 and P x 2 x R
    kinds = np.array([one.kind for one in rows])
    return {
        "name": contender.name,
        "temperature": contender.config.loss.temperature,
        "contrastive": contender.config.loss.contrastive,
        "model": dict(contender.facts),
        "kinds": {
            kind: {"num_pairs": int(found.sum()), **_with_intervals(points[found], resampled[found])}
            for kind in KINDS
            if (found := kinds == kind).any()
        },
        "pairs": [_with_intervals(points[[row]], resampled[[row]]) for row in range(len(rows))],
    }


def _with_intervals(
    points: Float64[np.ndarray, "P 2"], samples: Float64[np.ndarray, "P 2 R"]
) -> dict[str, dict[str, float]]:
    """Means over pairs; a draw without a span of one label counts the pairs that it has."""
    found = {}
    for column, name in enumerate(("auc", "accuracy")):
        has_value = ~np.isnan(samples[:, column])
        counts = has_value.sum(axis=0)
        sums = np.where(has_value, samples[:, column], 0).sum(axis=0)
        low, high = interval(sums[counts > 0] / counts[counts > 0])
        found[name] = {"mean": float(points[:, column].mean()), "low": low, "high": high}
    return found


Group = tuple[Float[np.ndarray, "_"], Int[np.ndarray, "_"]]
"""Scores of a label's spans, and the clip of each."""


def auc(first: Group, second: Group, draws: Int[np.ndarray, "R U"]) -> Float64[np.ndarray, "R"]:
    """Probability that a span of the first label scores higher, in each draw of clips; a tie is half.

    A draw gives every clip a number of copies; it is NaN where it holds no span of one label. The comparisons
    are summed once per pair of clips, so a draw is a quadratic form.
    """
    higher = _higher(first[0][:, None] - second[0])
    num_clips = draws.shape[1]
    sums = np.zeros((num_clips, num_clips))
    np.add.at(sums, (first[1][:, None], second[1]), higher)
    counts = [np.bincount(clips, minlength=num_clips) for _, clips in (first, second)]
    total = ((draws @ sums) * draws).sum(axis=1)
    return _share(total, (draws @ counts[0]) * (draws @ counts[1]))


def accuracy(first: Group, second: Group, draws: Int[np.ndarray, "R U"]) -> Float64[np.ndarray, "R"]:
    """Mean share of both labels' spans whose score has the right sign, in each draw as in ``auc``."""
    shares = []
    for scores, clips in ((first[0], first[1]), (-second[0], second[1])):
        right = np.bincount(clips, _higher(scores), minlength=draws.shape[1])
        shares.append(_share(draws @ right, draws @ np.bincount(clips, minlength=draws.shape[1])))
    return (shares[0] + shares[1]) / 2


def _higher(difference: Float[np.ndarray, "*N"]) -> Float64[np.ndarray, "*N"]:
    """1 where a difference is positive, 0 where it is negative, a half at a tie."""
    return ((difference > TIE) + 0.5 * (np.abs(difference) <= TIE)).astype(float)


def _share(total: Float[np.ndarray, "R"], count: Int[np.ndarray, "R"]) -> Float64[np.ndarray, "R"]:
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
