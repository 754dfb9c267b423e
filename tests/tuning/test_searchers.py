"""Suggestions of Optuna: what a resumed sweep suggests is what one without a break would have suggested."""

from typing import Any

import pytest

from langpose_dist.report.sweep import TrialRecord
from tuning.searchers import Suggestions
from tuning.settings import build_sweep
from tuning.trial import new_trial

SPACE = {
    "loss.contrastive": {"choice": ["none", "infonce", "modified"]},
    "loss.gamma": {"uniform": [0, 4]},
    "loss.temperature": {"log_uniform": [0.02, 0.5]},
    "optimizer.betas": {"choice": [[0.9, 0.99], [0.8, 0.9]]},
    "loss.num_negatives": {"integer": [1, 4]},
}
METRIC = "masked/mpjpe_mm"
SWEEP = build_sweep(
    {
        "train": {"evaluate_every": 10, "max_steps": 1000},
        "sweep": {"space": SPACE, "searcher": "optuna", "num_trials": 30, "seed": 5},
    }
)


def value_of(number: int) -> float:
    return float(number * 7 % 30)


def ended(trial: TrialRecord, **changes: Any) -> TrialRecord:
    """Its record at the end."""
    evaluation = {"step": 10, "metrics": {METRIC: value_of(trial.number)}}
    content = trial.model_dump(mode="json") | {"status": "finished", "step": 10, **changes}
    return TrialRecord.model_validate({**content, "evaluations": (evaluation,)})


def suggest(count: int, suggestions: Suggestions, failed: int | None = None) -> list[TrialRecord]:
    """One at a time, each told before the next."""
    found = []
    for _ in range(count):
        trial = suggestions.next()
        metrics = None if trial.number == failed else {METRIC: value_of(trial.number)}
        suggestions.tell(trial.number, metrics)
        found.append(trial)
    return found


def test_a_suggestion_depends_on_seed_number_and_the_trials_that_ended() -> None:
    whole = suggest(30, Suggestions(SWEEP, range(30)), failed=3)
    for stop in (1, 12, 20):
        again = Suggestions(SWEEP, range(stop, 30))
        for trial in whole[:stop]:
            again.remember(ended(trial, status="diverged") if trial.number == 3 else ended(trial))
        assert suggest(30 - stop, again, failed=3) == whole[stop:]
    other = Suggestions(SWEEP.with_values({"sweep.seed": 6}), range(30))
    assert suggest(30, other)[:5] != whole[:5]


def test_a_trial_that_was_interrupted_is_told_of_when_it_ends() -> None:
    whole = suggest(30, Suggestions(SWEEP, range(30)))
    again = Suggestions(SWEEP, range(12, 30))
    for trial in whole[:12]:
        again.remember(trial if trial.number == 11 else ended(trial))
    again.tell(11, {METRIC: value_of(11)})
    assert suggest(18, again) == whole[12:]


def test_what_is_fixed_beforehand_teaches_nothing() -> None:
    suggestions = Suggestions(SWEEP, range(1, 30))
    suggestions.tell(new_trial(0, 0, None, SWEEP.settings.resources).number, {METRIC: 0.0})
    assert suggestions.num_left == 29


@pytest.mark.parametrize("count", [2])
def test_two_objectives_are_both_told(count: int) -> None:
    two = SWEEP.with_values(
        {
            "sweep.space": {"loss.gamma": {"uniform": [0, 4]}},
            "sweep.objective": [METRIC, "masked/r_at_1"],
            "sweep.scheduler.name": "none",
        }
    )
    suggestions = Suggestions(two, range(10))
    for _ in range(count):
        trial = suggestions.next()
        suggestions.tell(trial.number, {METRIC: 1.0, "masked/r_at_1": 0.5})
    assert suggestions.num_left == 8
