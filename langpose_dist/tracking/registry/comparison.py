"""Comparison of two versions: reasons against it, and its outcome in one metric."""

import math

from langpose_dist.host.redaction import printable
from langpose_dist.metrics.table import metric_of
from langpose_dist.tracking.registry.versions import RegisteredVersion

_ORIGIN = {
    "split": "split",
    "source_2d": "2D source",
    "data_fingerprint": "evaluation data (fingerprint)",
    "num_windows": "number of windows",
}
"""Entries that two evaluations must share, besides the protocol."""


def why_incomparable(one: RegisteredVersion, other: RegisteredVersion) -> list[str]:
    """Every reason why the numbers of two versions do not measure the same; empty if they do."""
    unknown = [f"{version.label} was never evaluated" for version in (one, other) if not version.evaluation]
    if unknown:
        return unknown
    reasons = []
    for key, title in _ORIGIN.items():
        values = [version.evaluation.get(key) for version in (one, other)]
        if None in values:
            reasons.append(f"unknown {title} of {(one, other)[values.index(None)].label}")
        elif values[0] != values[1]:
            reasons.append(f"other {title}: {_short(values[0])} against {_short(values[1])}")
    # Evaluations before there was another space do not say theirs.
    spaces = [version.evaluation.get("space", "camera") for version in (one, other)]
    if spaces[0] != spaces[1]:
        reasons.append(f"other space: {_short(spaces[0])} against {_short(spaces[1])}")
    reasons += _differences("protocol", one.evaluation.get("protocol"), other.evaluation.get("protocol"))
    # The same protocol measures something else under other cameras, noise or masks.
    return reasons + _differences("evaluation setting", dict(one.settings), dict(other.settings))


def compare_metric(name: str, new: RegisteredVersion, old: RegisteredVersion, tolerance: float) -> str | None:
    """Why a version is no replacement for another in one metric; ``None`` if it is.

    Args:
        name: Such as ``masked/mpjpe_mm``.
        new: Would replace ``old``.
        old: Holds its place.
        tolerance: Share of the old value by which the new one may be worse.
    """
    for version in (new, old):
        if problem := missing_metric(name, version):
            return problem
    metric = metric_of(name)
    candidates = [version.evaluation.get("num_labels") for version in (new, old)]
    # Evaluations of earlier versions do not say how many there were.
    if metric.kind == "retrieval" and None not in candidates and candidates[0] != candidates[1]:
        return f"other number of labels for {name}: {candidates[0]} against {candidates[1]}"
    is_more = metric.higher_is_better
    before, after = old.metrics[name], new.metrics[name]
    limit = before - abs(before) * tolerance if is_more else before + abs(before) * tolerance
    if after >= limit if is_more else after <= limit:
        return None
    allowed = f", at {'least' if is_more else 'most'} {limit:.6g} is allowed" if tolerance else ""
    return f"worse {name}: {after:.6g} against {before:.6g}{allowed}"


def missing_metric(name: str, version: RegisteredVersion) -> str | None:
    """Why a metric of a version cannot be used; ``None`` if it can."""
    value = version.metrics.get(name)
    if value is None:
        return f"{version.label} has no {name}"
    return None if math.isfinite(value) else f"{name} of {version.label} is {value}"


def _differences(title: str, one: object, other: object) -> list[str]:
    if not isinstance(one, dict) or not isinstance(other, dict) or not one or not other:
        return [f"unknown {title}"]
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return [
        f"other {title} of {_short(key)}: {_short(one.get(key))} against {_short(other.get(key))}"
        for key in keys
    ]


def _short(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= 64 else f"{text[:61]}..."
