"""Commands of the manifests against real servers here: MLflow with its stores, a Ray head with a token."""

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from mlflow import MlflowClient
from mlflow.artifacts import load_text

from tests.corpus import build_corpus
from tests.k8s.manifests import Manifest, name_of, render
from tests.ports import free_port
from tests.tracking.servers import Postgres, missing_postgresql

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]
ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
KEYS = {"accessKey": "access", "secretKey": "a-long-secret"}
ADMIN_PASSWORD = "the-password-of-the-admin"


def container(folder: str, name: str) -> Manifest:
    """The only container of a manifest."""
    (found,) = [one for one in render(folder) if name_of(one) == name]
    (only,) = found["spec"]["template"]["spec"]["containers"]
    return only


def instead(words: Sequence[str], **changes: str | int | Path) -> list[str]:
    """Words with other values of some options, such as ``s3_port`` for ``-s3.port=8333``."""
    made = []
    for word in words:
        option, is_given, _ = word.partition("=")
        key = option.lstrip("-").replace(".", "_").replace("-", "_")
        made.append(f"{option}={changes.pop(key)}" if is_given and key in changes else word)
    assert not changes, f"not among the manifest's words: {changes}"
    return made


@contextmanager
def running(
    words: Sequence[str], log: Path, variables: Mapping[str, str], is_up: Callable[[], bool]
) -> Iterator[psutil.Process]:
    """A server for as long as the context lasts."""
    with log.open("wb") as output:
        process = psutil.Popen(
            words,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **variables},
        )
    try:
        deadline = time.monotonic() + 120
        while not is_up():
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.2)
        yield process
    finally:
        family = [*process.children(recursive=True), process]
        for one in family:
            one.terminate()
        _, alive = psutil.wait_procs(family, 20)
        for one in alive:
            one.kill()
        process.wait(20)


