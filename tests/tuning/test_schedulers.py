"""Schedulers that remember: the same decisions with and without a restart."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tuning.schedulers import RememberingScheduler, read_decisions, rungs
from tuning.settings import ResourcesConfig, build_sweep
from tuning.trial import new_trial, to_tune

METRIC = "masked/mpjpe_mm"


class Trial:
    """A scheduler's view of one of Tune's trials."""

    def __init__(self, number: int, *, is_baseline: bool = False) -> None:
        record = new_trial(number, 0, None if is_baseline else {}, ResourcesConfig())
        self.config = to_tune(record, Path("sweep"))


def make(path: Path) -> RememberingScheduler:
    inner = AsyncHyperBandScheduler("step", METRIC, "min", max_t=90, grace_period=10, reduction_factor=3)
    return RememberingScheduler(inner, METRIC, path)


def tell(scheduler: Any, trial: Any, step: int, value: float) -> str:
    return scheduler.on_trial_result(None, trial, {"step": step, METRIC: value})


@given(data=st.data())
def test_a_restart_changes_no_decision(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    values = data.draw(
        st.lists(st.lists(st.floats(1, 100), min_size=9, max_size=9), min_size=3, max_size=6), label="values"
    )
    order = data.draw(st.permutations(sorted([*range(len(values))] * 9)), label="order")
    cut = data.draw(st.integers(0, len(order)), label="cut")
    folder = tmp_path_factory.mktemp("memory")

    def play(path: Path, *, restart_at: int | None) -> list[str]:
        trials = [Trial(number) for number in range(len(values))]
        scheduler = make(path)
        steps = [0] * len(values)
        decisions, stopped = [], set()
        for place, number in enumerate(order):
            if place == restart_at:
                scheduler = make(path)
            if number in stopped:
                continue
            steps[number] += 1
            value = values[number][steps[number] - 1]
            decision = tell(scheduler, trials[number], 10 * steps[number], value)
            decisions.append(decision)
            if decision == TrialScheduler.STOP:
                stopped.add(number)
        return decisions

    assert play(folder / "a", restart_at=cut) == play(folder / "b", restart_at=None)


def test_a_result_that_comes_again_gets_the_answer_of_the_first_time(tmp_path: Path) -> None:
    scheduler = make(tmp_path / "memory")
    good, bad, other = (Trial(number) for number in range(3))
    assert tell(scheduler, good, 10, 1.0) == TrialScheduler.CONTINUE
    assert tell(scheduler, bad, 10, 9.0) == TrialScheduler.STOP
    assert tell(scheduler, other, 10, 0.5) == TrialScheduler.CONTINUE
    again = make(tmp_path / "memory")
    assert tell(again, bad, 10, 9.0) == TrialScheduler.STOP
    assert len(read_decisions(tmp_path / "memory")) == 3


def test_what_is_no_number_and_the_baseline_are_not_compared(tmp_path: Path) -> None:
    baseline = Trial(0, is_baseline=True)
    scheduler = make(tmp_path / "memory")
    assert tell(scheduler, Trial(1), 10, 1.0) == TrialScheduler.CONTINUE
    assert tell(scheduler, Trial(2), 10, math.nan) == TrialScheduler.CONTINUE
    assert tell(scheduler, baseline, 10, 99.0) == TrialScheduler.CONTINUE
    assert [line["trial_id"] for line in read_decisions(tmp_path / "memory")] == ["001"]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    line = {"trial_id": "000", "step": 10, "value": 1.0, "decision": "CONTINUE"}
    path = tmp_path / "memory"
    path.write_text(json.dumps(line) + "\n" + json.dumps(line)[:20], encoding="utf-8")
    # What comes next does not fall victim to it.
    tell(make(path), Trial(1), 10, 2.0)
    assert [line["trial_id"] for line in read_decisions(path)] == ["000", "001"]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"name": "asha", "reduction_factor": 3}, [10, 30, 90]),
        ({"name": "asha", "reduction_factor": 2, "grace_evaluations": 2}, [20, 40, 80]),
        ({"name": "none"}, []),
    ],
)
def test_rungs_are_the_steps_at_which_asha_compares(scheduler: dict[str, Any], expected: list[int]) -> None:
    train = {"max_steps": 100, "evaluate_every": 10}
    content = {"train": train, "optimizer": {"warmup_steps": 5}, "sweep": {"scheduler": scheduler}}
    assert rungs(build_sweep(content)) == expected
