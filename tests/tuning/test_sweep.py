"""A whole sweep: its driver is killed in mid-run, it is resumed, and nothing is lost or done twice."""

import math
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import load_config
from tests.tuning.sweeps import (
    check_decisions,
    check_whole,
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


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_and_does_nothing_twice(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for(lambda: _ended(output))
        sweep.process.kill()
        sweep.wait_until_gone(TRIAL_SECONDS, ["ray::ImplicitFunc", "tuning.sweep"])
    ended, before = _ended(output), read_runs(tmp_path)[1]
    assert 1 <= len(ended) < 4
    memory = (output / "ray/search-scheduler.jsonl").read_text(encoding="utf-8")

    text = finish(tmp_path, "--resume", f"output={output}")
    trials = check_whole(tmp_path, 4, attempts=2)
    check_decisions(output, trials)
    assert (output / "ray/search-scheduler.jsonl").read_text(encoding="utf-8").startswith(memory)
    _, runs = read_runs(tmp_path)
    for trial_id, run in before.items():
        assert runs[trial_id].info.run_id == run.info.run_id
    for trial in trials:
        if trial["trial_id"] in ended:
            assert trial["evaluations"] == ended[trial["trial_id"]]
            assert runs[trial["trial_id"]].data.tags["attempts"] == "1"

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


def _ended(output: Path) -> dict[str, list[dict[str, Any]]]:
    """The evaluations of those trials that have come to an end, by trial id."""
    return {
        trial["trial_id"]: trial["evaluations"]
        for trial in read_trials(output)
        if trial["status"] in ("finished", "stopped")
    }
