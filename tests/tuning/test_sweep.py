"""A whole sweep: its driver is killed in mid-run, it is resumed, and nothing is lost or done twice."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from langpose_dist.config import load_config
from tests.tuning.sweeps import (
    EVERY,
    STEPS,
    count_evaluations,
    evaluated_steps,
    finish,
    read_record,
    read_runs,
    read_trials,
    sweeping,
    write_config,
)

pytestmark = [
    pytest.mark.dist,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]
TRIAL_SECONDS = 20.0
"""That a trial may live on when its driver was killed."""


class _Trial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def check_whole(folder: Path, num_trials: int, *, attempts: int) -> list[dict[str, Any]]:
    """Every trial has ended once, and folder, MLflow and the scheduler's memory say the same of it."""
    output = folder / "sweep"
    record, trials = read_record(output), read_trials(output)
    assert (record["status"], record["attempts"]) == ("finished", attempts)
    assert [trial["number"] for trial in trials] == list(range(num_trials))
    parent, runs = read_runs(folder)
    assert parent.info.status == "FINISHED"
    assert set(runs) == {trial["trial_id"] for trial in trials}
    for trial in trials:
        steps = [line["step"] for line in trial["evaluations"]]
        assert steps == list(range(EVERY, trial["step"] + 1, EVERY))
        assert evaluated_steps(output, trial) == steps
        assert trial["status"] == ("finished" if trial["step"] == STEPS else "stopped")
        run = runs[trial["trial_id"]]
        assert run.info.status == "FINISHED"
        assert run.data.tags["sweep.status"] == trial["status"]
        assert run.data.tags["sweep.step"] == str(trial["step"])
        values = [line["metrics"]["masked/mpjpe_mm"] for line in trial["evaluations"]]
        assert run.data.metrics["validation/masked/mpjpe_mm"] == pytest.approx(values[-1])
    return trials


def check_decisions(output: Path, trials: list[dict[str, Any]]) -> None:
    """The scheduler decided as one that saw all results without an interruption."""
    lines = [json.loads(line) for line in (output / "ray/search-scheduler.jsonl").read_text().splitlines()]
    keys = [(line["trial_id"], line["step"]) for line in lines]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {
        (trial["trial_id"], line["step"])
        for trial in trials
        for line in trial["evaluations"]
        if not trial["is_baseline"]
    }
    fresh: Any = AsyncHyperBandScheduler(
        time_attr="step",
        metric="value",
        mode="min",
        grace_period=EVERY,
        max_t=STEPS,
        reduction_factor=2,
    )
    for trial_id in dict(keys):
        fresh.on_trial_add(None, _Trial(trial_id))
    for line in lines:
        expected = fresh.on_trial_result(None, _Trial(line["trial_id"]), line)
        assert line["decision"] == expected, line


def test_a_killed_driver_loses_nothing_and_does_nothing_twice(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for(lambda: count_evaluations(output) >= 8)
        sweep.process.kill()
        sweep.wait_until_gone(TRIAL_SECONDS, ["ray::ImplicitFunc", "tuning.sweep"])
    before = {trial["trial_id"]: trial for trial in read_trials(output)}
    ended = [trial_id for trial_id, trial in before.items() if trial["status"] in ("finished", "stopped")]
    assert len(ended) < 4

    text = finish(tmp_path, "--resume", f"output={output}")
    trials = check_whole(tmp_path, 4, attempts=2)
    check_decisions(output, trials)
    _, runs = read_runs(tmp_path)
    for trial_id in ended:
        assert runs[trial_id].data.tags["attempts"] == "1"

    complete = [trial for trial in trials if trial["status"] == "finished"]
    assert trials[0] in complete  # the baseline is never stopped
    best = min(complete, key=lambda trial: trial["evaluations"][-1]["metrics"]["masked/mpjpe_mm"])
    record = read_record(output)
    assert record["best"]["trials"] == [best["trial_id"]]
    assert record["best"]["params"] == best["params"]
    assert record["best"]["registered"] == "tiny/1"
    assert "registered: tiny/1, models:/tiny@candidate" in text
    found = load_config(output / "best.yaml").to_flat()
    for key, value in best["params"].items():
        assert math.isclose(found[key], value)
    assert {"sweep.md", "report.json", "curves.png"} <= {path.name for path in (output / "report").iterdir()}
