"""The record that the driver keeps of a trial."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from langpose_dist.report.sweep import TrialRecord
from tuning.recorder import Recorder
from tuning.settings import build_sweep
from tuning.trial import new_trial, to_tune, trial_folder

METRIC = "masked/mpjpe_mm"


class Watched:
    """A recorder with one trial, and what it tells."""

    def __init__(self, output: Path) -> None:
        train = {"max_steps": 60, "evaluate_every": 10}
        optimizer = {"warmup_steps": 5}
        sweep = build_sweep({"output": str(output), "train": train, "optimizer": optimizer})
        self.changed: list[TrialRecord] = []
        self.ended: list[TrialRecord] = []
        self.recorder = Recorder(sweep, self.changed.append, self.ended.append)
        self.output = output
        record = new_trial(3, 0, {"loss.temperature": 0.1}, sweep.settings.resources)
        self.trial: Any = SimpleNamespace(config=to_tune(record, output), error_file=None)
        self.recorder.on_trial_start(0, [self.trial], self.trial)

    def report(self, step: int, **more: Any) -> None:
        """A result as Tune passes it on."""
        self.recorder.on_trial_result(0, [self.trial], self.trial, {"step": step, METRIC: 80.0, **more})

    def read(self) -> dict[str, Any]:
        """``trial.json``."""
        return json.loads((trial_folder(self.output, "003") / "trial.json").read_text(encoding="utf-8"))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_an_evaluation_that_is_reported_again_is_known(watched: Watched) -> None:
    for step in (10, 20, 10, 20, 30):
        watched.report(step)
    record = watched.read()
    assert [line["step"] for line in record["evaluations"]] == [10, 20, 30]
    assert record["evaluations"][0]["metrics"] == {METRIC: 80.0}
    assert (record["step"], record["rung"], record["status"]) == (30, 30, "running")
    assert [trial.step for trial in watched.changed] == [10, 20, 30]


def test_a_trial_ends_finished_stopped_or_diverged(tmp_path: Path) -> None:
    for name, step, more in (
        ("finished", 60, {"ended": "finished"}),
        ("stopped", 20, {}),
        ("diverged", 20, {"ended": "diverged", "reason": "not finite", METRIC: float("nan")}),
    ):
        watched = Watched(tmp_path / name)
        watched.report(10)
        watched.report(step, **more)
        watched.recorder.on_trial_complete(0, [watched.trial], watched.trial)
        assert watched.read()["status"] == name
        assert [trial.status for trial in watched.ended] == [name]
        assert watched.recorder.interrupt() == 0


def test_seconds_count_while_a_trial_holds_its_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("tuning.recorder.time", SimpleNamespace(monotonic=lambda: now[0]))
    watched = Watched(tmp_path)
    now[0] += 2.0
    watched.recorder.on_trial_recover(0, [watched.trial], watched.trial)
    record = watched.read()
    assert (record["status"], record["failures"]) == ("pending", 1)
    assert record["reason"] == "its process died without reporting an error"
    now[0] += 3.0  # it waits for devices
    assert watched.recorder.interrupt() == 1
    assert watched.read()["seconds"] == 2.0
    assert watched.read()["status"] == "interrupted"
