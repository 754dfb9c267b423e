"""Action recognition by a motion encoder: by its text side, and by a linear probe on its frozen features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from langpose_dist.analysis.classes import FROM_DATA, find_classes
from langpose_dist.analysis.embeddings import (
    LabelledSpan,
    Pooling,
    SpanSet,
    check_encoder,
    embed_spans,
    has_text,
    label_features,
    untrained,
)
from langpose_dist.analysis.linear_probe import fit_probe
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.labels import held_out_labels
from langpose_dist.evaluation.bootstrap import CONFIDENCE, NUM_RESAMPLES, draw_recordings, interval
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.metrics.recognition import (
    TOP,
    Hits,
    Table,
    ceiling_hits,
    chance_hits,
    group_mean,
    recognition_tables,
    top_hits,
)
from langpose_dist.metrics.table import metric_of

Method = Literal["text", "linear"]

CHUNK_S = 5.0
LENGTHS = {"0-1 s": (0, 1), "1-2 s": (1, 2), "2-5 s": (2, 5), "5+ s": (5, np.inf)}
"""Length of the segment that a chunk is of: above the first number of seconds, up to the second."""
METRICS = ("top_1", "top_5", "top_1_norm", "any_top_1", "any_top_5", "any_top_1_norm")
EXTRA = "extra_"
"""Beginning of the names of BABEL's files that are not dense; BABEL's benchmark leaves them out."""
_PROTOCOL = {
    "samples": f"labelled segments in chunks of {CHUNK_S:g} s, the last of each shorter; a sample for each "
    "class of a chunk; chunks without a class, and what BABEL's extra files label, are left out",
    "text": "the class whose name is most similar to the motion; without training on the classes, but "
    "pretraining may have seen their names; those that it was not shown have a table of their own",
    "linear": "multinomial logistic regression on frozen standardised features of the training split's "
    "samples; its regularisation is chosen by the likelihood of a fifth of that split's clips",
    "seen": "a chunk within the model's window around it, or alone where is_isolated; a virtual camera, of "
    "synthetic 2D, is drawn for each chunk, the same for every model",
    "features": "own: the model's pooling, in the space of the labels; mean: mean of the representation "
    "over frames and joints",
    "interval": f"{100 * CONFIDENCE:g} %, {NUM_RESAMPLES} draws of clips",
    "chance": "a random order of the classes",
    "most_frequent": "the order of the classes in the training split, whatever the motion",
    "ceiling": "a perfect classifier",
}


@dataclass(frozen=True, kw_only=True)
class RecognitionOptions:
    """Classes, methods, splits and sight of a recognition."""

    classes: str
    """See ``find_classes``."""
    methods: Sequence[Method] = ("text", "linear")
    train_split: str = "train"
    split: str = "validation"
    min_samples: int = 5
    seed: int = 0
    """Seed of the random encoder, and of the clips that choose the regularisation of the probe."""
    isolated: bool = False
    """Show models each chunk alone, as BABEL's benchmark does, without the motion around it."""


