"""Schedulers that remember: the same decisions with and without a restart."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import BasicVariantGenerator

from tuning.schedulers import (
    PacedScheduler,
    RememberingPopulation,
    RememberingScheduler,
    read_decisions,
    rungs,
)
from tuning.settings import build_sweep

METRIC = "masked/mpjpe_mm"


class Trial:
    """What a scheduler sees of one of Tune's trials."""

    def __init__(self, number: int, *, is_baseline: bool = False, folder: Path | None = None) -> None:
        self.trial_id = f"t{number}"
        self.status = "PENDING"
        plan = {"number": number, "seed": 0, "params": {}, "is_baseline": is_baseline, "stage": "search"}
        self.config = {"plan": plan}
        self.experiment_tag = ""
        self.local_experiment_path = str(folder)
        self.manager = SimpleNamespace(checkpoint_config=SimpleNamespace(num_to_keep=4))
        self.run_metadata = SimpleNamespace(checkpoint_manager=self.manager)
        self.temporary_state = SimpleNamespace(saving_to=None)
        self.checkpoint = f"checkpoint of t{number}"
        self.last_result: dict[str, Any] = {}

    def set_status(self, status: str) -> None:
        self.status = status

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag


class Controller:
    """What a scheduler asks of Tune's loop."""

    def __init__(self, trials: list[Any]) -> None:
        self.trials = trials
        self.live = set(trials)
        self._search_alg = self.search_alg = BasicVariantGenerator(max_concurrent=1)

    def get_trials(self) -> list[Any]:
        return self.trials

    def pause_trial(self, trial: Any, should_checkpoint: bool) -> None:
        trial.set_status("PAUSED")

    def _set_trial_status(self, trial: Any, status: str) -> None:
        trial.set_status(status)

    def get_live_trials(self) -> set[Any]:
        return self.live


def make(kind: str, path: Path) -> RememberingScheduler:
    options: dict[str, Any] = {"time_attr": "step", "metric": METRIC, "mode": "min", "grace_period": 10}
    inner = (
        AsyncHyperBandScheduler(**options, max_t=90, reduction_factor=3)
        if kind == "asha"
        else MedianStoppingRule(**options, min_samples_required=2, min_time_slice=10**9)
    )
    return RememberingScheduler(inner, METRIC, path)


def tell(scheduler: Any, controller: Any, trial: Any, step: int, value: float) -> str:
    return scheduler.on_trial_result(controller, trial, {"step": step, METRIC: value})


def add_all(scheduler: Any, controller: Any) -> None:
    for trial in controller.trials:
        scheduler.on_trial_add(controller, trial)