def answers(url: str, **headers: str) -> int:
    """Status of an answer; 0 without one."""
    try:
        return requests.get(url, headers=headers, timeout=5).status_code
    except requests.RequestException:
        return 0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """Address of a SeaweedFS, started by the manifest's command."""
    config = tmp_path / "s3.json"
    actions = ["Admin", "Read", "Write", "List"]
    config.write_text(
        json.dumps({"identities": [{"name": "mlflow", "credentials": [KEYS], "actions": actions}]})
    )
    (tmp_path / "data").mkdir()
    port = free_port()
    weed = container("overlays/dev", "StatefulSet/seaweedfs")
    words = instead(
        weed["args"], dir=tmp_path / "data", s3_ip_bind="127.0.0.1", s3_port=port, s3_config=config
    )
    words += [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
    address = f"http://127.0.0.1:{port}"
    with running([*weed["command"], *words], tmp_path / "weed.log", {}, lambda: answers(address) == 403):
        yield address


def store_variables(store: str) -> dict[str, str]:
    """The environment that ConfigMap and Secret give to a client of the object store."""
    return {
        "MLFLOW_S3_ENDPOINT_URL": store,
        "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_mlflow_keeps_runs_in_postgres_and_files_in_seaweedfs(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := missing_postgresql():
        pytest.skip(reason)
    job = container("overlays/dev", "Job/make-bucket")
    for _ in range(2):  # a Job may run again
        subprocess.run(
            [sys.executable, "-c", *job["args"]],
            env=os.environ | store_variables(store),
            check=True,
            timeout=60,
        )
    (settings,) = [one for one in render("overlays/dev") if name_of(one) == "ConfigMap/mlflow"]
    server = container("overlays/dev", "Deployment/mlflow")
    port, folder = free_port(), tmp_path / "state" / "tracking"
    words = instead(
        server["args"], folder=folder, artifacts=settings["data"]["artifacts"], host="127.0.0.1", port=port
    )
    command = [sys.executable, str(ROOT / "launch/tracking_server.py"), *words]
    address = f"http://127.0.0.1:{port}"
    database = Postgres()
    database.start()
    try:
        password = Postgres.PASSWORD
        uri = f"postgresql+psycopg://mlflow@/mlflow?host={database.folder}"
        variables = {
            **store_variables(store),
            "HOME": str(tmp_path),
            "MLFLOW_BACKEND_STORE_URI": uri,
            "PGPASSWORD": password,
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN_PASSWORD,
        }

        def is_up() -> bool:
            return answers(f"{address}/health") == 200

        with running(command, tmp_path / "mlflow.log", variables, is_up):
            # A kubelet asks by the pod's address, clients by the Service's names, and nobody else by another.
            assert answers(f"{address}/health", Host="10.1.2.3:5000") == 200
            assert answers(f"{address}/api/2.0/mlflow/experiments/search", Host="mlflow:5000") == 401
            assert answers(f"{address}/api/2.0/mlflow/experiments/search", Host="elsewhere.example") == 403
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
            client = MlflowClient(address)
            run = client.create_run(client.create_experiment("rehearsal")).info.run_id
            content = secrets.token_hex(500_000)
            client.log_text(run, content, "large.txt")
            client.log_metric(run, "loss", 1.0)
            assert client.get_run(run).data.metrics == {"loss": 1.0}
            artifact = f"{client.get_run(run).info.artifact_uri}/large.txt"
            assert artifact.startswith("mlflow-artifacts:")
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            assert load_text(artifact) == content
        upgrade = container("jobs/migrate", "Job/migrate")
        subprocess.run(
            [BIN / "mlflow", *upgrade["command"][1:], uri],
            env=os.environ | {"PGPASSWORD": password},
            check=True,
            timeout=120,
        )
        with running(command, tmp_path / "again.log", variables, is_up):
            assert client.get_run(run).data.metrics == {"loss": 1.0}
    finally:
        database.stop(signal.SIGINT)
        shutil.rmtree(database.folder)
    for log in tmp_path.glob("*.log"):
        for secret in (password, ADMIN_PASSWORD, KEYS["secretKey"]):
            assert secret not in log.read_text(errors="replace"), log.name


@pytest.mark.dist
def test_a_sweep_is_submitted_with_a_token_killed_and_submitted_again(tmp_path: Path) -> None:
    build_corpus(tmp_path / "shards")
    (job,) = render("jobs/sweep")
    entrypoint = sweep_words(job, tmp_path)
    port, dashboard = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # sockets need a short path
        variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        variables |= {
            "RAY_AUTH_MODE": job["spec"]["rayClusterSpec"]["authOptions"]["mode"],
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

        def ray(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [BIN / "ray", *words],
                env=variables | changes,
                capture_output=True,
                text=True,
                timeout=400,
                check=False,
            )

        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]
        started = ray(
            *("start", "--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={short}"),
            *("--dashboard-host=127.0.0.1", f"--num-cpus={head['num-cpus']}", "--node-ip-address=127.0.0.1"),
        )
        assert started.returncode == 0, started.stdout + started.stderr
        raylets = list(_ray_processes(short))
        try:
            worker = ray(
                "start", f"--address=127.0.0.1:{port}", "--num-cpus=2", "--node-ip-address=127.0.0.1"
            )
            assert worker.returncode == 0, worker.stdout + worker.stderr
            to = ("job", "submit", f"--address=http://127.0.0.1:{dashboard}")
            deadline = time.monotonic() + 300
            while ray(*to, "--", "true").returncode != 0:  # the head is not ready yet
                assert time.monotonic() < deadline
            refused = ray(*to, "--", "true", RAY_AUTH_TOKEN=secrets.token_hex(32))
            assert refused.returncode != 0

            log = tmp_path / "submitted.log"
            with log.open("wb") as output:
                submitted = subprocess.Popen(
                    [BIN / "ray", *to, "--", *entrypoint], env=variables, stdout=output, stderr=output
                )
            record = tmp_path / "sweep" / "sweep.json"
            _wait_for(lambda: list((tmp_path / "sweep").glob("trials/*/metrics.jsonl")), submitted, log)
            for process in _drivers(tmp_path):
                process.kill()
            assert submitted.wait(120) != 0
            assert json.loads(record.read_text())["status"] == "running"

            again = ray(*to, "--", *entrypoint)
            assert again.returncode == 0, again.stdout[-3000:]
            content = json.loads(record.read_text())
            assert (content["status"], content["attempts"]) == ("finished", 2)
        finally:
            raylets += _ray_processes(short)
            for process in raylets:
                if process.is_running():
                    process.kill()
            psutil.wait_procs(raylets, 20)


def sweep_words(job: Manifest, folder: Path) -> list[str]:
    """The manifest's entry point, with a sweep that takes a minute on a processor."""
    words = [word.replace("/app/", f"{ROOT}/") for word in shlex.split(job["spec"]["entrypoint"])]
    values = {"data.path": folder / "shards", "output": folder / "sweep", "sweep.resources.gpus": "0"}
    made = [f"{key}={values[key]}" if (key := word.partition("=")[0]) in values else word for word in words]
    tiny: dict[str, Any] = {
        "sweep.num_trials": 2,
        "sweep.seeds": "[]",
        "sweep.scheduler.name": "none",
        "train.max_steps": 60,
        "optimizer.warmup_steps": 1,
        "train.global_batch_size": 4,
        "train.device": "cpu",
        "model.dim": 16,
        "model.dim_representation": 16,
        "data.num_workers": 0,
        "tracking.enabled": "false",
    }
    return [*made, *(f"{key}={value}" for key, value in tiny.items())]


def _ray_processes(folder: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if any(folder in word for word in process.cmdline()):
                yield process
        except psutil.Error:
            continue


def _drivers(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "tuning.sweep" in words and f"output={folder / 'sweep'}" in words:
            found.append(process)
    return found


def _wait_for(is_there: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while not is_there():
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.1)
