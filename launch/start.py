"""Starts a training: one device, one node, several nodes. Prints or becomes the launcher's exact command.

python launch/start.py node --num-ranks 2 -- --config configs/pretrain/small.yaml data.path=data/shards
"""

import argparse
import base64
import errno
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

SCRIPT = Path(__file__).resolve().with_name("train.py")
DEFAULT_PORT = 29500
SHUTDOWN_SECONDS = 60
"""What torchrun leaves the ranks to save; the training itself needs less."""

_EXPORTED = ("MLFLOW", "NCCL", "PYTHON", "MV2", "UCX")
"""Beginnings of the variables that DeepSpeed's runner writes on pdsh's command line."""
_CREDENTIALS = (
    "give MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, or ~/.mlflow/credentials"
)
_FORWARDED = (
    "What follows -- goes to launch/train.py unchanged:\n"
    "--config FILE, --resume, --resume-if-started, key=value."
)
_DEVICE = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


class StartError(Exception):
    """A user's mistake: value, limit and remedy in one line."""


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


@dataclass(frozen=True)
class Devices:
    """What the ranks of a node run on."""

    names: tuple[str, ...]
    """Of GPUs, as in CUDA_VISIBLE_DEVICES; for the processor only their number counts."""
    on_cpu: bool

    @property
    def assign(self) -> dict[str, str]:
        """Variables that say so."""
        if self.on_cpu:
            return {"DS_ACCELERATOR": "cpu"}
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.names)}


# Devices


def choose_devices(
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    devices: str | None = None,
    num_ranks: int | None = None,
    option: str | None = "--num-ranks",
) -> Devices:
    """The devices of this node's ranks.

    Args:
        words: For the training; ``train.device=...`` among them counts.
        environ: ``CUDA_VISIBLE_DEVICES`` in it must agree.
        devices: Value of ``--devices``.
        num_ranks: Number of ranks; default: one for each device.
        option: The option that gives ``num_ranks``, for messages; ``None`` if there is none.

    Raises:
        StartError: If devices, number and environment contradict each other, or there is no device.
    """
    kind = training_device(words)
    chosen = None if devices is None else parse_devices(devices)
    if num_ranks is not None and num_ranks < 1:
        raise StartError(f"{option} {num_ranks}: a training needs 1 rank or more")
    if chosen is not None and kind == "cpu":
        instead = f"give {option} {len(chosen)} instead" if option else "leave it out"
        raise StartError(f"--devices {devices}: train.device=cpu uses no GPU; {instead}")
    inherited = environ.get("CUDA_VISIBLE_DEVICES")
    visible = None if inherited is None else [name.strip() for name in inherited.split(",") if name.strip()]
    hidden = visible is not None and (not visible or visible[0] == "-1")
    if chosen is not None:
        if visible is not None and visible != chosen:
            raise StartError(
                f"--devices {devices} and CUDA_VISIBLE_DEVICES={inherited} disagree; "
                "unset CUDA_VISIBLE_DEVICES, or leave out --devices"
            )
        found = count_gpus() if visible is None else 0
        beyond = [name for name in chosen if found and name.isdigit() and int(name) >= found]
        if beyond:
            raise StartError(f"--devices {devices}: this node has {found} GPUs, 0 to {found - 1}")
        return Devices(tuple(chosen), on_cpu=False)
    if kind == "cuda" and hidden:
        raise StartError(
            f"train.device=cuda, but CUDA_VISIBLE_DEVICES={inherited} hides every GPU; unset it, "
            "or set train.device=cpu"
        )
    # With "auto" the training takes the processor where it sees no GPU.
    names = [] if kind == "cpu" or hidden else visible or [str(index) for index in range(count_gpus())]
    if not names:
        if kind == "cuda":
            raise StartError("train.device=cuda, but nvidia-smi lists no GPU here; name them with --devices")
        if num_ranks is None:
            raise StartError(f"no GPU to train on; give {option} N to train on the processor with N ranks")
        return Devices(tuple(map(str, range(num_ranks))), on_cpu=True)
    if num_ranks is not None and num_ranks > len(names):
        where = f"CUDA_VISIBLE_DEVICES={inherited} has" if visible else "this node has GPUs:"
        raise StartError(
            f"{option} {num_ranks}: {where} {len(names)}; start fewer ranks, "
            f"{'unset CUDA_VISIBLE_DEVICES' if visible else 'or set train.device=cpu'}"
        )
    return Devices(tuple(names[:num_ranks]), on_cpu=False)


