"""The Ray cluster of a sweep: start or join it, count its slots for trials."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence

import ray

from langpose_dist.config import UserError
from langpose_dist.datasets.ray_cluster import find_cluster, join_cluster
from tuning.settings import ResourcesConfig

_OBJECT_STORE_BYTES = 200 * 2**20
"""Trials exchange files; only small messages pass through Ray."""
_EPSILON = 1e-6

Resources = Mapping[str, float]


def start_ray(address: str | None) -> None:
    """Join a cluster, or without an address start Ray on this machine for as long as this process lives.

    Raises:
        UserError: If there is no such cluster, or a driver cannot run where this process does.
    """
    # Relative paths mean the folder that the command was started in.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    # Where a process looks for this project's modules; a cluster's nodes must have them at the same place.
    environment = {"env_vars": {"PYTHONPATH": _python_path(), "RAY_CHDIR_TO_TRIAL_DIR": "0"}}
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


def node_resources() -> list[Resources]:
    """CPUs and GPUs of every living node."""
    return [
        {name: node["Resources"].get(name, 0.0) for name in ("CPU", "GPU")}
        for node in ray.nodes()
        if node["Alive"]
    ]


def check_slots(nodes: Sequence[Resources], wanted: ResourcesConfig) -> int:
    """Count the trials that nodes hold at a time; workers of one trial may lie on several nodes.

    Raises:
        UserError: If no node has a slot for a trial, since it would wait for ever.
    """
    slots = sum(_workers_on(node, wanted) for node in nodes) // wanted.workers
    if slots:
        return slots
    each = f"{wanted.workers} x ({wanted.cpus:g} CPUs, {wanted.gpus:g} GPUs)"
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
