"""The exact commands of the launchers: torchrun, DeepSpeed's on one node, DeepSpeed's over pdsh."""

import base64
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).resolve().with_name("train.py")
SHUTDOWN_SECONDS = 60
"""What torchrun leaves the ranks to save; the training itself needs less."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which node this is, and where the ranks of all nodes meet."""

    node_rank: int = 0
    address: str = "127.0.0.1"
    """Of the first node."""
    port: int
    """On the first node."""


def deepspeed_command(nodes: Mapping[str, Sequence[str]], place: Place, words: Sequence[str]) -> list[str]:
    """DeepSpeed's launcher on one node.

    The ``deepspeed`` command starts this one and waits; a signal ends it and leaves the ranks without one,
    and as a container's first process it does not even notice. So it is left out.

    Args:
        nodes: Devices of every node, in the order of their ranks.
        place: Of this node.
        words: For the training.
    """
    # With JSON's numbers, as the deepspeed command writes them.
    world = {host: [int(name) if name.isdigit() else name for name in names] for host, names in nodes.items()}
    encoded = base64.urlsafe_b64encode(json.dumps(world).encode()).decode()
    return [
        *(sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={encoded}"),
        *(f"--node_rank={place.node_rank}", f"--master_addr={place.address}", f"--master_port={place.port}"),
        *(str(SCRIPT), *words),
    ]


def pdsh_command(
    hostfile: Path,
    slots: Mapping[str, int],
    words: Sequence[str],
    *,
    address: str,
    port: int,
    ssh_port: int | None = None,
    devices: Sequence[str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """DeepSpeed's runner, which starts its launcher on all nodes of a hostfile.

    Args:
        hostfile: The file.
        slots: What it says.
        words: For the training.
        address: Of the first node.
        port: On the first node.
        ssh_port: Default: as ssh is configured.
        devices: Of every node; default: its slots.
        variables: That the ranks are given besides those that travel by themselves.
    """
    options = [
        f"--hostfile={hostfile}",
        "--launcher=pdsh",
        f"--master_addr={address}",
        f"--master_port={port}",
    ]
    if ssh_port is not None:
        options.append(f"--ssh_port={ssh_port}")
    if devices is not None:
        options.append("--include=" + "@".join(f"{host}:{','.join(devices)}" for host in slots))
    if len(slots) == 1:
        options.append("--force_multi")  # else it would start here, whatever the host's name
    if variables:
        # Few variables pass through pdsh, so the ranks are given these by env.
        options += ["--no_python", "--no_local_rank", "env"]
        options += [f"{name}={value}" for name, value in variables.items()]
        options += [sys.executable, "-u"]
    runner = [sys.executable, "-u", "-m", "deepspeed.launcher.runner"]
    return [*runner, *options, str(SCRIPT), *map(quote_for_pdsh, words)]


def quote_for_pdsh(word: str) -> str:
    """A word that comes out of DeepSpeed's runner, pdsh and the remote shell as it went in."""
    word = word.replace("%", "%%")  # pdsh fills in %h and the like
    if " " in word:
        # The runner puts it into double quotes and takes care of those inside.
        return re.sub(r"([\\$`])", r"\\\1", word)
    return shlex.quote(word)


def torchrun_command(num_nodes: int, num_ranks: int, place: Place, words: Sequence[str]) -> list[str]:
    """Torchrun on one node, with a fixed number of nodes and without restarts.

    Args:
        num_nodes: Of the whole training.
        num_ranks: Of this node.
        place: Of this node.
        words: For the training.
    """
    known = torchrun_source()
    options = [f"--nnodes={num_nodes}", f"--nproc-per-node={num_ranks}", f"--node-rank={place.node_rank}"]
    options += [f"--master-addr={place.address}", f"--master-port={place.port}", "--max-restarts=0"]
    if "--signals-to-handle" in known:
        options.append("--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
    if "--shutdown-timeout" in known:
        options.append(f"--shutdown-timeout={SHUTDOWN_SECONDS}")
    return [sys.executable, "-u", "-m", "torch.distributed.run", *options, str(SCRIPT), *words]


def torchrun_source() -> str:
    """Its text, to know its options without importing torch; empty where there is none."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return ""
    try:
        return Path(torch.origin).with_name("distributed").joinpath("run.py").read_text(encoding="utf-8")
    except OSError:
        return ""
