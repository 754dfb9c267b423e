"""The ways to start a training: one process, one node, one node's part of several, all of a hostfile."""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from credentials import check_environment_files, exported_secrets
from devices import ON_CPU, choose_devices, named_devices, parse_devices, split_names, training_device
from errors import StartError
from launchers import SCRIPT, Place, deepspeed_command, pdsh_command, torchrun_command
from nodes import (
    check_address,
    check_interface,
    free_port,
    interface_variables,
    is_port_taken,
    loopback_notes,
    read_hostfile,
)


@dataclass(frozen=True)
class Start:
    """What becomes of this process."""

    command: list[str]
    assign: dict[str, str] = field(default_factory=dict)
    """Variables that are set."""
    remove: tuple[str, ...] = ()
    """Variables that are taken out."""
    notes: tuple[str, ...] = ()
    """Lines for standard error."""

    def describe(self) -> str:
        """A line that a shell can run."""
        words = [word for name in self.remove for word in ("-u", name)]
        words += [f"{name}={value}" for name, value in self.assign.items()]
        prefix = ["env", *words] if self.remove else words
        # shlex would put the whole assignment into quotes, which a shell takes for a command's name.
        shown = [re.sub(r"^'(\w+=)", r"\1'", shlex.quote(word)) for word in prefix]
        return " ".join([*shown, shlex.join(self.command)])

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of the command."""
        kept = {name: value for name, value in environ.items() if name not in self.remove}
        return kept | self.assign


def start_one(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """One process, no launcher."""
    if int(environ.get("WORLD_SIZE") or 1) > 1:
        raise StartError(
            f"one: WORLD_SIZE={environ['WORLD_SIZE']} in the environment is another launcher's; unset it, "
            "or start with each"
        )
    chosen = choose_devices(words, environ, devices=arguments.devices, num_ranks=1, option=None)
    if len(chosen.names) != 1:
        raise StartError(
            f"one: --devices {arguments.devices} are {len(chosen.names)}; name one, or start node"
        )
    return Start([sys.executable, "-u", str(SCRIPT), *words], chosen.variables)


def start_node(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """Several ranks on this node."""
    chosen = choose_devices(words, environ, devices=arguments.devices, num_ranks=arguments.num_ranks)
    place = Place(port=arguments.master_port or free_port())
    if arguments.launcher == "torchrun":
        command = torchrun_command(1, len(chosen.names), place, words)
    else:
        command = deepspeed_command({"localhost": chosen.names}, place, words)
    return Start(command, chosen.variables)


def start_each(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """This node's part of a training on several."""
    slots: dict[str, int] = {}
    if arguments.hostfile is not None:
        if arguments.launcher != "deepspeed" or arguments.nodes is not None:
            raise StartError("each: --hostfile counts the nodes for --launcher deepspeed; leave out --nodes")
        slots = read_hostfile(arguments.hostfile)
        num_nodes = len(slots)
    elif arguments.nodes is None:
        raise StartError(
            "each: give --nodes N, the number of nodes (or a --hostfile for --launcher deepspeed)"
        )
    else:
        num_nodes = arguments.nodes
    if num_nodes < 1:
        raise StartError(f"--nodes {num_nodes}: a training needs 1 node or more")
    if not 0 <= arguments.node_rank < num_nodes:
        raise StartError(
            f"--node-rank {arguments.node_rank} must be in 0..{num_nodes - 1} for {num_nodes} nodes; "
            "give every node a number of its own"
        )
    if slots:
        num_ranks = slots_of_this_node(arguments, slots)
    elif arguments.ranks_per_node is None and arguments.devices is None:
        raise StartError(
            "each: give --ranks-per-node K or --devices; every node has to start the same number"
        )
    else:
        num_ranks = arguments.ranks_per_node
    chosen = choose_devices(
        words, environ, devices=arguments.devices, num_ranks=num_ranks, option="--ranks-per-node"
    )
    check_address(arguments.master_addr)
    if arguments.interface is not None:
        check_interface(arguments.interface)
    if arguments.node_rank == 0 and not arguments.dry_run and is_port_taken(arguments.master_port):
        raise StartError(
            f"--master-port {arguments.master_port} is in use on this node; give every node another one"
        )

    place = Place(node_rank=arguments.node_rank, address=arguments.master_addr, port=arguments.master_port)
    if arguments.launcher == "torchrun":
        command = torchrun_command(num_nodes, len(chosen.names), place, words)
    else:
        counts = slots or {f"node-{rank}": len(chosen.names) for rank in range(num_nodes)}
        nodes = {host: [str(index) for index in range(count)] for host, count in counts.items()}
        nodes[list(nodes)[arguments.node_rank]] = list(chosen.names)
        command = deepspeed_command(nodes, place, words)
    is_unsaid = num_nodes > 1 and arguments.interface is None and "GLOO_SOCKET_IFNAME" not in environ
    return Start(
        command,
        chosen.variables | interface_variables(arguments.interface),
        notes=loopback_notes(arguments.master_addr) if is_unsaid else (),
    )


