"""Nodes on one machine: Linux network namespaces with an address and a host name each, joined by a cable."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from langpose_dist.runs.metrics import read_metrics

ROOT = Path(__file__).parents[2]
INTERFACE = "link0"
"""Of every node, towards the other."""

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""With the folder of ip, which a user's often lacks."""
_AS_NODE = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
_numbers = itertools.count(1)


def why_not() -> str:
    """What keeps this machine from having nodes of its own; empty if nothing does."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"langpose-{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
        try:
            cable = ("type", "veth", "peer", "name", "other0", "netns", probe)
            _ip("link", "add", INTERFACE, "netns", probe, *cable)
            _ip(*_on_node(probe, "probe", Path("/etc/hosts")), "true")
        finally:
            _ip("netns", "del", probe)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed (it comes with iproute2)"
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    return ""


@dataclass(frozen=True)
class Started:
    """A command on a node, with a file that holds what it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """Standard output and standard error so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Node:
    """One machine of a cluster: an address, a host name, and a file system that all nodes share.

    Args:
        name: Host name; in ``/etc/hosts`` it stands for the loopback, as on many machines.
        namespace: Of the network; exists.
        address: IPv4.
        folder: For logs, and the node's ``/etc/hosts``.
    """

    def __init__(self, name: str, namespace: str, address: str, folder: Path) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        self.folder = folder
        self._hosts = folder / f"{name}.hosts"
        self._hosts.write_text(f"127.0.0.1 localhost {name}\n", encoding="utf-8")
        self._started: list[Started] = []

    def start(self, command: Sequence[str]) -> Started:
        """Run a command on this node."""
        log = self.folder / f"{self.name}-{len(self._started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["ip", *_on_node(self.namespace, self.name, self._hosts), *command],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": _PATH},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = Started(process, log)
        self._started.append(started)
        return started

    def pids(self) -> list[int]:
        """All processes of this node."""
        return [int(word) for word in _ip("netns", "pids", self.namespace).split()]

    def end(self) -> None:
        """End whatever runs here."""
        deadline = time.monotonic() + 20
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        for started in self._started:
            started.process.wait(10)


@dataclass(frozen=True)
class Pair:
    """Two nodes and the cable between them."""

    nodes: tuple[Node, Node]

    def cut(self) -> None:
        """Pull the cable: no connection hears of it, what is sent is just lost."""
        self._set("down")

    def mend(self) -> None:
        """Put the cable back."""
        self._set("up")

    def _set(self, state: str) -> None:
        for node in self.nodes:
            _ip("-n", node.namespace, "link", "set", INTERFACE, state)


@contextmanager
def join_two_nodes(folder: Path) -> Iterator[Pair]:
    """Two nodes for as long as the context lasts; whatever runs on them then ends.

    Args:
        folder: For the logs of both.
    """
    number = next(_numbers)
    with ExitStack() as stack:

        def add(side: int) -> Node:
            namespace = f"langpose-{os.getpid()}-{number}-{side}"
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "del", namespace)  # takes its end of the cable along
            node = Node(f"node-{side}", namespace, f"10.213.{number % 256}.{side + 1}", folder)
            stack.callback(node.end)
            return node

        pair = Pair((add(0), add(1)))
        ends = [("netns", node.namespace, "type", "veth") for node in pair.nodes]
        _ip("link", "add", INTERFACE, *ends[0], "peer", "name", INTERFACE, *ends[1][:2])
        for node in pair.nodes:
            _ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", INTERFACE)
            _ip("-n", node.namespace, "link", "set", "lo", "up")
        pair.mend()
        yield pair


def said(started: list[Started]) -> str:
    """The end of what each node printed, for a test's failure."""
    return "\n".join(f"== {each.log.stem}\n{each.output[-3000:]}" for each in started)


def numbers(run: Path) -> list[dict[str, float | int]]:
    """Every metric of every step but the speed."""
    return [{**line, "train/clips_per_second": 0} for line in read_metrics(run / "metrics.jsonl")]


def _on_node(namespace: str, name: str, hosts: Path) -> list[str]:
    """Words for ``ip`` in front of a command: a network, a host name and mounts of its own."""
    return ["netns", "exec", namespace, "unshare", "--uts", "sh", "-c", _AS_NODE, "sh", name, str(hosts)]


def _ip(*arguments: str) -> str:
    done = subprocess.run(
        ["ip", *arguments],
        env=os.environ | {"PATH": _PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout
