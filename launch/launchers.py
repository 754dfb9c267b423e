"""The exact commands: one process, the ranks of a node, a node's part of several, all nodes of a hostfile."""

import argparse
import base64
import importlib.util
import json
import re
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from checks import (
    ON_CPU,
    StartError,
    check_address,
    check_environment_files,
    choose_devices,
    exported_secrets,
    parse_devices,
    read_hosts,
    split_names,
    training_device,
)

SCRIPT = Path(__file__).resolve().with_name("train.py")
_SHUTDOWN_TIMEOUT_S = 60
"""Time that torchrun leaves the ranks to save; the training itself needs less."""


@dataclass(frozen=True)
class Start:
    """A command that replaces this process."""

    command: list[str]
    assign: dict[str, str] = field(default_factory=dict)
    """Variables to set."""
    remove: tuple[str, ...] = ()
    """Variables to take out."""
    notes: tuple[str, ...] = ()
    """Lines for standard error."""

    def describe(self) -> str:
        """Format it as a line that a shell can run."""
        words = [word for name in self.remove for word in ("-u", name)]
        words += [f"{name}={value}" for name, value in self.assign.items()]
        prefix = ["env", *words] if self.remove else words
        # shlex would put the whole assignment into quotes, which a shell takes for a command's name.
        shown = [re.sub(r"^'(\w+=)", r"\1'", shlex.quote(word)) for word in prefix]
        return " ".join([*shown, shlex.join(self.command)])

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Build the environment of the command."""
        kept = {name: value for name, value in environ.items() if name not in self.remove}
        return kept | self.assign


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a training, and where its ranks meet those of the others."""

    rank: int = 0
    num_nodes: int = 1
    address: str = "127.0.0.1"
    """Address of the first node."""
    port: int
    """On the first node."""


# Modes


