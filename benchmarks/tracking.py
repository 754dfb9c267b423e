"""Cost of recording runs, losses by outages, and how long the registry takes.

python -m benchmarks.tracking [--rounds 6] [--outages 20]

- Steps: milliseconds of one update of a small model with tracking off, into an SQLite file, to a server, and
  to a server that is down, in turns; every update is logged. The server runs on the same cores.
- Outages: a run logs without a pause while its server is killed and started again at random moments; every
  value logged is looked for afterwards.
- Registry: a look-up by alias, and loading and pulling the full-size model, through a server.
"""

import argparse
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import write_result
from benchmarks.distributed import CONFIGS
from benchmarks.harness import ROOT, make_shards
from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, build_config, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.runs.tracker import NullTracker, RunInfo, Tracker
from langpose_dist.tasks.pretrain import PretrainTask
from langpose_dist.tracking.client import connect
from langpose_dist.tracking.registry.pull import pull
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.registry.registration import register_model
from langpose_dist.tracking.tracker import MLflowTracker
from langpose_dist.train.checkpoint import TrainState
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.processes import join_processes, leave_processes
from langpose_dist.train.engine import build_engine
from langpose_dist.train.evaluate import Evaluator
from langpose_dist.train.trainer import Trainer

UPDATES = 60


class Server:
    """A tracking server that can be killed and started again on the same port and data.

    Args:
        folder: Of the server.
        options: More words for ``launch/tracking_server.py``.
    """

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, str(ROOT / "launch/tracking_server.py"), "--folder", str(folder)]
        self._command += ["--port", str(port), "--workers", "1", *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while self._process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            time.sleep(0.1)
        raise RuntimeError(f"the server ended; see why with: {' '.join(self._command)}")

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as when the machine is lost."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def running_server(folder: Path, options: Sequence[str]) -> Iterator[Server]:
    """Run a server, with the administrator's name and password in this process's environment."""
    server = Server(folder, options)
    try:
        server.start()
        os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
        os.environ["MLFLOW_TRACKING_PASSWORD"] = (folder / "secrets/admin-password").read_text().strip()
        yield server
    finally:
        server.kill()


def start_tracker(config: RunConfig, run_dir: Path) -> MLflowTracker:
    """Open a run in the store that the configuration names, once that has answered or proved unavailable."""
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    tracker = MLflowTracker(config.tracking)
    tracker.check()
    tracker.start(
        RunInfo(
            config=config,
            run_dir=run_dir,
            dataset="random",
            data_fingerprint="d" * 64,
            environment={},
            packages="",
        )
    )
    tracker.opened()
    return tracker


def measure_steps(base: Path, server: Server, rounds: int) -> dict[str, Any]:
    """Rounds of one block of updates per setting, in another order each time."""
    shards = make_shards(base / "shards")
    small = load_config(CONFIGS / "pretrain/small.yaml").to_dict()
    small["data"] |= {"path": str(shards), "num_workers": 0}
    small["train"] |= {"device": "cpu", "max_steps": 10**6, "global_batch_size": 32, "log_every": 1}
    small["train"]["num_threads"] = os.cpu_count()
    config = build_config({**small, "output": str(base / "steps")})
    processes = join_processes(config.train)
    milliseconds: dict[str, list[float]] = {"off": [], "SQLite": [], "server": [], "server down": []}
    try:
        corpus = Corpus.open(config)
        Path(config.output).mkdir()
        trainer = Trainer(
            config=config,
            run_dir=Path(config.output),
            processes=processes,
            corpus=corpus,
            engine=build_engine(PretrainTask.build(config, corpus), config, processes, 10**6),
            evaluator=Evaluator(corpus, config, processes),
            tracker=NullTracker(),
            gate=Gate(processes),
            num_steps=10**6,
            state=TrainState(),
            origin={},
        )
        trainer.engine.train()
        batches = trainer.batches()
        batch = next(batches)
        _block(trainer, batch, NullTracker())  # warm-up
        for number in range(rounds):
            for setting in random.Random(number).sample(list(milliseconds), len(milliseconds)):
                if setting == "server down":
                    server.kill()
                tracker = _tracker(config, base, server, setting, number)
                milliseconds[setting].append(_block(trainer, batch, tracker))
                tracker.finish("FINISHED")
                if setting == "server down":
                    server.start()
        batches.close()
    finally:
        leave_processes()
    off = statistics.median(milliseconds["off"])
    return {
        "model": "configs/pretrain/small.yaml, 32 windows of 9 frames",
        "updates_per_block": UPDATES,
        "blocks": rounds,
        "rows": [
            {
                "tracking": setting,
                "ms": round(statistics.median(values), 2),
                "steps_per_second": round(1000 / statistics.median(values), 2),
                "percent_slower": round(100 * (statistics.median(values) / off - 1), 1),
                "least_and_most_ms": [round(min(values), 2), round(max(values), 2)],
            }
            for setting, values in milliseconds.items()
        ],
    }


def _tracker(config: RunConfig, base: Path, server: Server, setting: str, number: int) -> Tracker:
    if setting == "off":
        return NullTracker()
    uri = f"sqlite:///{base / 'mlflow.db'}" if setting == "SQLite" else server.uri
    content = config.to_dict()
    content["tracking"] |= {"uri": uri}
    return start_tracker(build_config(content), base / "runs" / f"{setting}-{number}".replace(" ", "-"))


def _block(trainer: Trainer, batch: WindowBatch, tracker: Tracker) -> float:
    """Milliseconds of one update, the logging of each included."""
    repeated = iter(lambda: batch, None)
    trainer.tracker = tracker
    began = time.perf_counter()
    for _ in range(UPDATES):
        trainer.train_step(repeated)
        values = trainer.usage.look() | {f"train/value_{number}": trainer.step / 7 for number in range(12)}
        tracker.log_metrics(values, trainer.step)
    return 1000 * (time.perf_counter() - began) / UPDATES


def measure_outages(base: Path, server: Server, outages: int) -> dict[str, Any]:
    """One run through all of them."""
    rng = random.Random(0)
    config = build_config({"tracking": {"uri": server.uri, "experiment": "outages"}})
    tracker = start_tracker(config, base / "outages")
    stop = threading.Event()
    logged: list[tuple[int, float]] = []

    def log() -> None:
        while not stop.wait(0.02):
            logged.append((len(logged), rng.random()))
            tracker.log_metrics({"value": logged[-1][1]}, logged[-1][0])

    thread = threading.Thread(target=log)
    began = time.monotonic()
    thread.start()
    away = 0.0
    for _ in range(outages):
        time.sleep(rng.uniform(0.0, 8.0))
        server.kill()
        gone = time.monotonic()
        time.sleep(rng.uniform(0.0, 8.0))
        server.start()
        away += time.monotonic() - gone
    stop.set()
    thread.join()
    tracker.finish("FINISHED")
    seconds = time.monotonic() - began
    client = connect(server.uri, create=False)
    metrics = client.get_metric_history(tracker.record["run_id"], "value")
    found = [(metric.step, metric.value) for metric in metrics]
    return {
        "outages": outages,
        "seconds": round(seconds),
        "seconds_away": round(away),
        "values_logged": len(logged),
        "values_found": len(found),
        "values_missing": len(set(logged) - set(found)),
        "values_doubled": len(found) - len(set(found)),
        "status": client.get_run(tracker.record["run_id"]).info.status,
    }


_LOAD = """
import sys, time
began = time.perf_counter()
import numpy, mlflow
imported = time.perf_counter()
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/full-size@candidate")
loaded = time.perf_counter()
model.predict(numpy.zeros((1, 243, 17, 3), numpy.float32))
print(imported - began, loaded - imported, time.perf_counter() - loaded)
"""


def measure_registry(base: Path, server: Server) -> dict[str, Any]:
    """The full-size model: registered, looked up, pulled, and loaded by a new process."""
    config = build_config({})
    torch.manual_seed(0)
    weights = base / "model.safetensors"
    model = LangPose.build(config, 384, None)
    write_weights(weights, model.state_dict(), weights_header(model.header(), config, {}))
    client = connect(server.uri, create=False)
    run_id = client.create_run("0").info.run_id
    began = time.perf_counter()
    register_model(
        client,
        run_id=run_id,
        weights=weights,
        config=config,
        name="full-size",
        alias="candidate",
        evaluation=None,
        tags={},
        licence=None,
    )
    registered = time.perf_counter() - began
    lookups = []
    for _ in range(20):
        began = time.perf_counter()
        resolve(client, "full-size@candidate")
        lookups.append(time.perf_counter() - began)
    began = time.perf_counter()
    pull(client, "full-size@candidate", base / "pulled")
    pulled = time.perf_counter() - began
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, server.uri], capture_output=True, text=True, check=True
    )
    imported, loaded, lifted = map(float, done.stdout.split())
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "megabytes": round(weights.stat().st_size / 1e6, 1),
        "seconds_to_register": round(registered, 2),
        "ms_of_a_lookup": round(1000 * statistics.median(lookups), 1),
        "seconds_to_pull_and_verify": round(pulled, 2),
        "seconds_to_load": round(loaded, 2),
        "seconds_to_import_mlflow_before": round(imported, 2),
        "seconds_of_the_first_clip": round(lifted, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="blocks of each setting")
    parser.add_argument("--outages", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--database", metavar="URI", help="of the server (default: SQLite)")
    parser.add_argument("--name", default="tracking", help="file name of the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        options = ["--database", arguments.database] if arguments.database else []
        with running_server(base / "server", options) as server:
            results: dict[str, Any] = {"steps": measure_steps(base, server, arguments.rounds)}
            print(results["steps"], flush=True)
            results["registry"] = measure_registry(base, server)
            print(results["registry"], flush=True)
            results["outages"] = measure_outages(base, server, arguments.outages)
            print(results["outages"], flush=True)
            write_result(arguments.name, results, arguments)


if __name__ == "__main__":
    main()
