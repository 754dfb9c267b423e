"""The registered model where MLflow, torch, numpy and safetensors are installed, and this package is not."""

import importlib.metadata
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from langpose_dist.tracking.registry.promotion import promote
from tests.exports import load_langpose
from tests.ports import free_port
from tests.tracking.registering import Store, evaluation, make_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    # MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]
PACKAGES = ("mlflow", "torch", "numpy", "safetensors")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a new environment, with the versions that the tests themselves have."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run((sys.executable, "-m", "venv", folder), check=True)
    pins = [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in PACKAGES]
    subprocess.run((folder / "bin/pip", "install", "-q", *pins), check=True)
    listed = subprocess.run((folder / "bin/pip", "list"), check=True, capture_output=True, text=True).stdout
    assert "jaxtyping" not in listed
    assert "langpose" not in listed
    return folder / "bin"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = make_store(tmp_path_factory.mktemp("serving"))
    store.register("lifter", evaluation())
    promote(store.client, "lifter/1", metrics=["clean/mpjpe_mm"], tolerance=0.0)
    return store


def environment(fresh: Path, store: Store) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{fresh}:{variables['PATH']}"
    return variables | {
        "PATH": path,
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }


def run(fresh: Path, store: Store, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=fresh,
        env=environment(fresh, store),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def write_request(path: Path, keypoints_2d: np.ndarray) -> str:
    path.write_text(json.dumps({"inputs": keypoints_2d.tolist()}), encoding="utf-8")
    return str(path)


def clip() -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, 17, 3)).astype(np.float32)


def expected(store: Store) -> np.ndarray:
    """What the network gives: a window that repeats its last frame."""
    import torch

    model, _ = load_langpose(store.weights())
    window = np.concatenate((clip(), np.repeat(clip()[:, -1:], 6, axis=1)), axis=1)
    with torch.inference_mode():
        return model.lift_windows(torch.from_numpy(window)).numpy()[:, :3]


def test_python_loads_the_champion(fresh: Path, store: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", clip())
    code = """
import mlflow, numpy, sys
model = mlflow.pyfunc.load_model("models:/lifter@champion")
clip = numpy.load(sys.argv[1])
numpy.save(sys.argv[2], model.predict(clip))
try:
    model.predict(clip * 640)
except mlflow.MlflowException as error:
    print(error)
"""
    words = (str(fresh / "python"), "-c", code, str(tmp_path / "clip.npy"), str(tmp_path / "poses.npy"))
    process = run(fresh, store, *words)
    assert process.returncode == 0, process.stderr
    assert "these look like pixels; give half image widths" in process.stdout
    np.testing.assert_allclose(np.load(tmp_path / "poses.npy"), expected(store), rtol=1e-5, atol=1e-6)


def test_mlflow_models_predict(fresh: Path, store: Store, tmp_path: Path) -> None:
    words = ("mlflow", "models", "predict", "-m", "models:/lifter@champion", "--env-manager", "local", "-i")
    process = run(fresh, store, *words, write_request(tmp_path / "clip.json", clip()))
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout[process.stdout.index('{"predictions"') :])
    np.testing.assert_allclose(answer["predictions"], expected(store), rtol=1e-5, atol=1e-6)
    process = run(fresh, store, *words, write_request(tmp_path / "pixels.json", clip() * 640))
    assert process.returncode != 0
    assert "these look like pixels; give half image widths" in process.stderr.splitlines()[-1]


@pytest.fixture
def server(fresh: Path, store: Store, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    words = ("mlflow", "models", "serve", "-m", "models:/lifter@champion", "--env-manager", "local", "-p")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            (*words, str(port)), env=environment(fresh, store), cwd=fresh, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 300
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def ask(url: str, keypoints_2d: np.ndarray) -> tuple[int, Mapping[str, Any]]:
    body = json.dumps({"inputs": keypoints_2d.tolist()}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_mlflow_models_serve_says_its_reason(server: str, store: Store) -> None:
    status, answer = ask(server, clip())
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], expected(store), rtol=1e-5, atol=1e-6)
    status, answer = ask(server, clip() * 640)
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "these look like pixels; give half image widths" in answer["message"]
    status, answer = ask(server, clip()[:, :, :16])
    assert status == 400
    assert "17" in answer["message"]