def start_one(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """One process, no launcher."""
    if environ.get("WORLD_SIZE", "") not in ("", "1"):
        raise StartError(
            f"one: WORLD_SIZE={environ['WORLD_SIZE']} in the environment is another launcher's; unset it, "
            "or start with each"
        )
    chosen = choose_devices(words, environ, devices=arguments.devices, num_ranks=1, option=None)
    if len(chosen.names) != 1:
        raise StartError(f"one: --devices {arguments.devices} names several; name one, or start node")
    return Start([sys.executable, "-u", str(SCRIPT), *words], chosen.variables)


def start_node(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """Several ranks on this node."""
    chosen = choose_devices(
        words, environ, devices=arguments.devices, num_ranks=arguments.num_ranks, option="--num-ranks"
    )
    command = _LAUNCHERS[arguments.launcher]
    node = Node(port=arguments.master_port or free_port())
    return Start(command(node, chosen.names, words), chosen.variables)


def start_each(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """This node's part of a training on several."""
    if not 0 <= arguments.node_rank < arguments.nodes:
        raise StartError(
            f"--node-rank {arguments.node_rank} must be in 0..{arguments.nodes - 1} for {arguments.nodes} "
            "nodes; give every node a number of its own"
        )
    chosen = choose_devices(
        words,
        environ,
        devices=arguments.devices,
        num_ranks=arguments.ranks_per_node,
        option="--ranks-per-node",
    )
    check_address(arguments.master_addr)
    node = Node(
        rank=arguments.node_rank,
        num_nodes=arguments.nodes,
        address=arguments.master_addr,
        port=arguments.master_port,
    )
    command = _LAUNCHERS[arguments.launcher](node, chosen.names, words)
    return Start(command, chosen.variables | interface_variables(arguments.interface))


def start_hostfile(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """All nodes of a hostfile, from this one, over pdsh and ssh."""
    hosts = read_hosts(arguments.hostfile)
    address = arguments.master_addr or hosts[0]
    check_address(address)
    check_environment_files(environ)
    devices = devices_of_every_node(arguments.devices, words, environ)
    on_cpu = ON_CPU if training_device(words) == "cpu" else {}
    options = [f"--hostfile={arguments.hostfile}", "--launcher=pdsh"]
    options += [f"--master_addr={address}", f"--master_port={arguments.master_port}"]
    if arguments.ssh_port is not None:
        options.append(f"--ssh_port={arguments.ssh_port}")
    if devices is not None:
        options.append("--include=" + "@".join(f"{host}:{','.join(devices)}" for host in hosts))
    if len(hosts) == 1:
        options.append("--force_multi")  # else it would start here, whatever the host's name
    if variables := interface_variables(arguments.interface) | on_cpu:
        # Few variables pass through pdsh, so env gives them to the ranks.
        options += ["--no_python", "--no_local_rank", "env"]
        options += [f"{name}={value}" for name, value in variables.items()]
        options += [sys.executable, "-u"]
    command = [sys.executable, "-u", "-m", "deepspeed.launcher.runner", *options]
    command += [str(SCRIPT), *map(quote_for_pdsh, words)]
    held_back = exported_secrets(environ)
    note = (
        f"held back from the nodes: {', '.join(held_back)} (DeepSpeed would print them and write "
        f"them on command lines); use ~/.mlflow/credentials on {hosts[0]}, or start with each"
    )
    return Start(command, on_cpu, held_back, (note,) if held_back else ())


# Launchers


def deepspeed_command(node: Node, devices: Sequence[str], words: Sequence[str]) -> list[str]:
    """Build the command of DeepSpeed's launcher on one node.

    The ``deepspeed`` command starts this one and waits; a signal ends it and leaves the ranks without one,
    and as a container's first process it does not even notice. So it is left out.

    Args:
        node: This one.
        devices: Of this node, one for each rank; every node has as many.
        words: For the training.
    """
    # As the deepspeed command writes it: device indices are numbers, those of other nodes only counted.
    own = [int(name) if name.isdigit() else name for name in devices]
    world = {
        f"node-{rank}": own if rank == node.rank else [*range(len(own))] for rank in range(node.num_nodes)
    }
    encoded = base64.urlsafe_b64encode(json.dumps(world).encode()).decode()
    return [
        *(sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={encoded}"),
        *(f"--node_rank={node.rank}", f"--master_addr={node.address}", f"--master_port={node.port}"),
        *(str(SCRIPT), *words),
    ]


def torchrun_command(node: Node, devices: Sequence[str], words: Sequence[str]) -> list[str]:
    """Build the command of torchrun on one node, without restarts; arguments as above."""
    options = [f"--nnodes={node.num_nodes}", f"--nproc-per-node={len(devices)}", f"--node-rank={node.rank}"]
    options += [f"--master-addr={node.address}", f"--master-port={node.port}", "--max-restarts=0"]
    known = torchrun_source()
    if "--signals-to-handle" in known:
        options.append("--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
    if "--shutdown-timeout" in known:
        options.append(f"--shutdown-timeout={_SHUTDOWN_TIMEOUT_S}")
    return [sys.executable, "-u", "-m", "torch.distributed.run", *options, str(SCRIPT), *words]


_LAUNCHERS = {"deepspeed": deepspeed_command, "torchrun": torchrun_command}


def torchrun_source() -> str:
    """Read torchrun's source, to know its options without importing torch; empty if there is none."""
    torch = importlib.util.find_spec("torch")
    source = Path(torch.origin).parent / "distributed/run.py" if torch and torch.origin else None
    return source.read_text(encoding="utf-8") if source and source.is_file() else ""


def interface_variables(name: str | None) -> dict[str, str]:
    """Variables that make the ranks talk over one network interface."""
    return {} if name is None else {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}


def free_port() -> int:
    """Find a port of this node's loopback interface that nobody uses now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def devices_of_every_node(
    devices: str | None, words: Sequence[str], environ: Mapping[str, str]
) -> list[str] | None:
    """Parse the ``--devices`` of all nodes of a hostfile; ``None``: as many as each has slots.

    Raises:
        StartError: If the environment says otherwise.
    """
    names = None if devices is None else parse_devices(devices, words)
    inherited = environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None and training_device(words) != "cpu" and names != split_names(inherited):
        given = "without --devices" if devices is None else f"with --devices {devices}"
        raise StartError(
            f"CUDA_VISIBLE_DEVICES={inherited} {given}: the variable does not reach the nodes of a hostfile; "
            f"unset it, or give --devices {inherited}"
        )
    return names


def quote_for_pdsh(word: str) -> str:
    """Quote a word so that DeepSpeed's runner, pdsh and the remote shell pass it on unchanged."""
    word = word.replace("%", "%%")  # pdsh fills in %h and the like
    if " " in word:
        # The runner puts it into double quotes and takes care of those inside.
        return re.sub(r"([\\$`])", r"\\\1", word)
    return shlex.quote(word)
