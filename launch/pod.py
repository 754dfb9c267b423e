"""One pod of a Kubeflow TrainJob: wait for the first pod, run torchrun, tell interrupted from failed."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from checks import StartError, choose_devices, resolves
from launchers import Node, Start, torchrun_command

_VARIABLES = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
"""Set by Kubeflow Trainer where a TrainJob has spec.trainer."""
_POLL_S = 0.2
_SAY_EVERY_S = 30.0
_STATUS_WAIT_S = 30.0
"""Longest wait for the status of the run's end: shared storage shows it late."""


def read_node(environ: Mapping[str, str]) -> tuple[Node, int]:
    """This pod's place and number of ranks, as Trainer gives them.

    Raises:
        StartError: If a variable is missing or not a number.
    """
    if missing := [name for name in _VARIABLES if not environ.get(name)]:
        raise StartError(
            f"pod: {', '.join(missing)} not set; Kubeflow Trainer sets them if the TrainJob has spec.trainer"
        )
    numbers = {}
    for name in _VARIABLES:
        if name != "PET_MASTER_ADDR":
            if not environ[name].isdecimal():
                remedy = "; set numProcPerNode in the TrainJob" if name == "PET_NPROC_PER_NODE" else ""
                raise StartError(f"pod: {name}={environ[name]} is not a number{remedy}")
            numbers[name] = int(environ[name])
    node = Node(
        rank=numbers["PET_NODE_RANK"],
        num_nodes=numbers["PET_NNODES"],
        address=environ["PET_MASTER_ADDR"],
        port=numbers["PET_MASTER_PORT"],
    )
    return node, numbers["PET_NPROC_PER_NODE"]


def start_pod(_: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """Torchrun with this pod's ranks."""
    node, num_ranks = read_node(environ)
    chosen = choose_devices(words, environ, devices=None, num_ranks=num_ranks, option="numProcPerNode")
    return Start(torchrun_command(node, chosen.names, words), chosen.variables)


class Eviction:
    """Listens for SIGTERM, by which Kubernetes asks a pod to end."""

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        self.is_asked = True


def run_pod(
    start: Start, status_file: Path, environ: Mapping[str, str], eviction: Eviction, wait_s: float
) -> int:
    """Run torchrun until it ends; SIGTERM is passed on once.

    Args:
        start: From ``start_pod``.
        status_file: ``status.json`` of the run, where all pods see it.
        environ: Of this process.
        eviction: Listens since this process began.
        wait_s: Longest wait for the first pod's name.

    Returns:
        75 if the run was interrupted, or this pod was evicted before the run could say how it ended; torchrun
        does not tell these from a failure. Else torchrun's own exit status.

    Raises:
        StartError: If the first pod's name does not resolve in time.
    """
    from langpose_dist.host.console import EXIT_INTERRUPTED

    if not wait_for_name(environ["PET_MASTER_ADDR"], eviction, wait_s):
        return EXIT_INTERRUPTED
    before = stamp(status_file)
    process = subprocess.Popen(start.command, env=start.environment(environ))
    is_told = False
    while (code := process.poll()) is None:
        if eviction.is_asked and not is_told:
            process.terminate()
            is_told = True
        time.sleep(_POLL_S)
    if code == 0:
        return 0
    status = read_status(status_file, before, _STATUS_WAIT_S)
    if status == "interrupted" or (is_told and status != "failed"):
        return EXIT_INTERRUPTED
    return code if code > 0 else 128 - code


def wait_for_name(address: str, eviction: Eviction, wait_s: float) -> bool:
    """Wait until a name has an address; false if the pod is evicted before.

    Raises:
        StartError: If it has none in time.
    """
    begin = said = time.monotonic()
    while not eviction.is_asked:
        if resolves(address):
            return True
        now = time.monotonic()
        if now - begin > wait_s:
            raise StartError(f"pod: {address} does not resolve after {wait_s} s; is the first pod there?")
        if now >= said:
            print(f"start: waiting for the name {address}", file=sys.stderr, flush=True)
            said = now + _SAY_EVERY_S
        time.sleep(_POLL_S)
    return False


def read_status(status_file: Path, before: object, wait_s: float) -> str | None:
    """Status of this attempt, waited for while it is ``running``; ``None`` if the attempt wrote none."""
    from langpose_dist.runs.folder import RunFolder

    end = time.monotonic() + wait_s
    while True:
        status = RunFolder(status_file.parent).read_status()
        if status != "running" or time.monotonic() > end:
            return status if stamp(status_file) != before else None
        time.sleep(_POLL_S)


def stamp(path: Path) -> tuple[int, int] | None:
    """Changes whenever the file is written; ``None`` while there is none."""
    try:
        with path.open("rb") as file:  # opening it makes a network file system look again
            found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
