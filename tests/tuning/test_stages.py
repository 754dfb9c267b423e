"""Searchers and the confirm stage, broken off in the middle: what they had learnt is kept."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.sweeps import (
    STEPS,
    SweepProcess,
    check_whole,
    finish,
    read_record,
    read_trials,
    sweeping,
    trained_by,
    write_config,
)

pytestmark = [
    pytest.mark.dist,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]
TRIAL_SECONDS = 20.0
_FOURTEEN_TRIALS_S = 800.0
"""One after the other; each starts its own processes, which takes most of its 20 s."""
MIXED = {
    "loss.lambda_con": {"log_uniform": [0.05, 5.0]},
    "loss.contrastive": {"choice": ["infonce", "modified"]},
    "loss.beta": {"uniform": [0.1, 0.9]},
}


@pytest.mark.timeout(1800)
def test_optuna_suggests_after_a_kill_what_it_would_have_suggested(tmp_path: Path, shards: Path) -> None:
    found = []
    for name in ("whole", "broken"):
        folder = tmp_path / name
        folder.mkdir()
        # One at a time, so that the order of results is given; more than the ten that are drawn at random.
        config = write_config(
            folder,
            shards,
            {"train": {"max_steps": 10, "log_every": 5, "evaluate_every": 10}},
            searcher="optuna",
            num_trials=13,
            space=MIXED,
            scheduler={"name": "none"},
            max_concurrent=1,
        )
        if name == "broken":
            for words in (("--config", str(config)), ("--resume", f"output={folder / 'sweep'}")):
                with sweeping(folder, *words) as sweep:
                    _wait_for_ended(sweep, folder, 4)
                    sweep.process.kill()
                    sweep.wait_until_gone(TRIAL_SECONDS, ["ray::ImplicitFunc", "tuning.sweep"])
            finish(folder, "--resume", f"output={folder / 'sweep'}", seconds=_FOURTEEN_TRIALS_S)
        else:
            finish(folder, "--config", str(config), seconds=_FOURTEEN_TRIALS_S)
        found.append(_ended(folder))
    whole, broken = found
    assert len(whole) == 14
    assert [trial["params"] for trial in broken] == [trial["params"] for trial in whole]
    assert len({json.dumps(trial["params"]) for trial in whole}) == 14


def test_a_confirm_stage_resumes_where_it_was_interrupted(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=2, seeds=[1, 2], finalists=1)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for(lambda: any(trial["evaluations"] for trial in _of_stage(output, "confirm")))
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.wait(30) == 75
    searched = _of_stage(output, "search")
    confirmed = {trial["trial_id"] for trial in _of_stage(output, "confirm")}
    finish(tmp_path, "--resume", f"output={output}")
    trials = check_whole(tmp_path, 7, attempts=2)
    assert _of_stage(output, "search") == searched
    again = _of_stage(output, "confirm")
    assert confirmed <= {trial["trial_id"] for trial in again}
    assert [(trial["is_baseline"], trial["seed"]) for trial in again] == [
        (True, 1),
        (True, 2),
        (False, 1),
        (False, 2),
    ]
    assert {trial["step"] for trial in again} == {STEPS}
    (params,) = {json.dumps(trial["params"]) for trial in again if not trial["is_baseline"]}
    assert params in [json.dumps(trial["params"]) for trial in searched]
    assert len(read_record(output)["best"]["trials"]) == 2
    assert len(trials) == 7


def test_a_finished_sweep_that_tries_a_failed_trial_again_keeps_its_finalists(
    tmp_path: Path, shards: Path
) -> None:
    config = write_config(
        tmp_path,
        shards,
        num_trials=2,
        seeds=[1],
        finalists=2,
        max_failures=0,
        scheduler={"grace_evaluations": 6},  # stops none
    )
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for(lambda: len(read_trials(output)) == 3 and read_trials(output)[2]["evaluations"])
        sweep.wait_for(lambda: trained_by(sweep, output, number=2)).kill()
        assert sweep.wait() == 0, sweep.text
    assert [trial["status"] for trial in _of_stage(output, "search")] == ["finished", "finished", "failed"]
    confirmed = _of_stage(output, "confirm")
    assert len(confirmed) == 2  # the baseline, and the one that had come to its end
    for _ in range(2):  # the first of them has something to do in the search alone
        finish(tmp_path, "--resume", f"output={output}")
        assert {trial["status"] for trial in read_trials(output)} == {"finished"}
        assert _of_stage(output, "confirm") == confirmed
        best = read_record(output)["best"]["trials"]
        assert set(best) <= {trial["trial_id"] for trial in confirmed}
    assert not (output / "forgotten").exists()


def _wait_for_ended(sweep: SweepProcess, folder: Path, more: int) -> None:
    before = len(_ended(folder))
    sweep.wait_for(lambda: len(_ended(folder)) >= before + more)


def _ended(folder: Path) -> list[dict[str, Any]]:
    return [trial for trial in read_trials(folder / "sweep") if trial["status"] == "finished"]


def _of_stage(output: Path, stage: str) -> list[dict[str, Any]]:
    return [trial for trial in read_trials(output) if trial["stage"] == stage]