def training_device(words: Sequence[str]) -> str:
    """``auto``, ``cpu`` or ``cuda``: the last ``train.device=...`` among the training's words."""
    values = [word.partition("=")[2] for word in words if word.startswith("train.device=")]
    return values[-1] if values else "auto"


def parse_devices(text: str) -> list[str]:
    """``0,2`` as a list.

    Raises:
        StartError: If it is no list of indices or UUIDs, or names one twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(_DEVICE.fullmatch(name) for name in names):
        raise StartError(f"--devices {text!r} is not a list of GPUs; write indices or UUIDs, such as 0,1")
    if len(set(names)) < len(names):
        raise StartError(f"--devices {text} names a GPU twice; each rank has one of its own")
    return names


def count_gpus() -> int:
    """NVIDIA GPUs of this node, as nvidia-smi lists them."""
    try:
        listed = subprocess.run(
            ("nvidia-smi", "-L"), capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


# Secrets


def refuse_secrets(words: Sequence[str]) -> None:
    """See that nothing secret goes on a command line, where every user of a machine can read it.

    Raises:
        StartError: If a word holds credentials; they are not repeated.
    """
    from langpose_dist.environment import redact, redact_values

    for word in words:
        name, has_value, value = word.partition("=")
        hides = has_value and redact_values({name: value}) != {name: value}
        if redact(word) != word or hides:
            what = f"the value of {redact(name)}" if has_value else "a word after --"
            raise StartError(f"{what} holds credentials, and command lines are public; {_CREDENTIALS}")


def secret_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that DeepSpeed would write on pdsh's command line and that look like a secret."""
    from langpose_dist.environment import redact_values

    exported = {name: value for name, value in environ.items() if name.startswith(_EXPORTED)}
    return tuple(sorted(name for name, value in redact_values(exported).items() if value != exported[name]))


def check_environment_files(environ: Mapping[str, str]) -> None:
    """See that the files whose lines DeepSpeed writes on pdsh's command line hold nothing secret.

    Raises:
        StartError: If one does, or has a line that DeepSpeed cannot read.
    """
    from langpose_dist.environment import redact_values

    name = environ.get("DS_ENV_FILE", ".deepspeed_env")
    for path in dict.fromkeys((Path("~").expanduser() / name, Path(name))):
        if not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            key, separator, value = line.partition("=")
            if not separator:
                raise StartError(
                    f"{path}:{number} is not NAME=VALUE, and DeepSpeed reads it; correct the line"
                )
            if redact_values({key.strip(): value}) != {key.strip(): value}:
                raise StartError(
                    f"{path}:{number}: {key.strip()} looks like a secret, and DeepSpeed writes it on the "
                    "nodes' command lines; remove the line, and use ~/.mlflow/credentials on the first node"
                )


# Nodes and ports


