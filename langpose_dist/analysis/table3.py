"""Correlates of a model's improvement, action by action: the supplement's Table 3, with intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm, pearsonr, spearmanr

from langpose_dist.analysis.clips import ClipSet
from langpose_dist.analysis.mmd import CONFIDENCE
from langpose_dist.analysis.mmd_table import MmdOptions, compare_sets
from langpose_dist.analysis.supplement import PRINTED
from langpose_dist.analysis.visibility import measure_visibility
from langpose_dist.config import UserError

MIN_ACTIONS = 4
"""An interval of a rank correlation needs more than 3."""

Column = Mapping[str, float]
"""By action."""


def measure_table3(
    evaluation: Mapping[str, Any], path: str, train_split: str, other: str | None
) -> dict[str, Any]:
    """The table of a model that was evaluated beside its baseline.

    Args:
        evaluation: Report of ``langpose evaluate BASELINE MODEL --protocol ...``.
        path: Shards that it was evaluated on.
        train_split: Training data: of these shards, action by action, and of the other ones, all of them.
        other: Other shards, if any.

    Raises:
        UserError: If something does not fit the evaluation.
    """
    improvement = improvement_of(evaluation)
    tested = ClipSet.open(path, evaluation["data"]["split"])
    if tested.manifest.fingerprint != evaluation["data"]["fingerprint"]:
        raise UserError(f"data.path={path} holds other data than those of the evaluation; name these")
    same = MmdOptions(by="action", against="same")
    measured = {"MMD2 v->t": compare_sets(tested, ClipSet.open(path, train_split), same)}
    if other is not None:
        trained = ClipSet.open(other, train_split)
        title = f"MMD2 v->{trained.manifest.dataset}"
        measured[title] = compare_sets(tested, trained, MmdOptions(by="action", against="all"))
    columns = {
        title: {action: row["mmd2"] for action, row in report["rows"].items()}
        for title, report in measured.items()
    }
    notes = []
    try:
        seen = measure_visibility(path, tested.split)
        columns["visibility"] = {action: row["share"] for action, row in seen["actions"].items()}
    except UserError as error:
        notes.append(f"no visibility: {error}")
    return {**join_columns(improvement, columns), "notes": notes, "mmd": measured}


def join_columns(improvement: Column, others: Mapping[str, Column]) -> dict[str, Any]:
    """Rows of actions, and how each column goes along with the improvement.

    Args:
        improvement: MPJPE of the baseline less that of the model, in mm.
        others: By title; an action may be missing.

    Raises:
        UserError: If a column shares fewer than ``MIN_ACTIONS`` actions with the improvement.
    """
    return {
        "columns": list(others),
        "rows": {
            action: {
                "improvement_mm": gain,
                **{title: column.get(action) for title, column in others.items()},
            }
            for action, gain in sorted(improvement.items())
        },
        "confidence": CONFIDENCE,
        "correlations": [_correlate(title, column, improvement) for title, column in others.items()],
        "notes": [],
    }


def printed_table() -> dict[str, Any]:
    """The table that the supplement's own 15 rows give."""
    return join_columns(
        {action: row.improvement_mm for action, row in PRINTED.items()},
        {
            "MMD2 v->t": {action: row.same for action, row in PRINTED.items()},
            "MMD2 v->BABEL": {action: row.babel for action, row in PRINTED.items()},
            "visibility": {action: row.visibility for action, row in PRINTED.items()},
        },
    )


def improvement_of(report: Mapping[str, Any]) -> dict[str, float]:
    """Improvement by action from the report of ``langpose evaluate BASELINE MODEL --protocol ...``.

    Raises:
        UserError: If it has another number of models, or means over something else than actions.
    """
    found = [one for one in report.get("improvements", []) if one["metric"] == "mpjpe_mm"]
    if len(found) != 1 or "actions" not in found[0]:
        raise UserError(
            "an improvement needs a baseline and one model under a protocol that means over actions: "
            "langpose evaluate BASELINE MODEL --protocol motionbert --out FILE.json"
        )
    return found[0]["actions"]


def _correlate(title: str, column: Column, improvement: Column) -> dict[str, Any]:
    actions = [action for action in sorted(improvement) if action in column]
    if len(actions) < MIN_ACTIONS:
        raise UserError(
            f"{title} is known of {len(actions)} of {len(improvement)} actions ({', '.join(improvement)}); a "
            f"correlation needs {MIN_ACTIONS}"
        )
    largest = max(actions, key=lambda action: abs(improvement[action]))
    rest = [action for action in actions if action != largest]
    rank, p = _spearman(actions, column, improvement)
    low, high = _interval(rank, len(actions))
    x, y = _values(actions, column, improvement)
    linear: Any = pearsonr(x, y)
    rest_rank, rest_p = _spearman(rest, column, improvement)
    return {
        "column": title,
        "num_actions": len(actions),
        "spearman": rank,
        "p": p,
        "low": low,
        "high": high,
        "pearson": float(linear.statistic),
        "without_largest": {"action": largest, "spearman": rest_rank, "p": rest_p},
    }


def _spearman(actions: list[str], column: Column, improvement: Column) -> tuple[float, float]:
    x, y = _values(actions, column, improvement)
    found: Any = spearmanr(x, y)
    return float(found.statistic), float(found.pvalue)


def _values(actions: list[str], *columns: Column) -> list[list[float]]:
    return [[column[action] for action in actions] for column in columns]


def _interval(rank: float, count: int) -> tuple[float, float]:
    """Fisher's z with the standard error for ranks.

    Source:
        Bonett and Wright, Psychometrika 2000.
    """
    half = norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((1 + rank**2 / 2) / (count - 3))
    with np.errstate(divide="ignore"):  # equal order: both ends are 1
        middle = np.arctanh(rank)
    return float(np.tanh(middle - half)), float(np.tanh(middle + half))