@dataclass(frozen=True)
class Chunks:
    """Chunks of the labelled segments of a split."""

    spans: SpanSet
    names: tuple[tuple[str, ...], ...]
    """Categories of each chunk's segment, or its label where it has none."""
    seconds: Float[np.ndarray, "N"]
    """Length of the whole segment."""
    num_extra: int
    """Spans of BABEL's extra files, which are left out."""

    @classmethod
    def open(cls, config: RunConfig, split: str) -> "Chunks":
        """Cut the segments of a split.

        Raises:
            UserError: As ``SpanSet.open``; or if it has nothing but BABEL's extra files.
        """
        whole = SpanSet.open(config, split)
        fps = whole.corpus.manifest.fps
        dense = [span for span in whole.spans if not _is_extra(whole, span)]
        if not dense:
            raise UserError(
                f"split {split!r} holds labels of BABEL's extra files alone; choose another split"
            )
        spans, names, seconds = [], [], []
        for segment in _join_categories(whole, dense):
            for start in range(segment.start, segment.stop, round(CHUNK_S * fps)):
                stop = min(start + round(CHUNK_S * fps), segment.stop)
                spans.append(segment._replace(start=start, stop=stop, view=len(spans)))
                names.append(segment.categories or (segment.label,))
                seconds.append((segment.stop - segment.start) / fps)
        chunks = replace(whole, spans=tuple(spans))
        return cls(chunks, tuple(names), np.array(seconds), len(whole.spans) - len(dense))

    def of_classes(self, classes: Sequence[str]) -> "Chunks":
        """Those of some class.

        Raises:
            UserError: If there is none.
        """
        kept = [row for row, names in enumerate(self.names) if not set(names).isdisjoint(classes)]
        if not kept:
            some = ", ".join(sorted({name for names in self.names for name in names})[:5])
            raise UserError(
                f"split {self.spans.split!r} has no chunk of the {len(classes)} classes; its labels are such "
                f"as {some}; give --classes labels, or build BABEL's data with categories"
            )
        spans = replace(self.spans, spans=tuple(self.spans.spans[row] for row in kept))
        return replace(
            self, spans=spans, names=tuple(self.names[row] for row in kept), seconds=self.seconds[kept]
        )

    def is_true(self, classes: Sequence[str]) -> Bool[np.ndarray, "N C"]:
        """Classes of each chunk."""
        return np.array([[name in names for name in classes] for names in self.names])

    @property
    def clips(self) -> Int[np.ndarray, "N"]:
        """Number of each chunk's clip."""
        return np.unique([span.recording for span in self.spans.spans], return_inverse=True)[1]

    def describe(self, classes: Sequence[str]) -> dict[str, Any]:
        """Identity of the data, and samples of each class."""
        counts = self.is_true(classes).sum(axis=0)
        return {
            **self.spans.describe(),
            "num_samples": int(counts.sum()),
            "samples_of_class": dict(zip(classes, counts.tolist(), strict=True)),
            "num_extra_left_out": self.num_extra,
        }


def _is_extra(spans: SpanSet, span: LabelledSpan) -> bool:
    meta = spans.corpus.reader.read_meta(span.clip.shard_index, span.clip.sample_index)
    return str(meta.get("babel", "")).startswith(EXTRA)


def _join_categories(whole: SpanSet, spans: Sequence[LabelledSpan]) -> Iterator[LabelledSpan]:
    """Segments; where the data were built with the categories as labels, those of equal frames are one."""
    if whole.corpus.manifest.build.get("label") != "act_cat":
        yield from spans
        return
    segments: dict[tuple[int, ...], list[LabelledSpan]] = {}
    for span in spans:
        place = (span.clip.shard_index, span.clip.sample_index, span.start, span.stop)
        segments.setdefault(place, []).append(span)
    for some in segments.values():
        yield some[0]._replace(categories=tuple(dict.fromkeys(span.label for span in some)))


def measure_recognition(
    contenders: Sequence[Contender], config: RunConfig, options: RecognitionOptions
) -> dict[str, Any]:
    """Recognise the chunks of a split by every model; plain containers, fit for JSON.

    Args:
        contenders: Models, on the device that embeds.
        config: Its ``data``, ``camera`` and ``noise`` sections say what models see.
        options: Classes, methods and splits.

    Raises:
        UserError: If the data lack labels or classes, or a model cannot embed them.
    """
    train = Chunks.open(config, options.train_split)
    classes = find_classes(options.classes, train.names, options.min_samples)
    for one in contenders:
        check_encoder(one, train.spans, "mean")
    train = train.of_classes(classes)
    tested = Chunks.open(config, options.split).of_classes(classes)
    truth = _Truth(tested.is_true(classes), tested.clips, tested.seconds)
    report: dict[str, Any] = {
        "analysis": "recognise",
        "protocol": {
            **_PROTOCOL,
            "classes": options.classes,
            "num_classes": len(classes),
            "min_samples": options.min_samples if options.classes == FROM_DATA else None,
            "seed": options.seed,
            "is_isolated": options.isolated,
            "metrics": {name: metric_of(name).protocol for name in METRICS},
        },
        "train": train.describe(classes),
        "data": tested.describe(classes),
        "references": truth.references(train.is_true(classes).sum(axis=0)),
        "models": {one.name: dict(one.facts) for one in contenders},
        "rows": [],
        "zero_shot": [],
        "notes": [],
    }
    if "text" in options.methods:
        for contender in contenders:
            if not has_text(contender):
                report["notes"].append(f"{contender.name} has no text side: no row of method text")
                continue
            features = embed_spans(contender, tested.spans, isolated=options.isolated)
            scores = features @ label_features(contender, classes).T
            report["rows"].append({"model": contender.name, "method": "text", "features": "own"})
            report["rows"][-1] |= truth.score(scores)
            report["zero_shot"] += _zero_shot(contender, classes, scores, truth)
    if "linear" in options.methods:
        random = untrained(next(filter(has_text, contenders), contenders[0]), options.seed)
        report["models"][random.name] = dict(random.facts)
        for contender in (random, *contenders):
            poolings: tuple[Pooling, ...] = ("own", "mean") if has_text(contender) else ("mean",)
            for pooling in poolings:
                known, new = (
                    embed_spans(contender, one.spans, pooling=pooling, isolated=options.isolated)
                    for one in (train, tested)
                )
                probe = fit_probe(known, train.is_true(classes), train.clips, options.seed)
                report["rows"].append({"model": contender.name, "method": "linear", "features": pooling})
                report["rows"][-1] |= {"inverse_regularisation": probe.c, **truth.score(probe(new))}
    return report


