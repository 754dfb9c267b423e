"""Building shards on Ray: on the cores of this machine, or on the nodes of a cluster."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.clip import SharedFileError
from langpose_dist.datasets.ray_cluster import join_cluster
from langpose_dist.datasets.shard_task import ShardRecord, ShardTask, write_shard

_MAX_RETRIES = 3
"""Times that a task is started again after its process or node has died."""

_OBJECT_STORE_BYTES = 100 * 2**20
"""Tasks and records are small: the shards themselves go straight to disk."""


def run_on_ray(
    tasks: Sequence[ShardTask], on_clips: Callable[[int], Any], *, workers: int, address: str | None
) -> Iterator[ShardRecord]:
    """Do the tasks in several processes and give their records as they come.

    Args:
        tasks: Input and output folder must be seen at the same place by every node.
        on_clips: Called with the number of clips after each shard.
        workers: Tasks at a time, each with one core.
        address: Of a running cluster (``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``); ``None`` starts Ray on
            this machine for the time of the build.

    Raises:
        UserError: If the cluster cannot be joined.
        DataError: If a node does not see the files, a task's process dies again and again, or a shard cannot
            be written.
    """
    if not tasks:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    import ray
    from ray.exceptions import RayError

    started_here = not ray.is_initialized()
    if started_here:
        _start(ray, min(workers, len(tasks)), address)
    remote = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(_work)
    waiting = list(reversed(tasks))
    running: dict[Any, ShardTask] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task = waiting.pop()
                running[remote.remote(task)] = task
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                task = running.pop(reference)
                try:
                    result = ray.get(reference)
                except RayError as error:
                    raise _explain(error, task) from None
                if isinstance(result, str):
                    raise DataError(result)
                on_clips(len(task.clips))
                yield result
    finally:
        # A cluster of this build's own ends with its tasks. Cancelling them first makes Ray 2.60 abort the
        # process now and then: where a task completes at the same moment.
        is_own = started_here and address is None
        for reference in () if is_own else running:
            ray.cancel(reference, force=True)
        if started_here:
            ray.shutdown()


def _start(ray: Any, workers: int, address: str | None) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        ray.init(num_cpus=workers, object_store_memory=_OBJECT_STORE_BYTES, address="local", **quiet)
        return
    join_cluster(address)


def _work(task: ShardTask) -> ShardRecord | str:
    """Do a task in a Ray worker; a problem of the place comes back as its description."""
    node = socket.gethostname()
    if not task.folder.is_dir():
        return f"{node} does not see {task.folder}; put the output on storage that all nodes share"
    for clip in task.clips:
        # Else every clip would be skipped there as missing, and the data would depend on the node.
        if not clip.path.exists():
            return f"{node} does not see {clip.path}; put the input on storage that all nodes share"
    try:
        return write_shard(task, lambda count: None)
    except SharedFileError as error:
        return f"on {node}: {error}"
    except OSError as error:
        return f"{task.shard_path} cannot be written on {node}: {error.strerror or error}"


def _explain(error: Exception, task: ShardTask) -> Exception:
    from ray.exceptions import RayTaskError

    if isinstance(error, RayTaskError):
        return error.as_instanceof_cause()  # a mistake in this package: shown whole
    kind = type(error).__name__
    return DataError(
        f"{task.name}: its worker died {_MAX_RETRIES + 1} times ({kind}), often for lack of memory; "
        "take fewer --workers and run the command again, finished shards are kept"
    )
