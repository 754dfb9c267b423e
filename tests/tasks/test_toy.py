"""A task that no line of the package knows: the walking speed, predicted from 2D."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Self

import mlflow
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from langpose_dist.batch import WindowBatch
from langpose_dist.cli.main import main
from langpose_dist.config import ConfigError, Count, RunConfig, Section, load_config
from langpose_dist.config.affects import MODEL
from langpose_dist.data.corpus import Corpus
from langpose_dist.geometry import observe
from langpose_dist.metrics.table import Metric, add_metrics
from langpose_dist.tasks.exported import load_exported
from langpose_dist.tasks.task import Column, Columns, Interface, Scores, Task
from tests.corpus import build_corpus, tiny_config
from tests.train.jobs import ROOT, finish, hold_at, job, losses, read_status

pytestmark = [pytest.mark.dist, pytest.mark.filterwarnings("ignore")]

add_metrics(
    [
        Metric(
            "speed_error_m_s", "speed error", "m/s", higher_is_better=False, protocol="mean absolute error"
        ),
        Metric("loss_speed", "speed loss", "", higher_is_better=False, kind="loss"),
    ]
)


class SpeedConfig(Section):
    """Configuration of the task."""

    hidden: Annotated[Count, MODEL] = 8
    """Width of the model."""


class SpeedModel(nn.Module):
    """Speed from how far each joint moves in the image."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(34, hidden), nn.GELU(), nn.Linear(hidden, 1))

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        steps = keypoints_2d[..., :2].diff(dim=1).abs().mean(dim=1)
        return self.layers(steps.flatten(1))[:, 0]


