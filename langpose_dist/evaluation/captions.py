"""Generated captions beside the rows that any number has to beat: constant, random and human captions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.captions import Captioned, TextForm
from langpose_dist.data.manifest import Manifest
from langpose_dist.evaluation.bootstrap import CONFIDENCE, NUM_RESAMPLES, draw_recordings, interval
from langpose_dist.evaluation.caption_evaluator import (
    BATCH_SIZE,
    CaptionedClip,
    read_described_clips,
)
from langpose_dist.evaluation.cells import align
from langpose_dist.metrics.caption import (
    TEXT_FORM,
    CaptionScores,
    best_constant,
    bleu_signature,
    normalise_caption,
)
from langpose_dist.metrics.table import metric_of
from langpose_dist.tasks.task import Caption

NUM_CONSTANTS = 60
"""Most frequent training captions among which the best constant is looked for."""
NUM_EXAMPLES = 5
"""Best captions that a report shows, and as many of the worst."""
TOP = 3
_COLUMNS = ("bleu_1", "bleu_4", "rouge_l", "cider_d")


@runtime_checkable
class Judge(Protocol):
    """An evaluator of captions: says which of 32 captions fits a motion best."""

    metric: ClassVar[str]
    """Name of its R-precision, without the place. Judges of one name are averaged."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Origin, for the report; ``text_form`` where it judges captions of one form alone."""
        ...

    @property
    def origin(self) -> str:
        """Origin in a few words."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of its weights."""
        ...

    def hits(self, clips: Sequence[CaptionedClip], captions: Sequence[str], top: int = 3) -> Tensor:
        """Share of random batches with each clip's own caption among the best 1, 2, ... ``top`` of it."""
        ...


@dataclass(frozen=True)
class _Row:
    name: str
    captions: Sequence[str]
    places: Sequence[int]
    """Clips that it describes."""
    first_reference: int = 0
    """References before it are not counted: a human caption is not compared with itself."""


def score_captions(
    clips: Sequence[CaptionedClip],
    generated: Mapping[str, Sequence[str]],
    train_captions: Sequence[str],
    evaluators: Sequence[Judge] = (),
) -> dict[str, Any]:
    """Score models' captions, and the rows beside them.

    Args:
        clips: Motions of the evaluated split with their references.
        generated: Name of a model -> its captions, one per clip.
        train_captions: Of the training split, without those of mirrored copies; source of the constant and of
            the random row.
        evaluators: Judges of R-precision; those of one metric are averaged.

    Raises:
        UserError: If there are fewer clips than R-precision's batches hold.

    Returns:
        ``protocol``, ``evaluators``, ``examples``: the first model's best and worst captions, and ``rows``:
        for each metric a value and its interval over recordings, a motion and its mirrored copy being one.
    """
    if evaluators and len(clips) < BATCH_SIZE:
        raise UserError(
            f"R-precision needs {BATCH_SIZE} clips with captions, there are {len(clips)}; "
            "choose a larger split or leave out --evaluator"
        )
    everything = range(len(clips))
    rows = [_Row(name, captions, everything) for name, captions in generated.items()]
    rows += _rows_without_model(clips, train_captions)
    return {
        "protocol": {
            "text_form": TEXT_FORM,
            "bleu": bleu_signature(),
            "references": "all of a clip",
            "r_precision": f"motion-to-text, batches of {BATCH_SIZE}, chance 1/{BATCH_SIZE} per place",
            "interval": f"{CONFIDENCE:.0%}, {NUM_RESAMPLES} draws of recordings; document frequencies kept",
        },
        "num_clips": len(clips),
        "num_recordings": len({clip.recording for clip in clips}),
        "evaluators": [
            {
                **one.facts,
                "metric": one.metric,
                "origin": one.origin,
                "sha256": one.sha256,
                "real_captions": _real_hits(one, clips),
            }
            for one in evaluators
        ],
        "rows": [*(_score_row(row, clips, evaluators) for row in rows), *_chance(clips, evaluators)],
        "examples": _examples(rows[0], clips),
    }


def check_text_form(judges: Sequence[Judge], form: TextForm) -> None:
    """Check that evaluators judge captions of a form.

    Raises:
        UserError: If one learned another.
    """
    for one in judges:
        if one.facts.get("text_form", form) != form:
            raise UserError(
                f"evaluator {one.sha256[:12]} learned captions as {one.facts['text_form']}, the model writes "
                f"{form}; train one with --text-form {form}"
            )


def evaluate_captions(
    config: RunConfig, captions: Sequence[Caption], evaluators: Sequence[Judge] = ()
) -> dict[str, Any]:
    """Score the captions that a model gave to its validation split.

    Raises:
        UserError: If there are too few clips for R-precision.
    """
    clips = read_described_clips(str(config.data.path), config.data.validation_split, captions)
    manifest = Manifest.load(config.data.path)
    train, held_out = (
        Captioned.find(manifest, split, config.caption, config.window.num_frames)
        for split in (config.data.train_split, config.data.validation_split)
    )
    originals = [motion for motion in train.motions if motion.entry.mirrored != "yes"]
    report = score_captions(
        clips,
        {"model": [one.generated for one in captions]},
        [text for motion in originals for text in motion.captions],
        evaluators,
    )
    report["protocol"]["caption"] = {
        name: getattr(config.caption, name)
        for name in ("input", "text_form", "num_beams", "length_penalty", "max_generated", "too_long")
    }
    condition = config.evaluation.conditions[-1]
    report["notes"] = [f"captions of {condition} {config.caption.input}", *held_out.notes()]
    return report


def captions_text(report: Mapping[str, Any]) -> str:
    """The report as lines for a terminal."""
    return "\n".join([align(caption_rows(report)), *caption_notes(report)])


