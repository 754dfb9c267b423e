"""One pod of a Kubeflow TrainJob: wait for the first pod, run torchrun, tell interrupted from failed."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from checks import StartError, choose_devices
from launchers import Node, Start, torchrun_command

_VARIABLES = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
"""Set by Kubeflow Trainer where a TrainJob has spec.trainer."""
_POLL_S = 0.2
_SAY_EVERY_S = 30.0
_STATUS_WAIT_S = 30.0
"""Longest wait for the first pod's last words: shared storage shows them late."""


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


def run_pod(start: Start, status_file: Path, environ: Mapping[str, str], wait_s: float) -> int:
    """Run torchrun until it ends; SIGTERM is passed on once.

    Args:
        start: From ``start_pod``.
        status_file: ``status.json`` of the run, where all pods see it.
        environ: Of this process.
        wait_s: Longest wait for the first pod's name.

    Returns:
        75 if the run was interrupted and can be resumed, which torchrun does not tell from a failure; else
        torchrun's own exit status.

    Raises:
        StartError: If the first pod's name does not resolve in time.
    """
    is_asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal is_asked
        is_asked = True

    signal.signal(signal.SIGTERM, ask)
    begin = time.monotonic()
    address = environ["PET_MASTER_ADDR"]
    while not resolves(address):
        waited = time.monotonic() - begin
        if is_asked:
            return 75
        if waited > wait_s:
            raise StartError(f"pod: {address} does not resolve after {waited:.0f} s; is the first pod there?")
        if waited % _SAY_EVERY_S < _POLL_S:
            print(f"start: waiting for the name {address}", file=sys.stderr, flush=True)
        time.sleep(_POLL_S)

    before = stamp(status_file)
    process = subprocess.Popen(start.command, env=start.environment(environ))
    is_told = False
    while (code := process.poll()) is None:
        if is_asked and not is_told:
            process.terminate()
            is_told = True
        time.sleep(_POLL_S)
    if is_interrupted(status_file, before, 0.0 if code == 0 else _STATUS_WAIT_S):
        return 75
    return code if code >= 0 else 128 - code


def resolves(address: str) -> bool:
    """True if the name has an address now."""
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError):
        return False
    return True


def is_interrupted(status_file: Path, before: object, wait_s: float) -> bool:
    """True if this attempt wrote that it was interrupted; waits while it still says that it runs."""
    from langpose_dist.runs.folder import RunFolder

    end = time.monotonic() + wait_s
    while True:
        status = RunFolder(status_file.parent).read_status()
        if status != "running" or time.monotonic() > end:
            return status == "interrupted" and stamp(status_file) != before
        time.sleep(_POLL_S)


def stamp(path: Path) -> tuple[int, int] | None:
    """Changes whenever the file is written; ``None`` while there is none."""
    try:
        with path.open("rb") as file:  # opening it makes a network file system look again
            found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
