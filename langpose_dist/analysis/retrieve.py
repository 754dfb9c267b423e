"""Motion retrieval by free text: by TMR's protocols on labelled spans, and for queries of one's own."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from langpose_dist.analysis.clips import Clip
from langpose_dist.analysis.embeddings import (
    LabelledSpan,
    SpanSet,
    check_encoder,
    embed_spans,
    label_features,
    open_motion,
)
from langpose_dist.config import RunConfig, TextConfig, UserError
from langpose_dist.data.labels import normalise_label
from langpose_dist.evaluation.bootstrap import CONFIDENCE, NUM_RESAMPLES, draw_recordings, interval
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.metrics.recognition import group_mean
from langpose_dist.metrics.retrieval import chance_recall, dissimilar, ranks
from langpose_dist.models.text import load_text_encoder
from langpose_dist.models.tokens import load_tokenizer
from langpose_dist.tasks.labels import describe_labels

RECALLS = (1, 2, 3, 5, 10)
DIRECTIONS = ("text_to_motion", "motion_to_text")
THRESHOLD = 0.95
"""Value of (1 + cosine) / 2 between sentence embeddings, above which TMR takes two texts for one."""
SUBSET_SIZE = 100
BATCH_SIZE = 32
PIECE_S = 2.0
"""Pieces of a clip among which a query looks, about."""
_QUERIES_AT_ONCE = 1024
_PROTOCOL = {
    "pairs": "each labelled span and its label; a query for each pair in either direction; every pair of the "
    "same text is right, and a wrong text counts as often as there are pairs of it; ties count against",
    "feature": "pooled over the span's frames alone, within the model's window around it; a virtual camera, "
    "of synthetic 2D, is drawn for each span, the same for every model",
    "all": "among all pairs (TMR: normal)",
    "threshold": f"the same; texts with (1 + cosine) / 2 above {THRESHOLD:g} are right too, by the sentence "
    "embeddings of the first model's frozen text encoder, for every model (TMR: threshold, by another's)",
    "dissimilar_subset": f"among at most {SUBSET_SIZE} pairs of texts that are little alike (TMR: nsim, a "
    "list of 100 that this is not)",
    "small_batches": f"among {BATCH_SIZE} pairs, in random batches, without what is left over; median rank: "
    "mean of the batches' medians (TMR: guo)",
    "chance": "a random order",
    "interval": f"{100 * CONFIDENCE:g} %, {NUM_RESAMPLES} draws of the queries' clips",
}


class Pairs(NamedTuple):
    """N spans with their texts, V of which differ."""

    motion: Float[Tensor, "N D"]
    text: Float[Tensor, "V D"]
    text_of: Int[Tensor, "N"]
    clips: Int[np.ndarray, "N"]

    def of(self, rows: Int[Tensor, "K"]) -> "Pairs":
        """Some of them."""
        return self._replace(
            motion=self.motion[rows], text_of=self.text_of[rows], clips=self.clips[rows.numpy()]
        )


def measure_retrieval(
    contenders: Sequence[Contender], config: RunConfig, split: str, seed: int = 0
) -> dict[str, Any]:
    """Retrieve the labelled spans of a split by their labels, and the labels by the spans; fit for JSON.

    Args:
        contenders: Models with a text side, on the device that embeds; the first one's text encoder tells
            texts that are alike.
        config: Its ``data``, ``camera`` and ``noise`` sections say what models see.
        split: Name of the split.
        seed: Of the small batches.

    Raises:
        UserError: If the data lack labels, or a model has no text side.
    """
    spans = SpanSet.open(config, split)
    for one in contenders:
        check_encoder(one, spans)
    texts = list(dict.fromkeys(spans.labels))
    if len(texts) < 2:
        raise UserError(f"split {split!r} has one label, {texts[0]!r}; retrieval needs two or more")
    numbers = {text: number for number, text in enumerate(texts)}
    text_of = torch.tensor([numbers[label] for label in spans.labels])
    clips = np.unique([span.recording for span in spans.spans], return_inverse=True)[1]
    assert contenders[0].config is not None
    encoder = contenders[0].config.text
    likeness = _likeness(texts, encoder)
    report: dict[str, Any] = {
        "analysis": "retrieve",
        "protocol": {**_PROTOCOL, "text_encoder": encoder.encoder, "seed": seed},
        "data": {**spans.describe(), "num_texts": len(texts)},
        "models": {one.name: dict(one.facts) for one in contenders},
        "rows": [],
        "notes": [],
    }
    for contender in contenders:
        text = torch.from_numpy(label_features(contender, texts)).double()
        motion = torch.from_numpy(embed_spans(contender, spans)).double()
        pairs = Pairs(motion, text, text_of, clips)
        for protocol, found in _by_protocol(pairs, likeness, seed).items():
            report["rows"].append({"model": contender.name, "protocol": protocol, **found})
    if len(spans.spans) < BATCH_SIZE:
        report["notes"].append(f"{len(spans.spans)} pairs are too few for small_batches")
    return report


def _likeness(texts: Sequence[str], encoder: TextConfig) -> Float[Tensor, "V V"]:
    """Cosine of the texts by a frozen text encoder."""
    sentences = load_text_encoder(encoder).sentence_features(texts).double()
    return sentences @ sentences.T


def _by_protocol(pairs: Pairs, likeness: Float[Tensor, "V V"], seed: int) -> dict[str, dict[str, Any]]:
    num_pairs, same = len(pairs.motion), torch.eye(len(likeness), dtype=torch.bool)
    first = torch.from_numpy(np.unique(pairs.text_of.numpy(), return_index=True)[1])
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(num_pairs)
    num_batches = num_pairs // BATCH_SIZE
    batches = torch.from_numpy(order[: num_batches * BATCH_SIZE]).reshape(num_batches, BATCH_SIZE)
    found = {
        "all": _measure([pairs], same),
        "threshold": _measure([pairs], same | (likeness > 2 * THRESHOLD - 1)),
        "dissimilar_subset": _measure([pairs.of(first[dissimilar(likeness, SUBSET_SIZE)])], same),
    }
    if num_batches:
        found["small_batches"] = _measure([pairs.of(rows) for rows in batches], same)
    return found


def _measure(galleries: Sequence[Pairs], alike: Bool[Tensor, "V V"]) -> dict[str, Any]:
    """Recalls and median ranks within each gallery, and their means over galleries of one size."""
    found: dict[str, Any] = {"num_pairs": len(galleries[0].motion), "num_galleries": len(galleries)}
    clips = np.unique(np.concatenate([one.clips for one in galleries]), return_inverse=True)[1]
    draws = draw_recordings(int(clips.max()) + 1)
    num_true = torch.cat([_count_true(one.text_of, alike) for one in galleries])
    for direction in DIRECTIONS:
        ranked = torch.stack([_ranks(one, alike, direction) for one in galleries])
        values: dict[str, Any] = {
            "median_rank": {"value": float(ranked.double().quantile(0.5, dim=1).mean())}
        }
        for k in RECALLS:
            is_hit = (ranked.flatten() <= k).double().numpy()
            hits, counts = (np.bincount(clips, some)[:, None] for some in (is_hit, np.ones_like(is_hit)))
            low, high = interval(group_mean(draws @ hits, draws @ counts))
            values[f"r_at_{k}"] = {"value": float(hits.sum() / counts.sum()), "low": low, "high": high}
        found[direction] = values
    found["chance"] = {
        f"r_at_{k}": float(chance_recall(found["num_pairs"], k, num_true).mean()) for k in RECALLS
    }
    return found


def _count_true(text_of: Int[Tensor, "N"], alike: Bool[Tensor, "V V"]) -> Int[Tensor, "N"]:
    """Pairs that are right for each, without a table of all pairs with all."""
    return (alike.double() @ text_of.bincount(minlength=len(alike)).double()).long()[text_of]


def _ranks(pairs: Pairs, alike: Bool[Tensor, "V V"], direction: str) -> Int[Tensor, "N"]:
    sides = (pairs.text[pairs.text_of], pairs.motion)
    queries, items = sides if direction == "text_to_motion" else sides[::-1]
    found = []
    for rows in torch.arange(len(queries)).split(_QUERIES_AT_ONCE):
        is_true = alike[pairs.text_of[rows]][:, pairs.text_of]
        found.append(ranks(queries[rows] @ items.T, is_true))
    return torch.cat(found)


def find_motions(
    contender: Contender, config: RunConfig, split: str, queries: Sequence[str], top: int
) -> dict[str, Any]:
    """The clips of a split that are most similar to each query, each with its best piece; fit for JSON.

    Labels are not needed; those of a piece are reported.

    Raises:
        UserError: If the split does not exist, or the model has no text side.
    """
    texts = [normalise_label(query) for query in queries]
    features = label_features(contender, texts)
    pieces = _cut(config, split)
    cosines = features @ embed_spans(contender, pieces).T
    found = []
    for query, row in zip(queries, cosines, strict=True):
        best: dict[str, int] = {}
        for place in np.argsort(-row, kind="stable"):
            best.setdefault(pieces.spans[place].clip.entry.key, int(place))
        found.append(
            {
                "query": query,
                "hits": [_hit(pieces, place, float(row[place])) for place in list(best.values())[:top]],
            }
        )
    assert contender.config is not None
    text = contender.config.text
    return {
        "analysis": "retrieve",
        "protocol": {"pieces": f"every clip in equal pieces of about {PIECE_S:g} s; its best piece counts"},
        "data": pieces.describe(),
        "models": {contender.name: dict(contender.facts)},
        "queries": found,
        "notes": list(describe_labels(texts, load_tokenizer(text), text)),
    }


def _cut(config: RunConfig, split: str) -> SpanSet:
    """Every clip of a split in pieces."""
    corpus = open_motion(config, split)
    spans = []
    for shard_index, shard in corpus.manifest.shards_of(split):
        for sample_index, entry in enumerate(shard.samples):
            num_pieces = max(round(entry.num_frames / (PIECE_S * corpus.manifest.fps)), 1)
            borders = [entry.num_frames * place // num_pieces for place in range(num_pieces + 1)]
            clip = Clip(shard_index, sample_index, entry)
            spans += [
                LabelledSpan(clip, "", (), *ends, view)
                for view, ends in enumerate(pairwise(borders), len(spans))
            ]
    return SpanSet(corpus, split, tuple(spans))


def _hit(pieces: SpanSet, place: int, cosine: float) -> Mapping[str, Any]:
    span = pieces.spans[place]
    clip, start, stop = span.clip, span.start, span.stop
    fps = pieces.corpus.manifest.fps
    labels = [span.label for span in clip.entry.spans if span.start < stop and start < span.end]
    return {
        "clip": clip.entry.key,
        "start_s": start / fps,
        "end_s": stop / fps,
        "cosine": cosine,
        "labels": list(dict.fromkeys(labels)),
    }