def slots_of_this_node(arguments: argparse.Namespace, slots: Mapping[str, int]) -> int:
    """How many ranks the hostfile has for this node.

    Raises:
        StartError: If the command line asks for another number.
    """
    host = list(slots)[arguments.node_rank]
    given = arguments.ranks_per_node if arguments.devices is None else len(parse_devices(arguments.devices))
    if given not in (None, slots[host]):
        raise StartError(
            f"{arguments.hostfile}: {host} slots={slots[host]}, but {given} ranks are asked for "
            "on it; make them equal"
        )
    return slots[host]


def start_hostfile(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """All nodes of a hostfile, from this one, over pdsh and ssh."""
    slots = read_hostfile(arguments.hostfile)
    first = next(iter(slots))
    devices = devices_of_every_node(arguments, slots, words, environ)
    address = arguments.master_addr or first
    check_address(address)
    check_remote_shell(environ)
    check_environment_files(environ)
    local = ON_CPU if training_device(words) == "cpu" else {}
    command = pdsh_command(
        arguments.hostfile,
        slots,
        words,
        address=address,
        port=arguments.master_port,
        ssh_port=arguments.ssh_port,
        devices=devices,
        variables=interface_variables(arguments.interface) | local,
    )
    held_back = exported_secrets(environ)
    notes = ()
    if held_back:
        notes = (
            f"held back from the nodes: {', '.join(held_back)} (DeepSpeed would print them and write "
            f"them on command lines); use ~/.mlflow/credentials on {first}, or start with each",
        )
    return Start(command, local, held_back, notes)


def devices_of_every_node(
    arguments: argparse.Namespace, slots: Mapping[str, int], words: Sequence[str], environ: Mapping[str, str]
) -> list[str] | None:
    """The GPUs of ``--devices`` for all nodes of a hostfile; ``None``: as many as each has slots.

    Raises:
        StartError: If a node does not have them, or the environment says otherwise.
    """
    devices = None if arguments.devices is None else named_devices(arguments.devices, words)
    inherited = environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None and training_device(words) != "cpu" and devices != split_names(inherited):
        given = "without --devices" if devices is None else f"with --devices {arguments.devices}"
        raise StartError(
            f"CUDA_VISIBLE_DEVICES={inherited} {given}: the variable does not reach the nodes of a hostfile; "
            f"unset it, or give --devices {inherited}"
        )
    for host, count in slots.items():
        if any(not name.isdigit() or int(name) >= count for name in devices or ()):
            raise StartError(
                f"--devices {arguments.devices}: {host} slots={count} has 0 to {count - 1}; "
                "correct one of them"
            )
    return devices


def check_remote_shell(environ: Mapping[str, str]) -> None:
    """See that a command can be given to other nodes from here.

    Raises:
        StartError: If a program is missing, or a path would not arrive as it is.
    """
    for program, package in (("pdsh", "pdsh"), ("ssh", "openssh-client")):
        if shutil.which(program, path=environ.get("PATH")) is None:
            raise StartError(
                f"hostfile: {program} is not installed here; apt-get install {package}, or start with each"
            )
    for what in (sys.executable, str(SCRIPT), os.getcwd()):
        if shlex.quote(what) != what:
            raise StartError(
                f"hostfile: {what!r} does not pass through the remote shell; use a path without blanks"
            )