def caption_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row for each model, and those that need none, below a head."""
    names = [*_COLUMNS, *(name for name in report["rows"][0]["metrics"] if "r_precision" in name)]
    rows = [["captions", *(metric_of(name).title for name in names), "clips"]]
    for row in report["rows"]:
        cells = [_cell(name, row["metrics"].get(name)) for name in names]
        rows.append([row["name"], *cells, str(row["num_clips"])])
    return rows


def caption_notes(report: Mapping[str, Any]) -> list[str]:
    """Lines that say what the numbers are."""
    protocol = report["protocol"]
    notes = [
        f"text: {protocol['text_form']}; references: {protocol['references']}; BLEU: {protocol['bleu']}",
        f"intervals: {protocol['interval']}",
    ]
    if report["evaluators"]:
        notes.append(f"R-precision: {protocol['r_precision']}; mean of its evaluators")
    for one in report["evaluators"]:
        scores = " / ".join(f"{value:.3f}" for value in one["real_captions"])
        name = metric_of(f"{one['metric']}_at_1").title.partition("@")[0]
        notes.append(f"{name} by {one['sha256'][:12]}, {one['origin']}: real captions {scores}")
    return [*notes, *report.get("notes", ())]


def example_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The model's best and worst captions, below a head."""
    head = ["clip", "ROUGE-L", "generated", "references"]
    return [
        head,
        *(
            [one["clip"], f"{one['rouge_l']:.1f}", one["generated"], " | ".join(one["references"])]
            for one in report["examples"]
        ),
    ]


def _cell(name: str, found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    digits = 1 if metric_of(name).unit else 3
    texts = {part: f"{found[part]:.{digits}f}" for part in found if part in ("value", "low", "high")}
    return f"{texts['value']} [{texts['low']}, {texts['high']}]" if "low" in texts else texts["value"]


def _rows_without_model(clips: Sequence[CaptionedClip], train_captions: Sequence[str]) -> list[_Row]:
    everything = range(len(clips))
    common = [text for text, _ in Counter(map(normalise_caption, train_captions)).most_common(NUM_CONSTANTS)]
    best = best_constant(common, [clip.captions for clip in clips])
    rng = np.random.Generator(np.random.Philox(key=0))
    drawn = [train_captions[int(place)] for place in rng.integers(len(train_captions), size=len(clips))]
    several = [place for place in everything if len(clips[place].captions) > 1]
    rows = [
        _Row(f"constant, most frequent: {common[0]!r}", [common[0]] * len(clips), everything),
        _Row(f"constant, best BLEU@4 here: {best!r}", [best] * len(clips), everything),
        _Row("random training caption", drawn, everything),
    ]
    if several:
        rows.append(_Row("person", [clips[place].captions[0] for place in several], several, 1))
    return rows


def _score_row(row: _Row, clips: Sequence[CaptionedClip], evaluators: Sequence[Judge]) -> dict[str, Any]:
    chosen = [clips[place] for place in row.places]
    scores = CaptionScores.compute(row.captions, [clip.captions[row.first_reference :] for clip in chosen])
    weights = _weights(chosen)
    values, draws = scores.means(), scores.means(weights)
    found = {name: _with_interval(float(values[name][0]), draws[name]) for name in values}
    groups: dict[str, list[Judge]] = defaultdict(list)
    for one in evaluators if len(chosen) >= BATCH_SIZE else ():
        groups[one.metric].append(one)
    for metric, judges in groups.items():
        hits = [one.hits(chosen, row.captions, TOP).double().numpy() for one in judges]
        mean = np.mean(hits, axis=0)
        means = weights @ mean / weights.sum(axis=1, keepdims=True)
        for place in range(TOP):
            entry = _with_interval(float(mean[:, place].mean()), means[:, place])
            entry["by_evaluator"] = [float(one[:, place].mean()) for one in hits]
            found[f"{metric}_at_{place + 1}"] = entry
    return {"name": row.name, "num_clips": len(chosen), "metrics": found}


def _chance(clips: Sequence[CaptionedClip], evaluators: Sequence[Judge]) -> Iterator[dict[str, Any]]:
    metrics = dict.fromkeys(one.metric for one in evaluators)
    if metrics:
        shares = {
            f"{metric}_at_{place}": {"value": place / BATCH_SIZE}
            for metric in metrics
            for place in range(1, TOP + 1)
        }
        yield {"name": "chance", "num_clips": len(clips), "metrics": shares}


def _examples(row: _Row, clips: Sequence[CaptionedClip]) -> list[dict[str, Any]]:
    scores = CaptionScores.compute(row.captions, [clip.captions for clip in clips]).rouge_l
    order = np.argsort(-scores, kind="stable").tolist()
    chosen = dict.fromkeys([*order[:NUM_EXAMPLES], *order[-NUM_EXAMPLES:]])
    return [
        {
            "clip": clips[place].key,
            "rouge_l": 100 * float(scores[place]),
            "generated": row.captions[place],
            "references": list(clips[place].captions),
        }
        for place in chosen
    ]


def _weights(clips: Sequence[CaptionedClip]) -> Float[np.ndarray, "R N"]:
    """Count of each clip in each draw of recordings."""
    recordings = sorted({clip.recording for clip in clips})
    draws = draw_recordings(len(recordings))
    return draws[:, [recordings.index(clip.recording) for clip in clips]].astype(float)


def _with_interval(value: float, draws: Float[np.ndarray, "R"]) -> dict[str, Any]:
    low, high = interval(draws)
    return {"value": value, "low": low, "high": high}


def _real_hits(evaluator: Judge, clips: Sequence[CaptionedClip]) -> list[float]:
    return evaluator.hits(clips, [clip.captions[0] for clip in clips], TOP).mean(dim=0).tolist()
