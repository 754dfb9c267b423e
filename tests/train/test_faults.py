"""What can go wrong with a running job, done for real: it ends in bounds, says why, and resumes exactly."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import disk
from tests.corpus import LIMBS, MadeClip
from tests.train import jobs
from tests.train.jobs import (
    BOUND,
    ROOT,
    finish,
    hold_at,
    job,
    listens,
    losses,
    make_shards,
    prepare,
    read_status,
)

pytestmark = pytest.mark.dist
FAULTY = Path(__file__).with_name("faulty_train.py")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> list[Any]:
    """Metrics of the run that nothing interrupts, on two ranks."""
    folder = prepare(tmp_path_factory.mktemp("reference"), shards)
    finish(folder, words=())
    found = losses(folder)
    assert [step for step, values in found if "train/loss" in values] == list(range(1, 61))
    return found


def resumes_exactly(folder: Path, reference: list[Any], *arguments: Any) -> str:
    output = finish(folder, *arguments)
    assert losses(folder) == reference
    return output


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
    ],
    ids=["SIGTERM", "SIGINT", "SIGUSR1"],
)
def test_a_signal_to_one_rank_stops_all_at_one_step(
    tmp_path: Path, shards: Path, reference: list[Any], sent: signal.Signals
) -> None:
    folder = prepare(tmp_path, shards)
    with job(folder, **hold_at(33)) as running:
        running.wait_for_step(33)
        running.ranks()[1].send_signal(sent)
        running.wait(BOUND)
        running.wait_until_gone()
        assert f"interrupted by {sent.name} at step" in running.output
    status = read_status(folder)
    assert status["status"] == "interrupted"
    assert status["exit_code"] == 75
    assert jobs.checkpoint_steps(folder)[-1] == status["step"]
    assert f"resuming after step {status['step']}" in resumes_exactly(folder, reference)


@pytest.mark.parametrize(
    ("launcher", "sent"),
    [
        ("deepspeed", signal.SIGTERM),
        pytest.param("deepspeed", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("torchrun", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("torchrun", signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_the_launchers_end_stops_the_ranks_and_loses_nothing(
    tmp_path: Path, shards: Path, reference: list[Any], launcher: str, sent: signal.Signals
) -> None:
    folder = prepare(tmp_path, shards, data={"num_workers": 1})
    with job(folder, launcher, **hold_at(33)) as running:
        running.wait_for_step(33)
        running.process.send_signal(sent)
        assert running.wait_until_gone() < BOUND
    assert read_status(folder)["status"] == "interrupted"
    assert read_status(folder)["step"] >= 33
    resumes_exactly(folder, reference, launcher)


@pytest.mark.slow
def test_a_second_job_in_the_folder_of_a_running_one_is_refused_by_all_its_ranks(
    tmp_path: Path, shards: Path
) -> None:
    folder = prepare(tmp_path, shards, train={"max_steps": 100_000, "evaluate_every": None})
    with job(folder) as first:
        first.wait_for_step(3)
        with job(folder) as second:
            assert second.wait(BOUND + 20) != 0
            assert second.output.count("another job is training there") == 1
            assert "[rank1]: Traceback" not in second.output
        step = read_status(folder)["step"]
        first.wait_for_step(step + 5)
        assert read_status(folder)["status"] == "running"


def test_a_killed_rank_ends_the_job_and_the_restart_goes_on(
    tmp_path: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path, shards)
    with job(folder, **hold_at(34)) as running:
        running.wait_for_step(34)
        running.ranks()[1].send_signal(signal.SIGKILL)
        assert running.wait(BOUND) != 0
        running.wait_until_gone()
        assert "another rank ended, so this one cannot continue" in running.output
    assert read_status(folder)["status"] == "failed"
    assert "resuming after step 30" in resumes_exactly(folder, reference)


@pytest.mark.slow
def test_a_stop_file_stops_a_single_process(tmp_path: Path, shards: Path) -> None:
    folder = prepare(tmp_path, shards, train={"max_steps": 3000, "evaluate_every": None})
    with job(folder, "none", 1) as running:
        running.wait_for_step(20)
        (folder / "run/stop").touch()
        assert running.wait(BOUND) == 75
        assert "interrupted by the stop file at step" in running.output
    status = read_status(folder)
    assert 20 <= status["step"] < 3000
    # What is left of the request does not stop the next start.
    finish(folder, "none", 1, words=["--resume", f"train.max_steps={status['step'] + 5}"])


def test_output_that_nobody_reads_any_more_does_not_fail_the_run(tmp_path: Path, shards: Path) -> None:
    folder = prepare(tmp_path, shards)
    command = [sys.executable, str(ROOT / "launch/train.py"), "--config", str(folder / "config.yaml")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert b"windows of made-up" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(300) == 0
    assert read_status(folder)["status"] == "finished"
    assert len([values for _, values in losses(folder) if "train/loss" in values]) == 60


@pytest.mark.slow
def test_a_stop_between_micro_steps_drops_the_begun_step(tmp_path: Path, shards: Path) -> None:
    train = {"micro_batch_size": 1, "max_steps": 25, "evaluate_every": None}
    whole, broken = (
        prepare(tmp_path / "whole", shards, train=train),
        prepare(tmp_path / "broken", shards, train=train),
    )
    finish(whole, "none", 1, words=())
    with job(broken, "none", 1, target=FAULTY, words=["--fault", "term-in-micro-step"]) as running:
        assert running.wait(BOUND) == 75, running.output
        assert "interrupted by SIGTERM at step 11;" in running.output
    finish(broken, "none", 1)
    assert losses(broken) == losses(whole)


@pytest.mark.slow
def test_a_signal_in_an_evaluation_repeats_it_after_the_resume(
    tmp_path: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path, shards)
    with job(folder, target=FAULTY, words=["--fault", "term-in-evaluation"]) as running:
        running.wait(BOUND * 2)
        running.wait_until_gone()
        assert "interrupted by SIGTERM at step 25;" in running.output
    assert read_status(folder)["step"] == 25
    resumes_exactly(folder, reference)


def test_a_signal_while_the_job_starts_ends_it_at_once(tmp_path: Path, shards: Path) -> None:
    folder = prepare(tmp_path, shards)
    with job(folder, "none", 1) as running:
        running.wait_for(lambda: listens(running.process.pid))
        running.process.send_signal(signal.SIGTERM)
        assert running.wait(BOUND) == 75
        assert "langpose: interrupted by SIGTERM" in running.output
        assert "Traceback" not in running.output
    finish(folder, "none", 1, words=["--resume-if-started", "train.max_steps=3"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on CPU")
def test_a_signal_while_the_model_compiles_ends_the_job_in_bounds(tmp_path: Path, shards: Path) -> None:
    folder = prepare(tmp_path, shards, model={"compile": True})
    with job(folder) as running:
        running.wait_for(lambda: "compiling the model" in running.output)
        time.sleep(4)
        running.process.send_signal(signal.SIGTERM)
        running.wait(BOUND)
        running.wait_until_gone()
        assert "interrupted by SIGTERM" in running.output


@pytest.mark.slow
def test_kills_while_checkpoints_are_written_leave_whole_ones(
    tmp_path: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path, shards, train={"checkpoint_every": 1})
    aside = folder / "run/checkpoints"
    rng = random.Random(0)
    for attempt in range(3):
        with job(folder, "none", 1, words=["--resume-if-started"]) as running:
            running.wait_for_step(5 + 12 * attempt)
            running.wait_for(lambda: any(aside.glob(".unfinished-step-*")))
            time.sleep(rng.random() * 0.01)
            running.process.kill()
            running.wait(5)
    assert "falling back" not in finish(folder, "none", 1)
    found = [values["train/loss"] for _, values in losses(folder) if "train/loss" in values]
    expected = [values["train/loss"] for _, values in reference if "train/loss" in values]
    # Other dropout than on two ranks; what counts is that no step is missing or doubled.
    assert len(found) == len(expected)
    assert not list(aside.glob(".unfinished-*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with disk.small_disk(tmp_path / "disk", "2m") as place:
        yield place


def test_a_full_disk_is_told_and_training_goes_on(
    tmp_path: Path, small_disk: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path / "job", shards)
    (folder / "run").symlink_to(small_disk)
    with job(folder, target=FAULTY, words=["--fault", "full-disk-for-a-while"]) as running:
        running.wait_for(lambda: "the checkpoint of step 30 was not written" in running.output)
        assert "No space left on device" in running.output
        (small_disk / "filler").unlink()
        assert running.wait() == 0, running.output[-3000:]
    assert jobs.checkpoint_steps(folder)[-1] == 60
    assert losses(folder) == reference


@pytest.mark.slow
def test_a_disk_that_is_full_to_the_end_fails_the_run_and_its_status_says_so(
    tmp_path: Path, small_disk: Path, shards: Path
) -> None:
    folder = prepare(tmp_path / "job", shards)
    (folder / "run").symlink_to(small_disk)
    with job(folder, "none", 1, target=FAULTY, words=["--fault", "full-disk"]) as running:
        assert running.wait() == 1, running.output[-3000:]
        assert "Traceback" not in running.output
    status = read_status(folder)
    assert (status["status"], status["exit_code"]) == ("failed", 1)
    assert status["step"] == jobs.checkpoint_steps(folder)[-1] > 0
    assert "No space left on device" in status["reason"]
    (small_disk / "filler").unlink()
    finish(folder, "none", 1)


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_loudly_or_is_refused(
    tmp_path: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path, shards)
    with job(folder, **hold_at(45)) as running:
        running.wait_for_step(45)
        running.ranks()[0].send_signal(signal.SIGKILL)
        running.wait(BOUND)
    newest = folder / "run/checkpoints" / (folder / "run/checkpoints/latest").read_text().strip()
    assert newest.name == "step-00000040"
    weights = newest / "optimizer.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with job(folder, "none", 1, words=["--resume", "--strict"]) as strict:
        assert strict.wait() == 2
        assert "optimizer.safetensors has" in strict.output
        assert "leave out --strict" in strict.output
    output = resumes_exactly(folder, reference)
    assert "WARNING: a checkpoint cannot be used, falling back to step-00000030" in output
    assert "resuming after step 30" in output


def one_shard_per_clip(folder: Path) -> Path:
    """More shards than stay open, so that training comes back to their files."""
    from langpose_dist.datasets.build import build_shards

    labels = list(LIMBS)
    pairs = [("train", MadeClip(f"train{number:02d}", labels[number % 4], 21)) for number in range(80)]
    pairs += [("validation", MadeClip(f"validation{number}", labels[number], 21)) for number in range(4)]
    build_shards(pairs, folder, dataset="made-up", source="memory", fps=30.0, options={}, shard_size=1)
    return folder


@pytest.mark.parametrize(
    "fault",
    [
        "vanishes",
        pytest.param("is cut", marks=pytest.mark.slow),
        pytest.param("is cut between members", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_shard_that_is_lost_in_mid_run_stops_all_ranks_with_a_checkpoint(
    tmp_path: Path, fault: str
) -> None:
    data = one_shard_per_clip(tmp_path / "shards")
    train = {"max_steps": 2000, "evaluate_every": None, "checkpoint_every": 500, "log_every": 5}
    folder = prepare(tmp_path, data, train=train)
    victims = sorted(data.glob("*train*.tar"))[:40]
    kept = {victim: victim.read_bytes() for victim in victims}
    with job(folder) as running:
        running.wait_for_step(20)
        for victim in victims:
            if fault == "vanishes":
                victim.unlink()
            else:
                os.truncate(victim, 700 if fault == "is cut" else 1024)
        assert running.wait(BOUND) != 0
        running.wait_until_gone()
        assert "data cannot be read after step" in running.output
        assert (
            "is missing" if fault == "vanishes" else "ends at byte"
        ) in running.output or "bytes" in running.output
        assert (
            'Traceback (most recent call last):\n  File "' + str(ROOT / "langpose_dist") not in running.output
        )
    status = read_status(folder)
    assert status["status"] == "failed"
    assert jobs.checkpoint_steps(folder)[-1] == status["step"] > 0
    # Until they are back, a start is refused before anything is held.
    with job(folder, "none", 1, words=["--resume"]) as refused:
        assert refused.wait() == 2
        assert "stand in the way" in refused.output
    for victim, content in kept.items():
        victim.write_bytes(content)
    output = finish(folder, words=["--resume", f"train.max_steps={status['step'] + 5}"])
    assert f"resuming after step {status['step']}" in output


@pytest.mark.slow
def test_a_killed_loader_worker_is_replaced_in_mid_run(
    tmp_path: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path, shards, data={"num_workers": 2})
    with job(folder) as running:
        running.wait_for_step(20)
        rank = running.ranks()[0]
        rank.children()[0].send_signal(signal.SIGKILL)
        assert running.wait() == 0, running.output[-3000:]
        assert "its work is given to a new one" in running.output
    assert losses(folder) == reference


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_not_saved_and_the_restart_goes_on(
    tmp_path: Path, shards: Path, reference: list[Any]
) -> None:
    folder = prepare(tmp_path, shards)
    with job(folder, target=FAULTY, words=["--fault", "nan"]) as running:
        assert running.wait() != 0
        running.wait_until_gone()
        assert "the loss is not finite at step 36; windows of rank 1: train" in running.output
    assert jobs.checkpoint_steps(folder)[-1] == 30
    assert read_status(folder)["status"] == "failed"
    resumes_exactly(folder, reference)


@pytest.mark.slow
def test_a_hung_rank_is_named_and_the_job_ends(tmp_path: Path, shards: Path, reference: list[Any]) -> None:
    folder = prepare(tmp_path, shards, train={"hang_timeout": 5})
    with job(folder) as running:
        running.wait_for_step(34)
        stopped = time.monotonic()
        running.ranks()[1].suspend()
        # The launcher waits 30 s for the suspended rank before it kills it.
        running.wait(60)
        assert running.wait_until_gone(5) + time.monotonic() - stopped < 5 + 2 + BOUND + 10
        assert "no progress for 5 s: rank 1 (" in running.output, running.output[-3000:]
        assert "hangs or cannot be reached while the others wait at step" in running.output
    assert "rank 1" in read_status(folder)["reason"]
    resumes_exactly(folder, reference)