@pytest.mark.parametrize("kind", ["asha", "median"])
@given(data=st.data())
def test_a_restart_changes_no_decision(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    values = data.draw(
        st.lists(st.lists(st.floats(1, 100), min_size=9, max_size=9), min_size=3, max_size=6), label="values"
    )
    order = data.draw(st.permutations(sorted([*range(len(values))] * 9)), label="order")
    cut = data.draw(st.integers(0, len(order)), label="cut")
    folder = tmp_path_factory.mktemp("memory")

    def play(path: Path, *, restart_at: int | None) -> list[str]:
        controller = Controller([Trial(number) for number in range(len(values))])
        scheduler = make(kind, path)
        add_all(scheduler, controller)
        steps = [0] * len(values)
        decisions, stopped = [], set()
        for place, number in enumerate(order):
            if place == restart_at:
                controller = Controller([Trial(number) for number in range(len(values))])
                scheduler = make(kind, path)
                add_all(scheduler, controller)
            if number in stopped:
                continue
            steps[number] += 1
            value = values[number][steps[number] - 1]
            decision = tell(scheduler, controller, controller.trials[number], 10 * steps[number], value)
            decisions.append(decision)
            if decision == TrialScheduler.STOP:
                stopped.add(number)
        return decisions

    assert play(folder / "a", restart_at=cut) == play(folder / "b", restart_at=None)


def test_a_result_that_comes_again_gets_the_answer_of_the_first_time(tmp_path: Path) -> None:
    controller = Controller([Trial(number) for number in range(3)])
    scheduler = make("asha", tmp_path / "memory")
    add_all(scheduler, controller)
    good, bad, other = controller.trials
    assert tell(scheduler, controller, good, 10, 1.0) == TrialScheduler.CONTINUE
    assert tell(scheduler, controller, bad, 10, 9.0) == TrialScheduler.STOP
    assert tell(scheduler, controller, other, 10, 0.5) == TrialScheduler.CONTINUE
    again = make("asha", tmp_path / "memory")
    restored = Controller([Trial(number) for number in range(3)])
    add_all(again, restored)
    assert tell(again, restored, restored.trials[1], 10, 9.0) == TrialScheduler.STOP
    assert len(read_decisions(tmp_path / "memory")) == 3


def test_what_is_no_number_and_the_baseline_are_not_compared(tmp_path: Path) -> None:
    baseline = Trial(0, is_baseline=True)
    controller = Controller([baseline, *(Trial(number) for number in range(1, 4))])
    scheduler = make("asha", tmp_path / "memory")
    add_all(scheduler, controller)
    assert tell(scheduler, controller, controller.trials[1], 10, 1.0) == TrialScheduler.CONTINUE
    assert tell(scheduler, controller, controller.trials[2], 10, math.nan) == TrialScheduler.CONTINUE
    assert tell(scheduler, controller, baseline, 10, 99.0) == TrialScheduler.CONTINUE
    assert [line["trial_id"] for line in read_decisions(tmp_path / "memory")] == ["t1"]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    line = {"trial_id": "t0", "step": 10, "value": 1.0, "decision": "CONTINUE"}
    path = tmp_path / "memory"
    path.write_text(json.dumps(line) + "\n" + json.dumps(line)[:20], encoding="utf-8")
    assert read_decisions(path) == [line]
    assert read_decisions(tmp_path / "none") == []
    # What comes next does not fall victim to it.
    controller = Controller([Trial(0), Trial(1)])
    scheduler = make("asha", path)
    add_all(scheduler, controller)
    tell(scheduler, controller, controller.trials[1], 10, 2.0)
    assert [line["trial_id"] for line in read_decisions(path)] == ["t0", "t1"]


def test_who_waited_for_others_waits_on_after_a_restart(tmp_path: Path) -> None:
    scheduler, controller = population(tmp_path)
    for number in range(2):
        assert tell(scheduler, controller, controller.trials[number], 20, 1.0) == TrialScheduler.PAUSE
    again, restored = population(tmp_path)
    assert [trial.status for trial in restored.trials] == ["PAUSED", "PAUSED", "PENDING", "PENDING"]
    assert again.choose_trial_to_run(restored) in restored.trials[2:]
    # The others are gone for good: nobody waits for them.
    restored.trials = restored.trials[:2]
    restored.live = set(restored.trials)
    assert again.choose_trial_to_run(restored) in restored.trials


def test_after_a_restart_a_trial_takes_over_from_one_that_waited(tmp_path: Path) -> None:
    scheduler, controller = population(tmp_path)
    for number in range(2):
        tell(scheduler, controller, controller.trials[number], 20, 1.0 + number)
    again, restored = population(tmp_path, {"step": 20, METRIC: 1.0})
    best, _, third, worst = restored.trials
    tell(again, restored, third, 20, 3.0)
    third.set_status("PAUSED")
    assert tell(again, restored, worst, 20, 4.0) == TrialScheduler.NOOP
    taken = worst.manager._latest_checkpoint_result
    assert (taken.checkpoint, taken.metrics) == (best.checkpoint, {"step": 20, METRIC: 1.0})
    plan = worst.config["plan"]
    assert (plan["number"], plan["origin"]) == (3, "t0 at step 20")
    assert best.config["plan"]["origin"] == ""


def test_a_population_goes_on_without_a_trial_that_failed_for_good(tmp_path: Path) -> None:
    scheduler, controller = population(tmp_path)
    failing, *others = controller.trials
    failing.set_status("RUNNING")
    scheduler.on_trial_error(controller, failing)
    failing.set_status("ERROR")
    for step in (20, 40):
        for trial in others:
            trial.set_status("RUNNING")
        for trial in others[:-1]:
            assert tell(scheduler, controller, trial, step, 1.0) == TrialScheduler.PAUSE
            trial.set_status("PAUSED")
        tell(scheduler, controller, others[-1], step, 2.0)
        others[-1].set_status("PAUSED")
        assert others[-1].config["plan"]["origin"].endswith(f"at step {step}")  # they exchange
        assert scheduler.choose_trial_to_run(controller) in others


def test_who_is_started_again_is_no_loss_to_the_others(tmp_path: Path) -> None:
    scheduler, controller = population(tmp_path)
    *waiting, failing = controller.trials
    for trial in waiting:
        tell(scheduler, controller, trial, 20, 1.0)
        trial.set_status("PAUSED")
    failing.set_status("ERROR")  # as Tune has it when it starts one again
    scheduler.on_trial_error(controller, failing)
    failing.set_status("PENDING")
    scheduler.on_trial_add(controller, failing)
    assert failing.status == "PENDING"
    assert scheduler.choose_trial_to_run(controller) is failing  # the others wait on for it

    # Released by the end of another, it trains on though it is started again before its next evaluation.
    scheduler.on_trial_complete(controller, failing, {})
    controller.live.discard(failing)
    first = waiting[0]
    first.set_status("ERROR")
    scheduler.on_trial_error(controller, first)
    first.set_status("PENDING")
    scheduler.on_trial_add(controller, first)
    assert first.status == "PENDING"


def population(
    folder: Path, last_result: dict[str, Any] | None = None
) -> tuple[RememberingPopulation, Controller]:
    controller = Controller([Trial(number, folder=folder) for number in range(4)])
    for trial in controller.trials:
        trial.last_result = last_result or {}
        trial.config["plan"] |= {"params": {"loss.temperature": 0.1}, "origin": ""}
    scheduler = RememberingPopulation(
        time_attr="step",
        metric=METRIC,
        mode="min",
        perturbation_interval=20,
        hyperparam_mutations={"plan": {"params": {"loss.temperature": [0.1, 0.2]}}},
        quantile_fraction=0.25,
        log_config=False,
        synch=True,
    )
    add_all(scheduler, controller)
    return scheduler, controller


def test_restored_trials_keep_to_the_room_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PacedScheduler, "max_concurrent", 2)
    scheduler, controller = PacedScheduler(), Controller([])
    for number in range(5):
        controller.trials.append(Trial(number))
        scheduler.on_trial_add(controller, controller.trials[-1])
    assert [trial.status for trial in controller.trials] == ["PENDING"] * 2 + ["PAUSED"] * 3
    for trial in controller.trials[:2]:
        trial.set_status("RUNNING")
    assert scheduler.choose_trial_to_run(controller) is None
    controller.trials[0].set_status("TERMINATED")
    assert scheduler.choose_trial_to_run(controller) is controller.trials[2]


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