def read_hostfile(path: Path) -> dict[str, int]:
    """Ranks of each node.

    Raises:
        StartError: If the file does not exist or a line is not ``HOST slots=N``.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise StartError(
            f"{path} cannot be read ({reason}); write one like launch/hostfile.example"
        ) from None
    slots: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w.-]+)\s+slots=(\d+)(\s+#.*)?", line)
        if match is None or int(match[2]) == 0:
            raise StartError(
                f"{path}:{number}: {line!r} must be HOST slots=N, with N from 1; correct the line"
            )
        if match[1] in slots:
            raise StartError(f"{path}:{number}: {match[1]} is there already; give each host one line")
        slots[match[1]] = int(match[2])
    if not slots:
        raise StartError(f"{path} names no host; write lines such as node-0 slots=4")
    return slots


def check_host(option: str, host: str) -> None:
    """See that a name can be resolved.

    Raises:
        StartError: If it cannot.
    """
    try:
        socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        raise StartError(
            f"{option} {host}: this node does not know that host; give its IP address, or correct the name"
        ) from None


def free_port() -> int:
    """A port of this node's loopback interface that nobody uses now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def is_port_taken(port: int) -> bool:
    """Whether another process of this node listens there."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def interface_variables(name: str | None) -> dict[str, str]:
    """Variables that make the ranks talk over one network interface."""
    return {} if name is None else {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name}


# Commands


def deepspeed_command(
    nodes: Mapping[str, Sequence[str]], words: Sequence[str], *, node_rank: int, address: str, port: int
) -> list[str]:
    """DeepSpeed's launcher on one node.

    The ``deepspeed`` command starts this one and waits; a signal ends it and leaves the ranks without one,
    and as a container's first process it does not even notice. So it is left out.

    Args:
        nodes: Devices of every node, in the order of their ranks.
        words: For the training.
        node_rank: This node.
        address: Of the first node.
        port: On the first node.
    """
    # With JSON's numbers, as the deepspeed command writes them.
    world = {host: [int(name) if name.isdigit() else name for name in names] for host, names in nodes.items()}
    encoded = base64.urlsafe_b64encode(json.dumps(world).encode()).decode()
    return [
        *(sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={encoded}"),
        *(f"--node_rank={node_rank}", f"--master_addr={address}", f"--master_port={port}"),
        *(str(SCRIPT), *words),
    ]


def torchrun_command(
    words: Sequence[str], *, num_nodes: int, num_ranks: int, node_rank: int, address: str, port: int
) -> list[str]:
    """Torchrun on one node, with a fixed number of nodes and without restarts."""
    known = torchrun_source()
    options = [f"--nnodes={num_nodes}", f"--nproc-per-node={num_ranks}", f"--node-rank={node_rank}"]
    options += [f"--master-addr={address}", f"--master-port={port}", "--max-restarts=0"]
    if "--signals-to-handle" in known:
        options.append("--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
    if "--shutdown-timeout" in known:
        options.append(f"--shutdown-timeout={SHUTDOWN_SECONDS}")
    return [sys.executable, "-u", "-m", "torch.distributed.run", *options, str(SCRIPT), *words]


def torchrun_source() -> str:
    """Its text, to know its options without importing torch."""
    for folder in (find_package("torch") or ("",))[:1]:
        try:
            return (Path(folder) / "distributed/run.py").read_text(encoding="utf-8")
        except OSError:
            break
    return ""


def find_package(name: str) -> list[str] | None:
    """Folders of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    return list(spec.submodule_search_locations or ()) if spec is not None else None


