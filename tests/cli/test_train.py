"""``langpose train`` as its users start it: real processes, real launcher, real MLflow store."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.cli.main import main
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.train.checkpoint import verify_checkpoint
from tests.corpus import build_corpus, tiny_config
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SLOW_DISK = """
import sys, time
from langpose_dist.cli.main import main
from langpose_dist.train import checkpoint

fsync_path = checkpoint.fsync_path
checkpoint.fsync_path = lambda path: (time.sleep(0.3), fsync_path(path))
sys.exit(main(["train", *sys.argv[1:]]))
"""
"""Trains where a checkpoint takes two seconds to write."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    build_corpus(folder)
    return folder


def write_config(folder: Path, shards: Path, **changes: Any) -> Path:
    file = folder / "config.yaml"
    file.write_text(tiny_config(shards, folder / "run", **changes).to_yaml(), encoding="utf-8")
    return file


def start(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "langpose_dist.cli.main", "train", "--config", str(config)]
    return start([*command, *arguments], folder)


@pytest.mark.dist
def test_the_launcher_leaves_a_whole_run_and_a_registered_model(tmp_path: Path, shards: Path) -> None:
    config = write_config(
        tmp_path,
        shards,
        data={"num_workers": 1},
        train={"evaluate_every": 2, "micro_batch_size": 3},
        tracking={"enabled": True, "register_as": "tiny", "alias": "candidate"},
    )
    deepspeed = str(Path(sys.executable).with_name("deepspeed"))
    launcher = [sys.executable, deepspeed, "--num_gpus", "2", "--master_port", str(free_port())]
    done = start([*launcher, str(ROOT / "launch/train.py"), "--config", str(config)], tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]

    run = tmp_path / "run"
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "validation/masked/loss" in line] == [2, 4]
    report = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    assert set(report["conditions"]) == {"clean", "noisy", "masked"}
    assert report["data_fingerprint"] == json.loads((shards / "manifest.json").read_text())["fingerprint"]
    assert (run / "pictures/skeletons-00.png").stat().st_size > 10_000
    assert (run / "curves.png").stat().st_size > 10_000

    # A person elsewhere: another process, the registry's name, no pickle.
    lookup = (
        "import mlflow, numpy, json\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/tiny@candidate')\n"
        "poses = model.predict(numpy.zeros((1, 20, 17, 3), numpy.float32))\n"
        "client = mlflow.MlflowClient()\n"
        f"run = client.get_run({json.loads((run / 'run.json').read_text())['run_id']!r})\n"
        "steps = [m.step for m in client.get_metric_history(run.info.run_id, 'train/loss')]\n"
        "pictures = [file.path for file in client.list_artifacts(run.info.run_id, 'pictures')]\n"
        "print(json.dumps([list(poses.shape), run.info.status, steps, pictures, run.data.params]))\n"
    )
    environment = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    found = subprocess.run(
        [sys.executable, "-c", lookup],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    shape, status, steps, pictures, params = json.loads(found.stdout.splitlines()[-1])
    assert shape == [1, 20, 17, 3]
    assert status == "FINISHED"
    assert steps == [1, 2, 3, 4]
    assert pictures == ["pictures/skeletons-00.png"]
    assert params["loss.temperature"] == "0.1"


@pytest.mark.slow
def test_a_resumed_run_repeats_the_uninterrupted_one_to_the_bit(tmp_path: Path, shards: Path) -> None:
    config = write_config(
        tmp_path,
        shards,
        model={"pool_dropout": 0.2},
        train={"max_steps": 6, "checkpoint_every": 3, "micro_batch_size": 6},
    )
    whole = train(tmp_path, config)
    assert whole.returncode == 0, whole.stderr[-3000:]
    before = read_metrics(tmp_path / "run/metrics.jsonl")
    # As after a crash in step 5: the last checkpoint is that of step 3, the metrics go beyond it.
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    refused = train(tmp_path, config)
    assert refused.returncode == 2
    assert "already holds a run; resume with --resume" in refused.stderr

    resumed = train(tmp_path, config, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "resuming after step 3" in resumed.stdout
    after = read_metrics(tmp_path / "run/metrics.jsonl")
    assert len(before) == len(after) == 7
    for one, other in zip(before, after, strict=True):
        assert {**one, "train/clips_per_second": 0} == {**other, "train/clips_per_second": 0}

    last = tmp_path / "run/checkpoints/step-00000006"
    (last / "model.safetensors").write_bytes(b"not a checkpoint")
    refused = train(tmp_path, config, "--resume", "--strict")
    assert refused.returncode == 2
    assert "model.safetensors has 16 bytes" in refused.stderr
    assert "Traceback" not in refused.stderr
    damaged = train(tmp_path, config, "--resume")
    assert damaged.returncode == 0
    assert "WARNING: a checkpoint cannot be used, falling back to step-00000003" in damaged.stderr

    changed = train(tmp_path, config, "--resume", "loss.temperature=0.2")
    assert changed.returncode == 2
    assert "--resume: loss.temperature was 0.1 and is now 0.2" in changed.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on CPU")
def test_a_compiled_model_trains_the_same(tmp_path: Path, shards: Path) -> None:
    losses: dict[bool, list[float]] = {}
    for compiled in (False, True):
        folder = tmp_path / f"compile-{compiled}"
        folder.mkdir()
        done = train(folder, write_config(folder, shards, model={"compile": compiled}))
        assert done.returncode == 0, done.stderr[-3000:]
        lines = read_metrics(folder / "run/metrics.jsonl")
        losses[compiled] = [line["train/loss"] for line in lines if "train/loss" in line]
        assert (folder / "run/model.safetensors").exists()
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


@pytest.mark.parametrize("stage", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_loss_that_is_no_number_stops_the_run_and_names_the_windows(
    tmp_path: Path, shards: Path, stage: int
) -> None:
    config = write_config(
        tmp_path,
        shards,
        optimizer={"learning_rate": 1e30, "warmup_steps": 0},
        train={"zero_stage": stage, "checkpoint_every": 1},
    )
    done = start([sys.executable, "-c", SLOW_DISK, "--config", str(config)], tmp_path)
    assert done.returncode == 1, done.stderr[-3000:]
    message = done.stderr.strip().splitlines()[-1]
    assert "is not finite at step" in message
    assert "train0" in message
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run/model.safetensors").exists()
    # No checkpoint holds the step that failed; the one before was being written, and is whole.
    failed = int(re.findall(r"at step (\d+)", message)[0])
    assert not (tmp_path / f"run/checkpoints/step-{failed:08d}").exists()
    assert verify_checkpoint(tmp_path / f"run/checkpoints/step-{failed - 1:08d}").step == failed - 1
    assert not list((tmp_path / "run/checkpoints").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.path={missing}"], "manifest.json does not exist"),
        (["data.validation_split=test"], "split 'test' has no clips; the manifest has train, validation"),
        (["train.micro_batch_size=5"], "train.global_batch_size=12 must be a multiple of 1 ranks times"),
        (["window.num_frames=7", "window.stride=3"], "min_span_frames=8 must be in 1..7, or labels are lost"),
        (["window.min_span_frames=9", "data.train_split=unlabelled"], "split 'unlabelled' has no clips"),
        (["optimizer.betas=[0.9,1.0]"], "should be less than 1"),
        (["data.path=http://127.0.0.1:9/x"], "127.0.0.1:9/x/manifest.json cannot be fetched"),
        (["optimizer.warmup_steps=9"], "optimizer.warmup_steps=9 must be below the run's 4 steps"),
        (["loss.temprature=1"], "did you mean 'loss.temperature'?"),
        (["text.encoder={missing}/encoder"], "text.encoder"),
        (["model.initial_weights={missing}/weights.bin"], "weights.bin"),
        (["--resume"], "holds no run to resume"),
        (["output=/proc/nowhere/run"], "cannot be written"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_mistake_is_one_line_and_exit_2(
    tmp_path: Path,
    shards: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")  # joining sets it; the test puts it back
    config = write_config(tmp_path, shards)
    words = [argument.format(missing=tmp_path / "missing") for argument in arguments]
    assert main(["train", "--config", str(config), *words]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("langpose: error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_missing_configuration_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "configs/pretrain/smal.yaml"]) == 2
    assert "configs/pretrain/smal.yaml does not exist" in capsys.readouterr().err
