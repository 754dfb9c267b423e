"""Tiny models in real registries, for the tests of the registry."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric

from langpose_dist.config import RunConfig, build_config
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.lifting import lift
from langpose_dist.tracking.client import connect, resolve_uri
from langpose_dist.tracking.registry.registration import register_model
from tests.exports import load_langpose, save_weights

NUM_FRAMES = 9
TAGS = {"config_hash": "c0ffee", "data_fingerprint": "data-1", "git_commit": "abc", "git_dirty": "false"}


def tiny_config(**content: Any) -> RunConfig:
    """Of a model with a few thousand weights."""
    return build_config(
        {
            "window": {"num_frames": NUM_FRAMES, "stride": 3},
            "masking": {"time_window_frames": [2, 4]},
            "model": {"dim": 16, "dim_representation": 16, "depth": 1, "num_heads": 2, "embed_dim": 8},
            **content,
        }
    )


def evaluation(masked: float = 80.0, clean: float = 70.0, **changes: Any) -> dict[str, Any]:
    """Content of an ``evaluation.json``."""
    return {
        "split": "validation",
        "source_2d": "synthetic: ground-truth 3D through a virtual camera",
        "num_windows": 12,
        "num_frames": 108,
        "conditions": {
            "clean": {"mpjpe_mm": clean, "r_at_1": 0.5},
            "masked": {"mpjpe_mm": masked, "r_at_1": 0.25},
        },
        "protocol": {"mpjpe_mm": "mean per-joint position error", "r_at_k": "share of windows"},
        "dataset": "toy",
        "data_fingerprint": "f" * 64,
        "config_hash": "c0ffee",
        "commit": "abc",
        "step": 7,
        **changes,
    }


@dataclass
class Store:
    """A tracking store with its registry.

    Args:
        uri: Of a database or a server.
        folder: For weights, and beside an SQLite file for what it stores.
    """

    uri: str
    folder: Path

    @property
    def client(self) -> MlflowClient:
        """A new one."""
        return connect(resolve_uri(self.uri), create=True)

    def weights(self, seed: int = 0) -> Path:
        """A file of weights."""
        path = self.folder / f"weights-{seed}" / "model.safetensors"
        if not path.exists():
            torch.manual_seed(seed)
            model = LangPose(tiny_config(), text_dim=12).eval()
            save_weights(path, model, tiny_config(), {})
        return path

    def start_run(self) -> str:
        """A new run of the experiment ``toys``."""
        client = self.client
        experiment = client.get_experiment_by_name("toys")
        is_file = self.uri.startswith("sqlite")
        location = (self.folder / "mlartifacts").as_uri() if is_file else None
        number = experiment.experiment_id if experiment else client.create_experiment("toys", location)
        return client.create_run(number).info.run_id

    def stored_model(self, run_id: str) -> tuple[LoggedModel, list[Metric]]:
        """The one model that a run stored, and the metrics on its page."""
        outputs = self.client.get_run(run_id).outputs
        assert outputs is not None
        (output,) = outputs.model_outputs
        model = self.client.get_logged_model(output.model_id)
        return model, model.metrics or []

    def register(
        self,
        name: str,
        content: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        client: Any = None,
        alias: str = "candidate",
        seed: int = 0,
        config: RunConfig | None = None,
        licence: str | None = None,
        parents: tuple[str, ...] = (),
    ) -> str:
        """Register a tiny model; ``client`` may be one that fails."""
        return register_model(
            client or self.client,
            run_id=run_id or self.start_run(),
            weights=self.weights(seed),
            config=config or tiny_config(),
            name=name,
            alias=alias,
            evaluation=content,
            tags=TAGS,
            licence=licence,
            parents=parents,
        )


def make_store(folder: Path) -> Store:
    """An SQLite store; the space in its path is part of the tests."""
    folder = folder / "a store"
    folder.mkdir()
    return Store(f"sqlite:///{folder}/mlflow.db", folder)


def run_python(code: str, *arguments: str, folder: Path, **environment: str) -> str:
    """What a fresh process in a folder prints, to which only the package is known."""
    process = subprocess.run(
        (sys.executable, "-c", textwrap.dedent(code), *arguments),
        cwd=folder,
        env=os.environ
        | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": str(Path(__file__).parents[2])}
        | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def check_loading(store: Store, uri: str, folder: Path, **environment: str) -> None:
    """Lift clips in a fresh process and here."""
    code = """
        import numpy as np, mlflow, sys
        model = mlflow.pyfunc.load_model(sys.argv[1])
        for path in sys.argv[2:]:
            np.save(path + ".out.npy", model.predict(np.load(path)))
        for wrong in (np.zeros((1, 9, 17, 3)), np.zeros((1, 9, 16, 3), np.float32)):
            try:
                model.predict(wrong)
            except mlflow.exceptions.MlflowException as error:
                print("refused", wrong.dtype, wrong.shape)
        """
    generator = np.random.default_rng(0)
    lengths = (1, NUM_FRAMES, 2 * NUM_FRAMES + 4)
    clips = [generator.random((2, length, 17, 3)).astype(np.float32) for length in lengths]
    paths = [str(folder / f"{length}.npy") for length in lengths]
    for path, clip in zip(paths, clips, strict=True):
        np.save(path, clip)
    output = run_python(code, uri, *paths, folder=folder, **environment)
    assert output.splitlines() == ["refused float64 (1, 9, 17, 3)", "refused float32 (1, 9, 16, 3)"]
    model, _ = load_langpose(store.weights())
    for path, clip in zip(paths, clips, strict=True):
        poses = np.load(path + ".out.npy")
        assert poses.dtype == np.float32
        assert poses.shape == clip.shape
        expected = lift(model, torch.from_numpy(clip), NUM_FRAMES).numpy()
        np.testing.assert_allclose(poses, expected, rtol=1e-5, atol=1e-6)
