"""The table of metrics: name, unit, direction and protocol, one row each.

Everything that ranks, compares, labels or explains a number asks this table. A task of its own adds rows with
``add_metrics``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from langpose_dist.config import UserError, suggest_or_list

Kind = Literal["pose", "retrieval", "caption", "loss", "reference"]
Reduction = Literal["mean", "median"]

TEXT_FORM = "NFKC, lower case, everything but a-z, 0-9 and ' to blanks"
"""Form of captions, of both sides of a score; ``metrics.caption.normalise_caption`` gives it."""


@dataclass(frozen=True)
class Metric:
    """One row."""

    name: str
    """Last part of a full name such as ``validation/masked/mpjpe_mm``."""
    title: str
    """For tables and axes, without the unit."""
    unit: str
    """Such as ``mm``; empty for shares, ranks and sums of different losses."""
    higher_is_better: bool
    protocol: str = ""
    """Definition of the measurement; empty where its name says all."""
    kind: Kind = "pose"
    """Kind of number: needs 3D alone, needs labels, or cannot rank models (``reference``)."""
    reduction: Reduction = "mean"
    """Reduction of the values of single windows to one."""
    protocol_name: str | None = None
    """Key of the protocol in reports, where several metrics share one; default: the name."""
    is_key: bool = False
    """Shown in every report of a sweep, beside the objective."""

    @property
    def axis(self) -> str:
        """Title, with the unit in parentheses."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_RANKS = (
    "share of windows with the drawn label among the k most similar of all, ties count against; labels that "
    "the text encoder cannot tell apart are one; further labels of the same frames count as misses"
)
_BLEU = (
    "corpus BLEU of orders 1 to n by sacrebleu, without smoothing, against all references, both sides in "
    f"the form: {TEXT_FORM}"
)
_R_PRECISION = (
    "share of random batches of 32 motions with the motion's own caption among the k most similar, by an "
    "evaluator that shares no weights with the model; ties count against"
)
_SELF_R_PRECISION = (
    "the same by the text and pose side of a pretrained model: a diagnostic, as a captioner with that "
    "encoder shares its mistakes"
)
_PUBLISHED_R_PRECISION = (
    "the same by the evaluator of Guo et al. (CVPR 2022), whose files the user has, and Euclidean distance; "
    "words have their most frequent kind in the data set's texts instead of spaCy's"
)
_ANY_RANKS = "the same, with every label of the drawn label's frames as a hit, and none of them as a miss"
_TOP = (
    "share of samples, one for each class of a chunk of motion, whose class is among the k of the best "
    "scores (BABEL); ties and the chunk's other classes count against, so the best possible is below 1"
)
_ANY_TOP = "share of chunks with any of their classes among the k of the best scores (MotionCLIP)"


def _pose(name: str, title: str, unit: str, protocol: str, *, is_key: bool = False) -> Metric:
    return Metric(name, title, unit, higher_is_better=False, protocol=protocol, is_key=is_key)


def _percent(name: str, title: str, protocol: str) -> Metric:
    return Metric(name, title, "%", higher_is_better=True, protocol=protocol)


def _recall(name: str, title: str, protocol: str, *, is_key: bool = False) -> Metric:
    group = f"{name.rstrip('0123456789')}k"
    return Metric(name, title, "", True, protocol, "retrieval", protocol_name=group, is_key=is_key)


def _caption(name: str, title: str, protocol: str, *, is_key: bool = False) -> Metric:
    return Metric(name, title, "%", higher_is_better=True, protocol=protocol, kind="caption", is_key=is_key)


def _bleu(order: int) -> Metric:
    row = _caption(f"bleu_{order}", f"BLEU@{order}", _BLEU, is_key=order in (1, 4))
    return replace(row, protocol_name="bleu_n")


def _r_precision(place: int, by: str, title: str, protocol: str) -> Metric:
    row = _recall(f"{by}_at_{place}", f"{title}@{place}", protocol)
    return replace(row, kind="caption")


_JUDGES = (
    ("r_precision", "R-precision", _R_PRECISION),
    ("self_r_precision", "self R-precision", _SELF_R_PRECISION),
    ("published_r_precision", "published R-precision", _PUBLISHED_R_PRECISION),
)


def _norm(name: str, title: str, protocol: str) -> Metric:
    return Metric(name, title, "", higher_is_better=True, protocol=protocol, kind="retrieval")


def _loss(name: str, title: str, unit: str = "") -> Metric:
    return Metric(name, title, unit, higher_is_better=False, kind="loss")


