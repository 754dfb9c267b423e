"""The Ray cluster of a sweep: start or join it, count its slots for trials, notice its loss."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import ray

from langpose_dist.config import UserError
from langpose_dist.datasets.ray_cluster import find_cluster, join_cluster
from tuning.settings import ResourcesConfig

_OBJECT_STORE_BYTES = 200 * 2**20
"""Trials exchange files; only small messages pass through Ray."""
_EPSILON = 1e-6
_HEAD_TIMEOUT_S = 15.0
"""Silence of Ray's head after which it counts as lost; Ray itself waits for a minute."""
_NODE_TIMEOUT_S = 120.0
"""How long a sweep waits for a node when those that are left have no slot."""
_CLUSTER_TIMEOUT_S = 20.0
"""The same where no node is left."""

Resources = Mapping[str, float]


def start_ray(address: str | None) -> None:
    """Join a cluster, or start Ray on this machine for as long as this process lives.

    Args:
        address: See ``join_cluster``; ``None`` for this machine alone.

    Raises:
        UserError: If there is no such cluster, or a driver cannot run where this process does.
    """
    # Relative paths mean the folder that the command was started in.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    # Where a process looks for this project's modules; a cluster's nodes must have them at the same place.
    environment = {
        "env_vars": {
            "PYTHONPATH": _python_path(),
            "RAY_CHDIR_TO_TRIAL_DIR": "0",
            "TQDM_MININTERVAL": "10",  # bars go into files
        }
    }
    if address is None:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            runtime_env=environment,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        return
    if find_cluster(address).startswith("ray://"):
        raise UserError(
            f"--ray-address {address}: a sweep's driver must run on the cluster; start it there, for example "
            "with `ray job submit`, and --ray-address auto"
        )
    join_cluster(address, runtime_env=environment)


def _python_path() -> str:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    before = os.environ.get("PYTHONPATH")
    return root if not before else f"{root}{os.pathsep}{before}"


@contextmanager
def watched_head(on_loss: Callable[[str], Any]) -> Iterator[None]:
    """End this process when Ray's head is lost: nothing in it could continue, and Ray would wait.

    Args:
        on_loss: Called with a line for a person before the end.
    """
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    is_over = threading.Event()

    def watch() -> None:
        heard = time.monotonic()
        while not is_over.wait(1.0):
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
                heard = time.monotonic()
            except OSError:
                if time.monotonic() > heard + _HEAD_TIMEOUT_S and not is_over.is_set():
                    on_loss(f"Ray's head at {host}:{port} is gone; resume with --resume")
                    end_children()
                    os._exit(1)

    threading.Thread(target=watch, name="head", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def end_children() -> None:
    """End all that this process has started: Ray's own processes and the trials below them."""
    for process in psutil.Process().children(recursive=True):
        # Those of a tracking store have last words to send, and end by themselves.
        with contextlib.suppress(psutil.Error):
            if "langpose_dist.tracking.sender" not in process.cmdline():
                process.kill()


def node_resources() -> list[Resources]:
    """CPUs and GPUs of every living node."""
    return [
        {name: node["Resources"].get(name, 0.0) for name in ("CPU", "GPU")}
        for node in ray.nodes()
        if node["Alive"]
    ]


def count_slots(nodes: Sequence[Resources], wanted: ResourcesConfig) -> int:
    """Trials that nodes hold at a time; workers of one trial may lie on several nodes.

    Args:
        nodes: From ``node_resources``.
        wanted: Resources of one trial.
    """
    return sum(_workers_on(node, wanted) for node in nodes) // wanted.workers


def check_slots(nodes: Sequence[Resources], wanted: ResourcesConfig) -> int:
    """Count slots as ``count_slots`` does.

    Raises:
        UserError: If no node has a slot for a trial, since it would wait for ever.
    """
    slots = count_slots(nodes, wanted)
    if slots:
        return slots
    each = f"{wanted.workers} x ({wanted.cpus:g} CPUs, {wanted.gpus:g} GPUs)"
    if not nodes:
        raise UserError("no node of the Ray cluster is left; start it again")
    kinds = Counter(f"{node['CPU']:g} CPUs and {node['GPU']:g} GPUs" for node in nodes)
    found = ", ".join(f"{count} x ({kind})" for kind, count in kinds.items())
    raise UserError(
        f"sweep.resources asks for {each} per trial, and the nodes have {found}; lower "
        "sweep.resources.workers, cpus or gpus"
    )


def _workers_on(node: Resources, wanted: ResourcesConfig) -> int:
    counts = [
        int(node[name] / share + _EPSILON)
        for name, share in (("CPU", wanted.cpus), ("GPU", wanted.gpus))
        if share
    ]
    if 0 < wanted.gpus < 1:  # a share lies on one GPU
        counts[-1] = int(node["GPU"] + _EPSILON) * int(1 / wanted.gpus + _EPSILON)
    return min(counts)


class SlotWatch:
    """Notices when the nodes that are left have had no slot for a trial for too long.

    Args:
        wanted: Resources of one trial.
    """

    def __init__(self, wanted: ResourcesConfig) -> None:
        self.problem: str | None = None
        """Line for a person, once there is nothing to wait for."""
        self._wanted = wanted
        self._full_since: float | None = None

    def look(self) -> None:
        """Count the slots now."""
        now = time.monotonic()
        nodes = node_resources()
        try:
            check_slots(nodes, self._wanted)
        except UserError as error:
            self._full_since = self._full_since or now
            if now > self._full_since + (_NODE_TIMEOUT_S if nodes else _CLUSTER_TIMEOUT_S):
                self.problem = f"{error}; then resume with --resume"
        else:
            self._full_since = None
