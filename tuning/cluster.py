"""The Ray cluster of a sweep: start or join it, and know how many trials it holds at a time."""

import contextlib
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil
import ray
import ray._private.state as ray_state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

from langpose_dist.config import UserError
from langpose_dist.datasets.ray_cluster import find_cluster, join_cluster
from tuning.settings import ResourcesConfig

_OBJECT_STORE_BYTES = 200 * 2**20
"""Trials exchange files; only small messages pass through Ray."""
_EPSILON = 1e-6

_HEAD_SECONDS = 15.0
"""That Ray's head may be silent until it is taken for lost; Ray itself waits for a minute."""

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


def watch_head(on_loss: Callable[[str], Any]) -> Callable[[], None]:
    """End this process when Ray's head is lost: nothing in it could go on, and Ray would wait.

    Args:
        on_loss: Called with a line for a person in front of the end.

    Returns:
        What ends the watch.
    """
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    closed = threading.Event()

    def watch() -> None:
        heard = time.monotonic()
        while not closed.wait(1.0):
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
                heard = time.monotonic()
            except OSError:
                if time.monotonic() > heard + _HEAD_SECONDS and not closed.is_set():
                    on_loss(f"Ray's head at {host}:{port} is gone; go on with --resume")
                    end_children()
                    os._exit(1)

    threading.Thread(target=watch, name="head", daemon=True).start()
    return closed.set


def end_children() -> None:
    """End what this process has started, Ray's own processes and the trials below them."""
    for process in psutil.Process().children(recursive=True):
        # Those of a tracking store have last words to send, and end by themselves.
        with contextlib.suppress(psutil.Error):
            if "langpose_dist.tracking.sender" not in process.cmdline():
                process.kill()


def free_places() -> int:
    """Give back the places of workers whose trial is gone; returns how many.

    Ray keeps a placement group for as long as the job lives, when the actor that made it was killed: after
    the first trial with several workers that is stopped, the next would wait for ever.
    """
    count = 0
    table: Any = gcs_pb2
    table = table.PlacementGroupTableData
    job = ray.get_runtime_context().get_job_id()
    for content in ray_state.state._connect_and_get_accessor().get_placement_group_table():
        group = table.FromString(content)
        is_of_actor = group.creator_actor_id.strip(b"\xff") != b""
        is_ours = group.creator_job_id.hex() == job and is_of_actor
        if is_ours and group.creator_actor_dead and group.state != table.REMOVED:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
            count += 1
    return count


def node_resources() -> list[Resources]:
    """CPUs and GPUs of every living node."""
    return [
        {name: node["Resources"].get(name, 0.0) for name in ("CPU", "GPU")}
        for node in ray.nodes()
        if node["Alive"]
    ]


def count_places(nodes: Sequence[Resources], wanted: ResourcesConfig) -> int:
    """Trials that nodes hold at a time; workers of one trial may lie on several nodes.

    Args:
        nodes: From ``node_resources``.
        wanted: Of one trial.
    """
    workers = sum(_workers_on(node, wanted) for node in nodes)
    return workers // wanted.workers


def check_places(nodes: Sequence[Resources], wanted: ResourcesConfig) -> int:
    """As ``count_places``.

    Raises:
        UserError: If not even one trial finds a place, since it would wait for ever.
    """
    places = count_places(nodes, wanted)
    if places:
        return places
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


def _python_path() -> str:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    before = os.environ.get("PYTHONPATH")
    return root if not before else f"{root}{os.pathsep}{before}"