def start_one(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """One process, no launcher."""
    if int(environ.get("WORLD_SIZE") or 1) > 1:
        raise StartError(
            f"one: WORLD_SIZE={environ['WORLD_SIZE']} in the environment is another launcher's; unset it, "
            "or start with each"
        )
    num_ranks = None if arguments.devices else 1
    chosen = choose_devices(words, environ, devices=arguments.devices, num_ranks=num_ranks, option=None)
    if len(chosen.names) != 1:
        raise StartError(
            f"one: --devices {arguments.devices} are {len(chosen.names)}; name one, or start node"
        )
    return Start([sys.executable, "-u", str(SCRIPT), *words], chosen.assign)


def start_node(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """Several ranks on this node."""
    chosen = choose_devices(words, environ, devices=arguments.devices, num_ranks=arguments.num_ranks)
    port = free_port() if arguments.master_port is None else arguments.master_port
    where = {"node_rank": 0, "address": "127.0.0.1", "port": port}
    if arguments.launcher == "torchrun":
        command = torchrun_command(words, num_nodes=1, num_ranks=len(chosen.names), **where)
    else:
        command = deepspeed_command({"localhost": chosen.names}, words, **where)
    return Start(command, chosen.assign)


def start_each(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """This node's part of a training on several."""
    slots: dict[str, int] = {}
    if arguments.hostfile is not None:
        if arguments.launcher != "deepspeed" or arguments.nodes is not None:
            raise StartError("each: --hostfile counts the nodes for --launcher deepspeed; leave out --nodes")
        slots = read_hostfile(arguments.hostfile)
    elif arguments.nodes is None:
        raise StartError(
            "each: give --nodes N, the number of nodes (or a --hostfile for --launcher deepspeed)"
        )
    num_nodes: int = arguments.nodes if arguments.nodes is not None else len(slots)
    if num_nodes < 1:
        raise StartError(f"--nodes {num_nodes}: a training needs 1 node or more")
    if not 0 <= arguments.node_rank < num_nodes:
        raise StartError(
            f"--node-rank {arguments.node_rank} must be in 0..{num_nodes - 1} for {num_nodes} nodes; "
            "give every node a number of its own"
        )
    num_ranks = arguments.ranks_per_node
    if slots:
        host = list(slots)[arguments.node_rank]
        expected = slots[host]
        given = num_ranks if arguments.devices is None else len(parse_devices(arguments.devices))
        if given not in (None, expected):
            raise StartError(
                f"{arguments.hostfile}: {host} slots={expected}, but {given} ranks are asked for "
                "on it; make them equal"
            )
        num_ranks = None if arguments.devices else expected
    elif num_ranks is None and arguments.devices is None:
        raise StartError(
            "each: give --ranks-per-node K or --devices; every node has to start the same number"
        )
    chosen = choose_devices(
        words, environ, devices=arguments.devices, num_ranks=num_ranks, option="--ranks-per-node"
    )
    check_host("--master-addr", arguments.master_addr)
    if arguments.interface is not None:
        known = sorted(name for _, name in socket.if_nameindex())
        if arguments.interface not in known:
            raise StartError(f"--interface {arguments.interface}: this node has {', '.join(known)}")
    if arguments.node_rank == 0 and not arguments.dry_run and is_port_taken(arguments.master_port):
        raise StartError(
            f"--master-port {arguments.master_port} is in use on this node; give every node another one"
        )

    where = {
        "node_rank": arguments.node_rank,
        "address": arguments.master_addr,
        "port": arguments.master_port,
    }
    if arguments.launcher == "torchrun":
        command = torchrun_command(words, num_nodes=num_nodes, num_ranks=len(chosen.names), **where)
    else:
        counts = slots or {f"node-{rank}": len(chosen.names) for rank in range(num_nodes)}
        nodes = {host: tuple(map(str, range(count))) for host, count in counts.items()}
        nodes[list(nodes)[arguments.node_rank]] = chosen.names
        command = deepspeed_command(nodes, words, **where)
    notes = ()
    if num_nodes > 1 and arguments.interface is None and "GLOO_SOCKET_IFNAME" not in environ:
        notes = loopback_notes(arguments.master_addr)
    return Start(command, chosen.assign | interface_variables(arguments.interface), notes=notes)


def loopback_notes(address: str) -> tuple[str, ...]:
    """A warning where the ranks would tell other nodes an address that leads those to themselves."""
    name = socket.gethostname()
    try:
        own = socket.gethostbyname(name)
    except OSError:
        own = "nothing"
    if address.startswith(("127.", "localhost")) or not (own == "nothing" or own.startswith("127.")):
        return ()
    return (
        f"note: {name}, this node's name, leads to {own}, which other nodes cannot reach; give --interface",
    )


def start_hostfile(arguments: argparse.Namespace, words: Sequence[str], environ: Mapping[str, str]) -> Start:
    """All nodes of a hostfile, from this one, over pdsh and ssh."""
    slots = read_hostfile(arguments.hostfile)
    on_cpu = training_device(words) == "cpu"
    devices = None if arguments.devices is None else parse_devices(arguments.devices)
    inherited = environ.get("CUDA_VISIBLE_DEVICES")
    if on_cpu and devices is not None:
        raise StartError(f"--devices {arguments.devices}: train.device=cpu uses no GPU; leave it out")
    if inherited is not None and not on_cpu and devices != [name.strip() for name in inherited.split(",")]:
        given = "without --devices" if devices is None else f"with --devices {arguments.devices}"
        raise StartError(
            f"CUDA_VISIBLE_DEVICES={inherited} {given}: the variable does not reach the nodes of a hostfile; "
            f"unset it, or give --devices {inherited}"
        )
    if devices is not None:
        for host, count in slots.items():
            beyond = [name for name in devices if not name.isdigit() or int(name) >= count]
            if beyond:
                raise StartError(
                    f"--devices {arguments.devices}: {host} slots={count} has 0 to {count - 1}; "
                    f"correct one of them"
                )
    address = arguments.master_addr or next(iter(slots))
    check_host("--master-addr", address)
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
    check_environment_files(environ)
    held_back = secret_names(environ)

    options = [f"--hostfile={arguments.hostfile}", "--launcher=pdsh"]
    options += [f"--master_addr={address}", f"--master_port={arguments.master_port}"]
    if arguments.ssh_port is not None:
        options.append(f"--ssh_port={arguments.ssh_port}")
    if devices is not None:
        options.append("--include=" + "@".join(f"{host}:{','.join(devices)}" for host in slots))
    if len(slots) == 1:
        options.append("--force_multi")  # else it would start here, whatever the host's name
    local = {"DS_ACCELERATOR": "cpu"} if on_cpu else {}
    remote = interface_variables(arguments.interface) | local
    if remote:
        # Few variables pass through pdsh, so the ranks are given these by env.
        options += ["--no_python", "--no_local_rank", "env"]
        options += [f"{name}={value}" for name, value in remote.items()]
        options += [sys.executable, "-u"]
    command = [sys.executable, "-u", "-m", "deepspeed.launcher.runner", *options, str(SCRIPT)]
    notes = ()
    if held_back:
        notes = (
            f"held back from the nodes: {', '.join(held_back)} (DeepSpeed would print them and write "
            f"them on command lines); use ~/.mlflow/credentials on {next(iter(slots))}, or start with each",
        )
    return Start([*command, *map(quote_for_pdsh, words)], local, held_back, notes)


def quote_for_pdsh(word: str) -> str:
    """A word that comes out of DeepSpeed's runner, pdsh and the remote shell as it went in."""
    word = word.replace("%", "%%")  # pdsh fills in %h and the like
    if " " in word:
        # The runner puts it into double quotes and takes care of those inside.
        return re.sub(r"([\\$`])", r"\\\1", word)
    return shlex.quote(word)


# The command line


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the secrets that may be in it."""

    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments" in message:
            # Only names: what stands in a wrong place may be a secret all the same.
            message = re.sub(r"([\w.]+=)\S+", r"\1...", message) + "; what is for the training comes after --"
        fail(f"{message} (see {self.prog} --help)")


def fail(message: str) -> NoReturn:
    """End with a line that says what is wrong."""
    from langpose_dist.environment import redact

    print(f"start: error: {redact(message)}".replace("\n", " "), file=sys.stderr)
    sys.exit(2)


def port(text: str) -> int:
    """A port of TCP, from the command line."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 1 to 65535")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = _Parser(
        prog="start.py",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Start a training.\n\n{_FORWARDED}\n--dry-run prints the command instead.",
        epilog="examples:\n"
        "  python launch/start.py one -- --config configs/pretrain/small.yaml data.path=data/shards\n"
        "  python launch/start.py node --devices 0,1 -- --config configs/pretrain/paper.yaml\n"
        "  python launch/start.py node --help\n\n"
        "docs/launching.md tells how to stop and resume a run, and about Slurm.",
    )
    modes = parser.add_subparsers(dest="mode", required=True, metavar="one|node|hostfile|each")

    def add(mode: str, text: str, more: str, *examples: str) -> argparse.ArgumentParser:
        added = modes.add_parser(
            mode,
            help=text,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            usage=f"start.py {mode} [OPTIONS] -- WORDS FOR THE TRAINING",
            description=f"{text[0].upper()}{text[1:]}.\n\n{more}\n{_FORWARDED}",
            epilog="examples:\n"
            + "\n".join(f"  python launch/start.py {mode} {example}" for example in examples),
        )
        added.add_argument("--dry-run", action="store_true", help="print the command and do nothing")
        return added

    one = add(
        "one",
        "one process on one device",
        "No launcher: the same as langpose train. Takes the first GPU, or the processor where there is none.",
        "-- --config configs/pretrain/debug.yaml data.path=data/shards train.device=cpu",
        "--devices 3 -- --config configs/pretrain/paper.yaml data.path=data/shards output=runs/1",
    )
    one.add_argument("--devices", metavar="I", help="the GPU, by index or UUID (default: the first)")

    node = add(
        "node",
        "several ranks on this node",
        "One rank for each GPU; several trainings on one node do not disturb each other, since each takes a\n"
        "free port. train.device=cpu with --num-ranks trains on the processor.",
        "--devices 0,1 -- --config configs/pretrain/paper.yaml data.path=data/shards output=runs/paper",
        "--launcher torchrun -- --config configs/pretrain/paper.yaml data.path=data/shards --resume",
        "--num-ranks 2 -- --config configs/pretrain/small.yaml data.path=data/shards train.device=cpu",
    )
    some = node.add_mutually_exclusive_group()
    some.add_argument("--devices", metavar="I,J,...", help="GPUs, by index or UUID (default: all)")
    some.add_argument(
        "--num-ranks", type=int, metavar="N", help="the first N GPUs, or N ranks on the processor"
    )
    node.add_argument("--launcher", choices=("deepspeed", "torchrun"), default="deepspeed")
    node.add_argument("--master-port", type=port, metavar="P", help="default: a free one")

    hostfile = add(
        "hostfile",
        "all nodes of a hostfile, started from this one over pdsh and ssh",
        "Every node needs this folder and the environment at the same paths, and ssh without a password\n"
        "from this node. Variables that hold secrets do not travel: use ~/.mlflow/credentials on the\n"
        "first node.",
        "launch/hostfile -- \\\n"
        "      --config configs/pretrain/paper.yaml data.path=/shared/shards output=/shared/runs/1",
        "launch/hostfile --devices 0,1 --interface eth1 --ssh-port 2222 -- \\\n"
        "      --config configs/pretrain/paper.yaml data.path=/shared/shards output=/shared/runs/1",
    )
    hostfile.add_argument("hostfile", type=Path, help="lines HOST slots=N, as in launch/hostfile.example")
    hostfile.add_argument("--devices", metavar="I,J,...", help="the GPUs of every node (default: its slots)")
    hostfile.add_argument("--master-addr", metavar="A", help="address of the first node (default: its name)")
    hostfile.add_argument("--ssh-port", type=port, metavar="P", help="default: as ssh is configured")

    each = add(
        "each",
        "this node's part of a training on several nodes",
        "Run it once on every node, with --node-rank 0, 1 and so on; no ssh. They wait for each other.",
        "--nodes 2 --node-rank 0 --master-addr node-0 --ranks-per-node 4 --interface eth0 -- \\\n"
        "      --config configs/pretrain/paper.yaml data.path=/shared/shards output=/shared/runs/1",
        "--launcher deepspeed --hostfile launch/hostfile --node-rank 1 --master-addr node-0 -- \\\n"
        "      --config configs/pretrain/paper.yaml data.path=/shared/shards output=/shared/runs/1",
    )
    each.add_argument("--nodes", type=int, metavar="N", help="number of nodes")
    each.add_argument("--node-rank", type=int, metavar="R", required=True, help="this node, from 0")
    each.add_argument("--master-addr", metavar="A", required=True, help="address of node 0")
    some = each.add_mutually_exclusive_group()
    some.add_argument(
        "--ranks-per-node", type=int, metavar="K", help="the first K GPUs, or K ranks on the processor"
    )
    some.add_argument("--devices", metavar="I,J,...", help="GPUs of this node, by index or UUID")
    each.add_argument("--launcher", choices=("torchrun", "deepspeed"), default="torchrun")
    each.add_argument(
        "--hostfile",
        type=Path,
        metavar="FILE",
        help="counts nodes and ranks instead, with --launcher deepspeed",
    )
    for several in (hostfile, each):
        several.add_argument(
            "--interface", metavar="IFNAME", help="network interface that the ranks talk over"
        )
        several.add_argument(
            "--master-port",
            type=port,
            default=DEFAULT_PORT,
            metavar="P",
            help=f"a free port of the first node, the same everywhere (default: {DEFAULT_PORT})",
        )
    return parser


_MODES = {"one": start_one, "node": start_node, "hostfile": start_hostfile, "each": start_each}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the command, or become it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if find_package("langpose_dist") is None:
        print(
            f"start: error: {sys.executable} does not have langpose_dist; "
            "activate its environment: . .venv/bin/activate",
            file=sys.stderr,
        )
        return 2
    split = words.index("--") if "--" in words else len(words)
    arguments = build_parser().parse_args(words[:split])
    forwarded = words[split + 1 :]
    try:
        refuse_secrets(forwarded)
        start = _MODES[arguments.mode](arguments, forwarded, os.environ)
    except StartError as error:
        fail(str(error))
    for note in start.notes:
        print(f"start: {note}", file=sys.stderr)
    if arguments.dry_run:
        print(start.describe())
        return 0
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(start.command[0], start.command, start.environment(os.environ))
    except OSError as error:
        fail(f"{start.command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())
