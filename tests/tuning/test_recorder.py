"""What the driver writes down of a trial."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.recorder import Recorder, Session
from tuning.trial import TrialPlan, trial_folder

METRIC = "masked/mpjpe_mm"


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    Recorder.session = Session(lambda trials: None, lambda record, trials: None, lambda record: None)
    yield Recorder(tmp_path, num_devices=1, device="CPU", num_steps=60, rungs=())
    Recorder.session = None


def plan_of(temperature: float) -> dict[str, Any]:
    return TrialPlan(3, 0, {"loss.temperature": temperature}).to_config("sweep")


def read(folder: Path) -> dict[str, Any]:
    return json.loads((trial_folder(folder, "t3") / "trial.json").read_text(encoding="utf-8"))


def test_an_evaluation_stands_with_the_values_that_it_was_trained_with(
    recorder: Recorder, tmp_path: Path
) -> None:
    # The scheduler, which is told first, has given the trial others already.
    trial: Any = SimpleNamespace(trial_id="t3", config=plan_of(0.2), status="PAUSED")
    recorder.on_trial_start(0, [trial], trial)
    recorder.on_trial_result(0, [trial], trial, {"step": 20, METRIC: 80.0, "config": plan_of(0.1)})
    (evaluation,) = read(tmp_path)["evaluations"]
    assert evaluation == {"step": 20, "metrics": {METRIC: 80.0}, "params": {"loss.temperature": 0.1}}


@pytest.mark.parametrize(("status", "is_counted"), [("PAUSED", False), ("RUNNING", True)])
def test_who_waits_holds_no_devices(
    recorder: Recorder, tmp_path: Path, status: str, is_counted: bool
) -> None:
    trial: Any = SimpleNamespace(trial_id="t3", config=plan_of(0.1), status=status)
    recorder.on_trial_start(0, [trial], trial)
    time.sleep(0.2)
    assert recorder.interrupt([trial]) == [trial]
    assert (read(tmp_path)["seconds"] >= 0.2) == is_counted
    assert read(tmp_path)["status"] == "interrupted"
