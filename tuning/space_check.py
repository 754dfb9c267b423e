"""The keys of a configuration that a sweep may vary."""

from collections.abc import Iterable

from langpose_dist.config import ConfigError, RunConfig, suggest
from langpose_dist.config.affects import EVALUATION, INPUT, LENGTH, RUNTIME, fields_of, marks
from langpose_dist.metrics.table import metric_of

STEP_KEYS = ("train.global_batch_size", "window.stride", "data.train_split")
"""Keys that the number of steps in an epoch depends on."""
_CANDIDATE_KEYS = ("text.encoder", "text.max_tokens")
"""Keys that decide which labels are one candidate of a retrieval."""
_EQUAL_STEPS = "trials are compared at equal steps, so it must be the same in all"
_MEASURED = "it changes what is measured, so that trials could not be compared"
_REFUSED_KEYS = {
    "seed": "give several seeds in sweep.seeds",
    "train.evaluate_every": _EQUAL_STEPS,
    "window.num_frames": _MEASURED,
}
# Evaluation draws its cameras, errors and masks from the same ranges as training.
_REFUSED = {
    LENGTH: _EQUAL_STEPS,
    RUNTIME: "it does not change what is learnt",
    EVALUATION: _MEASURED,
    INPUT: _MEASURED,
}


def check_key(key: str, schema: type[RunConfig]) -> None:
    """Refuse a key that cannot be varied.

    Args:
        key: Dotted key.
        schema: Of the configuration that is varied.

    Raises:
        ConfigError: With the key that was meant, or the reason.
    """
    fields = dict(fields_of(schema))
    if key not in fields:
        raise ConfigError(f"sweep.space: unknown key {key!r}{suggest(key, list(fields))}")
    reason = _REFUSED_KEYS.get(key) or _REFUSED.get(dict(marks(schema))[key])
    if reason is not None:
        raise ConfigError(f"sweep.space: {key} cannot be varied: {reason}")


def check_candidates(keys: Iterable[str], objective: Iterable[str]) -> None:
    """Refuse an objective that ranks labels where the trials have different ones to rank.

    Args:
        keys: Dotted keys that are varied.
        objective: Metrics by which trials are compared.

    Raises:
        ConfigError: With the key and the metric.
    """
    varied = [key for key in _CANDIDATE_KEYS if key in keys]
    ranking = [metric for metric in objective if metric_of(metric).kind == "retrieval"]
    if varied and ranking:
        raise ConfigError(
            f"sweep.space: {varied[0]} cannot be varied with sweep.objective={ranking[0]}: it changes which "
            "labels can be told apart, so that trials would rank different ones; choose another objective"
        )