class SpeedTask(Task):
    """Mean absolute error of the walking speed."""

    section = SpeedConfig
    metrics = ("loss_speed", "loss", "speed_error_m_s")
    key_metric = "speed_error_m_s"
    interface = Interface((-1, -1, 17, 3), (-1,), "2D keypoints in, metres per second out.", "speed")

    def __init__(self, model: SpeedModel, config: RunConfig, fps: float) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.fps = fps

    @classmethod
    def problems(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        if config.window.num_frames < 2:
            yield "a speed needs windows of two frames or more"

    @classmethod
    def build(cls, config: RunConfig, corpus: Corpus) -> Self:
        torch.manual_seed(config.seed)
        return cls(cls.rebuild(config, {}), config, corpus.manifest.fps)

    @classmethod
    def wrap(cls, model: nn.Module, config: RunConfig, corpus: Corpus) -> Self:
        assert isinstance(model, SpeedModel)
        return cls(model, config, corpus.manifest.fps)

    @classmethod
    def rebuild(cls, config: RunConfig, header: Mapping[str, str]) -> SpeedModel:
        return SpeedModel(config.speed.hidden)  # pyright: ignore[reportAttributeAccessIssue]

    @classmethod
    def predict(cls, model: nn.Module, config: RunConfig, inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(np.ascontiguousarray(inputs, np.float32))).numpy()

    def header(self) -> dict[str, str]:
        return {}

    @property
    def weights(self) -> dict[str, float]:
        return {"loss_speed": 1.0}

    def forward(self, windows: WindowBatch) -> dict[str, Tensor]:
        batch = observe(windows, self.config.camera, self.config.noise)
        return {"loss_speed": (self.model(batch.keypoints_2d) - self.true_speed(windows)).abs()}

    def true_speed(self, windows: WindowBatch) -> Tensor:
        """Metres per second of the pelvis over the ground."""
        steps = windows.poses_3d[:, :, 0, :2].diff(dim=1).norm(dim=-1)
        return steps.sum(dim=1) / (windows.frame_mask.sum(dim=1) - 1).clamp(min=1) * self.fps

    def scorer(self) -> Callable[[WindowBatch], Scores]:
        return self._score

    def _score(self, windows: WindowBatch) -> Scores:
        error = self(windows)["loss_speed"]
        return Scores({"loss_speed": Column(error), "speed_error_m_s": Column(error)})

    def target(self, windows: WindowBatch) -> tuple[Tensor, Tensor]:
        speed = self.true_speed(windows)[:, None].expand(windows.frame_mask.shape)
        return speed, windows.frame_mask

    def baselines(self, windows: WindowBatch, mean_target: Tensor | None) -> dict[str, Columns]:
        assert mean_target is not None
        error = (self.true_speed(windows) - mean_target).abs()
        return {"mean_speed": {"speed_error_m_s": Column(error)}}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Metadata of an installed package that adds the task."""
    folder = tmp_path / "site"
    metadata = folder / "toy-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[langpose_dist.tasks]\nspeed = tests.tasks.test_toy:SpeedTask\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{ROOT}")
    return folder


def write_config(folder: Path, shards: Path) -> Path:
    content = tiny_config(shards, folder / "run").to_dict()
    content |= {"task": "speed", "speed": {"hidden": 6}}
    content["train"] |= {"max_steps": 40, "checkpoint_every": 5, "evaluate_every": 20, "best_metric": None}
    content["optimizer"] |= {"learning_rate": 0.01}
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    content["tracking"] |= {"enabled": True, "uri": uri, "register_as": "toy-speed"}
    content["registry"] = {"metrics": ["masked/speed_error_m_s"]}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("package")
def test_a_task_of_another_package_trains_resumes_evaluates_sweeps_and_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build_corpus(tmp_path / "shards")
    config = write_config(tmp_path, tmp_path / "shards")
    monkeypatch.chdir(tmp_path)  # MLflow's files of a database without a server

    with job(tmp_path, "torchrun", 2, **hold_at(12)) as running:  # two ranks, one of which is killed
        running.wait_for_step(12)
        running.ranks()[1].send_signal(signal.SIGKILL)
        assert running.wait() != 0
        running.wait_until_gone()
    finish(tmp_path, "none", 1)  # one rank
    assert read_status(tmp_path)["step"] == 40
    values = [line["train/loss"] for _, line in losses(tmp_path) if "train/loss" in line]
    assert len(values) == 40
    assert min(values[-5:]) < values[0] * 0.7

    assert main(["evaluate", str(tmp_path / "run"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 < report["conditions"]["clean"]["speed_error_m_s"] < values[0]
    # Everybody in the made-up corpus moves 0.02 m a frame, so the mean is the right answer.
    assert report["mean_speed"]["speed_error_m_s"] == pytest.approx(0, abs=1e-5)
    assert report["protocol"] == {"speed_error_m_s": "mean absolute error"}

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/toy-speed@candidate")
    keypoints = np.random.default_rng(0).normal(size=(2, 9, 17, 3)).astype(np.float32)
    expected = load_exported(tmp_path / "run/model.safetensors").predict(keypoints)
    assert np.allclose(model.predict(keypoints), expected, atol=1e-6)

    sweep = {
        **yaml.safe_load(config.read_text(encoding="utf-8")),
        "output": str(tmp_path / "sweep"),
        "sweep": {
            "space": {"speed.hidden": {"choice": [4, 8]}},
            "searcher": "grid",
            "baseline": False,
            "objective": ["masked/speed_error_m_s"],
            "max_concurrent": 1,
        },
    }
    sweep["train"] |= {"max_steps": 4, "evaluate_every": 2}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tuning.sweep", "--config", str(tmp_path / "sweep.yaml")],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "sweep/sweep.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("override", "message"),
    [("speed.hiden=3", "did you mean 'speed.hidden'"), ("speed.hidden=0", "speed.hidden=0")],
)
def test_its_keys_are_checked_as_all_others(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, ["task=speed", override])


def test_without_its_package_the_task_is_unknown() -> None:
    with pytest.raises(ConfigError, match="task='speed' is not a task"):
        load_config(None, ["task=speed"])
