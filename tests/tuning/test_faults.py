"""Whatever is killed or stopped in the middle of a sweep, nothing is left, and the sweep comes to its end."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import disk
from tests.tuning.sweeps import (
    STEPS,
    SweepProcess,
    check_decisions,
    check_whole,
    finish,
    read_record,
    read_runs,
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
STOP_SECONDS = 30.0
"""In which a sweep that is asked to stop, or whose head is lost, must have ended."""
TRIAL_SECONDS = 20.0
"""That a trial may live on when what it belongs to was killed."""
AGENT_SECONDS = 120.0
"""The same for Ray's two agents of a node, which look for their raylet from time to time."""
TRAINING = ("ray::ImplicitFunc", "tuning.sweep", "gcs_server", "raylet/raylet", "tracking.sender")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB."""
    with disk.small_disk(tmp_path / "disk", "40m") as place:
        yield place


def test_after_a_killed_driver_every_process_ends_by_itself(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards)
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(2)
        assert len(sweep.trials()) == 2
        sweep.process.kill()
        sweep.wait_until_gone(TRIAL_SECONDS, TRAINING)
        sweep.wait_until_gone(AGENT_SECONDS)


def test_a_killed_trial_is_started_again_from_its_checkpoint(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=2)
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(4)
        victim = sweep.trials()[0]
        victim.kill()
        assert sweep.wait() == 0, sweep.text
        sweep.wait_until_gone(STOP_SECONDS)
    trials = check_whole(tmp_path, 3, attempts=1)
    check_decisions(tmp_path / "sweep", trials)
    assert sorted(trial["failures"] for trial in trials) == [0, 0, 1]
    _, runs = read_runs(tmp_path)
    for trial in trials:
        tags = runs[trial["trial_id"]].data.tags
        assert tags["sweep.failures"] == str(trial["failures"])
        assert tags["attempts"] == str(1 + trial["failures"])
        again = _starts(tmp_path / "sweep", trial["trial_id"])
        assert len(again) == 1 + trial["failures"]


def test_a_trial_that_fails_each_time_is_given_up_and_tried_again_on_resume(
    tmp_path: Path, shards: Path
) -> None:
    config = write_config(tmp_path, shards, num_trials=1, max_failures=1)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        # The baseline comes to its end.
        sweep.wait_for(lambda: len(read_trials(output)) == 2 and read_trials(output)[1]["evaluations"])
        for _ in range(2):
            sweep.wait_for(lambda: trained_by(sweep, output, number=1)).kill()
        assert sweep.wait() == 0, sweep.text
        lines = [line for line in sweep.text.splitlines() if line.startswith("[")]
    assert sum(line.endswith("its process died without reporting an error") for line in lines) == 2
    record, trials = read_record(output), read_trials(output)
    assert [trial["status"] for trial in trials] == ["finished", "failed"]
    assert trials[1]["failures"] == 2
    assert record["best"]["trials"] == [trials[0]["trial_id"]]
    _, runs = read_runs(tmp_path)
    assert runs[trials[1]["trial_id"]].info.status == "FAILED"

    # Its failures count anew, so that one more ends nothing.
    with sweeping(tmp_path, "--resume", f"output={output}") as sweep:
        sweep.wait_for(lambda: trained_by(sweep, output, number=1)).kill()
        assert sweep.wait() == 0, sweep.text
    check_whole(tmp_path, 2, attempts=2)


def test_a_resumed_sweep_takes_the_room_that_there_is_now(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=3, max_concurrent=1)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(2)
        assert len(sweep.trials()) == 1
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.wait(STOP_SECONDS) == 75
    with sweeping(tmp_path, "--resume", f"output={output}", "sweep.max_concurrent=2") as sweep:
        sweep.wait_for(lambda: len(sweep.trials()) == 2)
        assert sweep.wait() == 0, sweep.text
    check_whole(tmp_path, 4, attempts=2)


def test_a_resumed_sweep_with_less_room_runs_fewer_at_a_time(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=2, scheduler={"name": "none"})
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for(lambda: sum(bool(trial["evaluations"]) for trial in read_trials(output)) == 2)
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.wait(STOP_SECONDS) == 75
    with sweeping(tmp_path, "--resume", f"output={output}", "sweep.max_concurrent=1") as sweep:
        while sweep.process.poll() is None:
            assert sum(trial["status"] == "running" for trial in read_trials(output)) <= 1
            time.sleep(0.05)
        assert sweep.wait() == 0, sweep.text
    check_whole(tmp_path, 3, attempts=2)


def test_a_sweep_whose_trials_all_diverge_says_so_in_one_line(tmp_path: Path, shards: Path) -> None:
    config = write_config(
        tmp_path,
        shards,
        {"optimizer": {"learning_rate": 1e30, "warmup_steps": 0}},
        num_trials=2,
        seeds=[1],
        baseline=False,
    )
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        assert sweep.wait() == 1
        assert "Traceback" not in sweep.text
        assert "no trial finished; see" in sweep.text.splitlines()[-1]
    assert {trial["status"] for trial in read_trials(tmp_path / "sweep")} == {"diverged"}
    assert "no trial finished" in read_record(tmp_path / "sweep")["reason"]


def test_a_damaged_record_is_left_out_of_a_resumed_sweep_with_a_warning(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=2, scheduler={"name": "none"})
    output = tmp_path / "sweep"
    finish(tmp_path, "--config", str(config))
    trials = read_trials(output)
    damaged = output / "trials" / trials[1]["trial_id"] / "trial.json"
    damaged.write_text("", encoding="utf-8")
    text = finish(tmp_path, "--resume", f"output={output}")
    assert f"warning: left out: {damaged} is damaged" in text
    left = {trial["trial_id"] for trial in trials} - {trials[1]["trial_id"]}
    assert set(read_record(output)["best"]["trials"]) <= left


@pytest.mark.parametrize("name", ["gcs_server", "raylet/raylet"])
def test_a_killed_part_of_ray_ends_the_sweep_soon_and_it_can_be_resumed(
    tmp_path: Path, shards: Path, name: str
) -> None:
    config = write_config(tmp_path, shards)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(4)
        (victim,) = sweep.named(name)
        victim.kill()
        assert sweep.wait(120) != 0
        sweep.wait_until_gone(AGENT_SECONDS)
        lines = sweep.text.strip().splitlines()
    assert "Traceback" not in "\n".join(lines)
    if name == "raylet/raylet":
        assert "--resume" in lines[-1]
        assert read_record(output)["status"] in ("interrupted", "failed")
    finish(tmp_path, "--resume", f"output={output}")
    check_decisions(output, check_whole(tmp_path, 4, attempts=2))


def test_trials_that_memory_has_no_room_for_are_ended_and_told(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=1, max_failures=1)
    output = tmp_path / "sweep"
    # Ray's monitor takes the memory for full as soon as anything runs.
    full = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "200"}
    with sweeping(tmp_path, "--config", str(config), variables=full) as sweep:
        assert sweep.wait() == 1
        sweep.wait_until_gone(STOP_SECONDS, TRAINING)
        assert "no trial finished" in sweep.text.strip().splitlines()[-1]
        assert "Traceback" not in sweep.text
    for trial in read_trials(output):
        assert trial["status"] == "failed"
        assert "its node ran low on memory" in trial["reason"]
    finish(tmp_path, "--resume", f"output={output}")
    check_whole(tmp_path, 2, attempts=2)


def test_a_full_disk_ends_the_sweep_in_one_line_and_it_resumes_with_room(
    tmp_path: Path, small_disk: Path, shards: Path
) -> None:
    config = write_config(tmp_path, shards, num_trials=2)
    output = tmp_path / "sweep"
    output.symlink_to(small_disk)
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(3)
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 1024)
        assert sweep.wait(120) == 1, sweep.text
        sweep.wait_until_gone(STOP_SECONDS, TRAINING)
        lines = sweep.text.strip().splitlines()
    assert "Traceback" not in "\n".join(lines)
    assert "No space left on device" in lines[-1]
    assert "--resume" in lines[-1]
    assert json.loads((output / "sweep.json").read_text())["status"] == "failed"
    (small_disk / "filler").unlink()
    finish(tmp_path, "--resume", f"output={output}")
    check_decisions(output, check_whole(tmp_path, 3, attempts=2))


def test_a_resumed_sweep_reads_no_state_but_the_records_of_its_trials(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=2)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(4)
        sweep.process.kill()
        sweep.wait_until_gone(TRIAL_SECONDS, TRAINING)
    # Whatever Ray Tune left, whoever put it there: none of it is unpickled.
    for path in [*(output / "ray").rglob("*"), output / "ray/search/tuner.pkl"]:
        if path.suffix in (".pkl", ".json"):
            path.write_bytes(f"cos\nsystem\n(S'touch {tmp_path / 'read'}'\ntR.".encode())
    finish(tmp_path, "--resume", f"output={output}")
    assert not (tmp_path / "read").exists()
    check_decisions(output, check_whole(tmp_path, 3, attempts=2))


def _by_signal(number: int) -> Callable[[SweepProcess], None]:
    return lambda sweep: sweep.process.send_signal(number)


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (_by_signal(signal.SIGTERM), "SIGTERM"),
        (_by_signal(signal.SIGINT), "SIGINT"),
        (lambda sweep: (sweep.output / "stop").touch(), "the stop file"),
    ],
    ids=["SIGTERM", "SIGINT", "file"],
)
def test_a_sweep_that_is_asked_to_stop_does_so_and_resumes_later(
    tmp_path: Path, shards: Path, ask: Callable[[SweepProcess], None], reason: str
) -> None:
    config = write_config(tmp_path, shards)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(4)
        ask(sweep)
        assert sweep.wait(STOP_SECONDS) == 75
        sweep.wait_until_gone(STOP_SECONDS)
        assert f"{reason}: stopping the sweep" in sweep.text
        assert sweep.text.strip().endswith(f"interrupted by {reason}; resume with --resume")
        assert "Traceback" not in sweep.text
    _check_interrupted(tmp_path, reason)
    finish(tmp_path, "--resume", f"output={output}")
    check_decisions(output, check_whole(tmp_path, 4, attempts=2))


def test_a_sweep_stops_also_when_all_its_trials_have_started(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=1)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(3)
        assert {trial["status"] for trial in read_trials(output)} == {"running"}
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.wait(STOP_SECONDS) == 75
    _check_interrupted(tmp_path, "SIGTERM")
    finish(tmp_path, "--resume", f"output={output}")
    check_whole(tmp_path, 2, attempts=2)


def test_a_second_interrupt_ends_the_sweep_at_once(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=1)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(2)
        sweep.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        sweep.process.send_signal(signal.SIGINT)
        assert sweep.wait(STOP_SECONDS) == 130
        sweep.wait_until_gone(STOP_SECONDS, TRAINING)
        assert "Traceback" not in sweep.text
    assert read_record(output)["status"] == "interrupted"
    finish(tmp_path, "--resume", f"output={output}")
    check_whole(tmp_path, 2, attempts=2)


def _check_interrupted(folder: Path, reason: str) -> None:
    record, trials = read_record(folder / "sweep"), read_trials(folder / "sweep")
    assert (record["status"], record["reason"]) == ("interrupted", reason)
    parent, runs = read_runs(folder)
    assert parent.info.status == "KILLED"
    interrupted = [trial for trial in trials if trial["status"] == "interrupted"]
    assert interrupted
    assert not [trial for trial in trials if trial["status"] == "running"]
    for trial in interrupted:
        assert trial["step"] < STEPS
        if trial["evaluations"]:  # it has come so far as to record itself
            assert runs[trial["trial_id"]].info.status == "KILLED"


def _starts(output: Path, trial_id: str) -> list[str]:
    """The line with which each attempt of a trial begins."""
    lines = (output / "trials" / trial_id / "trial.log").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "windows" in line]
