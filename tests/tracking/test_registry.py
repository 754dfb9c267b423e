import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from langpose_dist.config import RunConfig, UserError, build_config
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.lifting import lift
from langpose_dist.models.weights import save_weights
from langpose_dist.tracking.client import connect, resolve_uri
from langpose_dist.tracking.registry import RegisteredName, find_versions, list_models, register_model
from langpose_dist.tracking.runs import MLflowTracker

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

NUM_FRAMES = 9


@dataclass(frozen=True)
class Registered:
    """A store with one model in two versions, both made by the tracker."""

    uri: str
    config: RunConfig
    model: LangPose
    weights: Path
    run_id: str


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    folder = tmp_path_factory.mktemp("a store")
    config = build_config(
        {
            "window": {"num_frames": NUM_FRAMES, "stride": 3},
            "masking": {"time_window_frames": [2, 4]},
            "model": {"dim": 16, "dim_representation": 16, "depth": 1, "num_heads": 2, "embed_dim": 8},
            "tracking": {
                "uri": f"sqlite:///{folder}/mlflow.db",
                "register_as": "lifter",
                "alias": "candidate",
            },
        }
    )
    torch.manual_seed(0)
    model = LangPose(config, text_dim=12).eval()
    save_weights(folder / "model.safetensors", model, config, {})
    tracker = MLflowTracker(config.tracking)
    record = tracker.start(
        config=config, run_dir=folder, data_fingerprint="data-1", environment={"git_commit": "abc"}
    )
    tracker.log_metrics({"validation/clean/mpjpe_mm": 80.5}, 1)
    assert tracker.register(folder / "model.safetensors") == "lifter/1"
    tracker.log_metrics({"validation/clean/mpjpe_mm": 70.5}, 2)
    assert tracker.register(folder / "model.safetensors") == "lifter/2"
    tracker.finish("FINISHED")
    return Registered(config.tracking.uri, config, model, folder / "model.safetensors", record["run_id"])


@pytest.fixture
def client(registered: Registered) -> MlflowClient:
    return connect(resolve_uri(registered.uri), create=False)


def test_a_fresh_process_loads_it_by_alias_without_pickle(registered: Registered, tmp_path: Path) -> None:
    code = """
        import numpy as np, mlflow, sys
        model = mlflow.pyfunc.load_model("models:/lifter@candidate")
        for path in sys.argv[1:]:
            np.save(path + ".out.npy", model.predict(np.load(path)))
        for wrong in (np.zeros((1, 9, 17, 3)), np.zeros((1, 9, 16, 3), np.float32)):
            try:
                model.predict(wrong)
            except mlflow.exceptions.MlflowException as error:
                print("refused", wrong.dtype, wrong.shape)
        """
    generator = np.random.default_rng(0)
    lengths = (1, NUM_FRAMES, 2 * NUM_FRAMES + 4)
    clips = [generator.normal(size=(2, length, 17, 3)).astype(np.float32) for length in lengths]
    paths = [str(tmp_path / f"{length}.npy") for length in lengths]
    for path, clip in zip(paths, clips, strict=True):
        np.save(path, clip)
    root = Path(__file__).parents[2]
    process = subprocess.run(
        (sys.executable, "-c", textwrap.dedent(code), *paths),
        cwd=tmp_path,
        env=os.environ
        | {
            "MLFLOW_TRACKING_URI": registered.uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "PYTHONPATH": str(root),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["refused float64 (1, 9, 17, 3)", "refused float32 (1, 9, 16, 3)"]
    for path, clip in zip(paths, clips, strict=True):
        poses = np.load(path + ".out.npy")
        assert poses.dtype == np.float32
        assert poses.shape == clip.shape
        expected = lift(registered.model, torch.from_numpy(clip), NUM_FRAMES).numpy()
        np.testing.assert_allclose(poses, expected, rtol=1e-5, atol=1e-6)


def test_the_stored_model_is_plain_files(
    registered: Registered, client: MlflowClient, tmp_path: Path
) -> None:
    version = client.get_model_version_by_alias("lifter", "candidate")
    assert version.source is not None
    folder = Path(download_artifacts(version.source, dst_path=str(tmp_path), tracking_uri=registered.uri))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    # Loading it elsewhere writes these.
    files = {name for name in files if "__pycache__" not in name} - {"registered_model_meta"}
    assert files == {
        "MLmodel",
        "artifacts/config.yaml",
        "artifacts/metrics.json",
        "artifacts/model.safetensors",
        "conda.yaml",
        "pyfunc.py",
        "python_env.yaml",
        "requirements.txt",
    }
    assert json.loads((folder / "artifacts/metrics.json").read_text()) == {"validation/clean/mpjpe_mm": 70.5}
    assert "num_frames: 9" in (folder / "artifacts/config.yaml").read_text()
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert requirements[0].startswith("langpose-dist==")
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements


def test_versions_carry_what_they_were_made_from(registered: Registered, client: MlflowClient) -> None:
    newest, oldest = find_versions(client, "lifter")
    assert (newest.version, newest.aliases, newest.metrics) == (
        2,
        ("candidate",),
        {"validation/clean/mpjpe_mm": 70.5},
    )
    assert (oldest.version, oldest.aliases, oldest.metrics) == (1, (), {"validation/clean/mpjpe_mm": 80.5})
    assert newest.run_id == registered.run_id
    assert newest.status == "READY"
    assert newest.tags["config_hash"] == registered.config.hash()
    assert newest.tags["data_fingerprint"] == "data-1"
    assert newest.tags["git_commit"] == "abc"
    assert find_versions(client, "lifter", "candidate") == [newest]
    assert list_models(client) == [RegisteredName("lifter", (2, 1), {"candidate": 2})]


@pytest.mark.parametrize(
    ("name", "alias", "message"),
    [
        ("liftr", None, "the registry has no model 'liftr'; it has lifter"),
        ("lifter", "best", "model 'lifter' has no alias 'best'; it has candidate"),
    ],
)
def test_a_missing_name_or_alias_is_one_line(
    client: MlflowClient, name: str, alias: str | None, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        find_versions(client, name, alias)
    assert str(caught.value) == message


def test_a_lookup_creates_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no tracking database"):
        connect(resolve_uri(f"sqlite:///{tmp_path}/mlflow.db"), create=False)
    assert not list(tmp_path.iterdir())


def test_missing_weights_are_refused_before_anything_is_stored(
    registered: Registered, client: MlflowClient, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="there are no weights"):
        register_model(
            client,
            run_id=registered.run_id,
            weights=tmp_path / "missing.safetensors",
            config=registered.config,
            name="other",
            alias="candidate",
            metrics={},
            tags={},
        )
    assert [model.name for model in list_models(client)] == ["lifter"]


def test_a_registration_that_fails_leaves_the_run_alive(
    registered: Registered, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = MLflowTracker(registered.config.tracking)
    tracker.start(
        config=registered.config,
        run_dir=tmp_path,
        data_fingerprint="data-1",
        environment={},
        run_id=registered.run_id,
    )
    assert tracker.register(tmp_path / "missing.safetensors") is None
    assert "the model was not registered" in caplog.text
    tracker.finish("FINISHED")