_ROWS = (
    _loss("loss", "total loss"),
    _loss("loss_3d", "position loss", "m"),
    _loss("loss_v", "velocity loss", "m per frame"),
    _loss("loss_con", "contrastive loss"),
    _loss("loss_caption", "caption loss"),
    _loss("loss_n", "position loss after scaling", "m"),
    _loss("loss_limb", "limb length loss", "m"),
    _loss("loss_limb_variance", "limb length variance"),
    _loss("loss_angle", "limb angle loss", "rad"),
    _loss("loss_angle_velocity", "limb angle velocity loss", "rad per frame"),
    _pose(
        *("mpjpe_mm", "MPJPE", "mm"),
        "mean per-joint position error over all valid frames, pelvis at 0, camera axes",
        is_key=True,
    ),
    _pose(
        *("p_mpjpe_mm", "P-MPJPE", "mm"),
        "the same after the best rotation, translation and scale of each frame",
    ),
    _pose("n_mpjpe_mm", "N-MPJPE", "mm", "the same after the best scale of each frame"),
    _pose("mpjve_mm_s", "MPJVE", "mm/s", "mean per-joint velocity error"),
    _pose("mpjve_mm", "MPJVE", "mm/frame", "mean per-joint error of differences between neighbouring frames"),
    _pose("accel_mm", "acceleration error", "mm/frame²", "the same of second differences"),
    _percent(
        *("pck_3dhp", "PCK"),
        "14 joints (no pelvis, spine, neck) with an error strictly below 150 mm, pelvis at 0",
    ),
    _percent(
        *("auc_3dhp", "AUC"),
        "mean of that share over thresholds of 0, 5, ... 150 mm; a perfect result has 96.77",
    ),
    _recall("any_r_at_1", "R@1, any true label", _ANY_RANKS, is_key=True),
    _recall("any_r_at_3", "R@3, any true label", _ANY_RANKS),
    _recall("r_at_1", "R@1", _RANKS, is_key=True),
    *(_recall(f"r_at_{k}", f"R@{k}", _RANKS) for k in (2, 3, 5, 10)),
    Metric(
        *("median_rank", "median rank", "", False, "rank of the drawn label, as in r_at_k", "retrieval"),
        reduction="median",
    ),
    *(_bleu(order) for order in (1, 2, 3, 4)),
    _caption("rouge_l", "ROUGE-L", "coco-caption's, beta 1.2, mean over clips; text as for BLEU"),
    _caption(
        *("cider_d", "CIDEr-D"),
        "coco-caption's, times 100, with document frequencies of the evaluated references; text as for BLEU",
        is_key=True,
    ),
    *(_r_precision(place, *by) for by in _JUDGES for place in (1, 2, 3)),
    *(_recall(f"top_{k}", f"top-{k}", _TOP) for k in (1, 5)),
    _norm("top_1_norm", "top-1-norm", "mean over the classes of top_1 of their samples (BABEL)"),
    *(_recall(f"any_top_{k}", f"top-{k}, any class", _ANY_TOP) for k in (1, 5)),
    _norm("any_top_1_norm", "top-1-norm, any class", "mean over the classes of any_top_1 of their chunks"),
    Metric("most_frequent_r_at_1", "R@1 of the most frequent label", "", True, kind="reference"),
    Metric(
        *("nats_per_word", "cross-entropy per word", "nats", False),
        "of a drawn caption of each motion: mean over its words and its end, then over motions; words that "
        "the model does not know are one word, unknown",
        kind="caption",
    ),
)

METRICS: dict[str, Metric] = {row.name: row for row in _ROWS}


def add_metrics(rows: Iterable[Metric]) -> None:
    """Add the rows of a task; adding a row again changes nothing.

    Raises:
        ValueError: If another row has the name.
    """
    for row in rows:
        if METRICS.setdefault(row.name, row) != row:
            raise ValueError(f"metric {row.name!r} is in the table already, with another meaning")


def metric_of(name: str) -> Metric:
    """Row of a metric such as ``mpjpe_mm`` or ``validation/masked/mpjpe_mm``.

    Raises:
        UserError: If the table has no such row.
    """
    last = name.rpartition("/")[2]
    if last not in METRICS:
        raise UserError(f"unknown metric {name!r}{suggest_or_list(last, METRICS)}")
    return METRICS[last]


def higher_is_better(name: str) -> bool:
    """Direction in which a metric improves.

    Raises:
        UserError: If the table has no such row.
    """
    return metric_of(name).higher_is_better