@dataclass(frozen=True)
class _Truth:
    """Classes, clips and lengths of N chunks, which scores are held against."""

    is_true: Bool[np.ndarray, "N C"]
    clips: Int[np.ndarray, "N"]
    seconds: Float[np.ndarray, "N"]

    def score(self, scores: Float[np.ndarray, "N C"]) -> dict[str, Any]:
        """Metrics of the scores of classes."""
        return self.measure({k: top_hits(scores, self.is_true, k) for k in TOP})

    def measure(self, hits: Mapping[int, Hits]) -> dict[str, Any]:
        """Metrics with intervals, and by length of the segment without."""
        values: dict[str, Any] = {}
        tables = recognition_tables(hits, self.is_true, self.clips)
        draws = draw_recordings(int(self.clips.max()) + 1)
        for name in METRICS:
            low, high = interval(group_mean(*(draws @ part for part in tables[name])))
            values[name] = {"value": _mean(tables[name]), "low": low, "high": high}
        by_length: dict[str, Any] = {}
        for name, (above, up_to) in LENGTHS.items():
            chosen = (self.seconds > above) & (self.seconds <= up_to)
            if chosen.any():
                some = {k: one.of_chunks(self.is_true, chosen) for k, one in hits.items()}
                tables = recognition_tables(some, self.is_true[chosen], self.clips[chosen])
                by_length[name] = {"num_chunks": int(chosen.sum())}
                by_length[name] |= {metric: _mean(tables[metric]) for metric in METRICS}
        return {"values": values, "by_length": by_length}

    def references(self, train_counts: Int[np.ndarray, "C"]) -> dict[str, Any]:
        """Chance, the most frequent class and a perfect classifier."""
        order = np.argsort(np.argsort(-train_counts, kind="stable"))
        return {
            "chance": self.measure({k: chance_hits(self.is_true, k) for k in TOP}),
            "most_frequent": self.score(np.tile(-order.astype(float), (len(self.is_true), 1))),
            "ceiling": self.measure({k: ceiling_hits(self.is_true, k) for k in TOP}),
        }


def _mean(table: Table) -> float:
    return float(group_mean(*(part.sum(axis=0) for part in table)))


def _zero_shot(
    contender: Contender, classes: Sequence[str], scores: Float[np.ndarray, "N C"], truth: _Truth
) -> list[dict[str, Any]]:
    """Chunks of the classes whose names pretraining was not shown, among all classes and among those."""
    assert contender.config is not None
    names = contender.config.data.held_out_categories
    held_out = held_out_labels(((name, ()) for name in classes), names)
    is_unseen = np.array([name in held_out for name in classes])
    rows = (truth.is_true & is_unseen).any(axis=1)
    if not rows.any():
        return []
    clips = np.unique(truth.clips[rows], return_inverse=True)[1]
    among: dict[str, Any] = {}
    for title, columns in (("all classes", np.ones_like(is_unseen)), ("unseen classes", is_unseen)):
        part = _Truth((truth.is_true & is_unseen)[rows][:, columns], clips, truth.seconds[rows])
        among[title] = {
            "num_classes": int(columns.sum()),
            **part.score(scores[rows][:, columns]),
            "chance": part.measure({k: chance_hits(part.is_true, k) for k in TOP})["values"],
        }
    return [
        {"model": contender.name, "unseen": sorted(held_out), "num_chunks": int(rows.sum()), "among": among}
    ]
