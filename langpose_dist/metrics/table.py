"""The table of metrics: name, unit, direction and protocol, one row each.

Everything that ranks, compares, labels or explains a number asks this table. A task of its own adds rows with
``add_metrics``.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from langpose_dist.config import UserError

Kind = Literal["pose", "retrieval", "loss", "reference"]


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
    protocol: str
    """How it is measured."""
    kind: Kind = "pose"
    """What it needs: 3D alone, labels, or nothing that could rank models (``reference``)."""
    reduction: Literal["mean", "median"] = "mean"
    """How the values of single windows become one."""
    is_key: bool = False
    """Shown in every report of a sweep, beside the objective."""

    @property
    def axis(self) -> str:
        """Title, with the unit in parentheses."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_RANK = "windows with the own label among the {} most similar of all; ties count against"

_ROWS = (
    Metric(
        "mpjpe_mm",
        "MPJPE",
        "mm",
        False,
        "mean per-joint position error over valid frames, pelvis at 0",
        is_key=True,
    ),
    Metric(
        "p_mpjpe_mm",
        "P-MPJPE",
        "mm",
        False,
        "mpjpe_mm after the best rotation, translation and scale of each frame",
    ),
    Metric("n_mpjpe_mm", "N-MPJPE", "mm", False, "mpjpe_mm after the best scale of each frame"),
    Metric("mpjve_mm_s", "MPJVE", "mm/s", False, "mean per-joint velocity error"),
    Metric("r_at_1", "R@1", "", True, f"share of {_RANK.format(1)}", "retrieval", is_key=True),
    Metric("r_at_3", "R@3", "", True, f"share of {_RANK.format(3)}", "retrieval"),
    Metric("median_rank", "median rank", "", False, "median rank of the own label", "retrieval", "median"),
    Metric(
        "most_frequent_r_at_1",
        "R@1 of the most frequent label",
        "",
        True,
        "share of labelled windows that carry training's most frequent label",
        "reference",
    ),
    Metric("loss", "total loss", "", False, "weighted sum of the loss terms", "loss"),
    Metric("loss_3d", "position loss", "m", False, "mean distance of joints, metres", "loss"),
    Metric(
        "loss_v",
        "velocity loss",
        "m per frame",
        False,
        "mean distance of joint steps, metres per frame",
        "loss",
    ),
    Metric("loss_con", "contrastive loss", "", False, "mean over the windows that carry a label", "loss"),
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
    """Row of a metric.

    Args:
        name: Such as ``mpjpe_mm`` or ``validation/masked/mpjpe_mm``.

    Raises:
        UserError: If the table has no such row.
    """
    last = name.rpartition("/")[2]
    if last not in METRICS:
        near = difflib.get_close_matches(last, METRICS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(METRICS)}"
        raise UserError(f"unknown metric {name!r}{hint}")
    return METRICS[last]


def higher_is_better(name: str) -> bool:
    """Direction in which a metric improves.

    Raises:
        UserError: If the table has no such row.
    """
    return metric_of(name).higher_is_better
