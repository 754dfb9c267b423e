"""Starts a training: one device, one node, several nodes. Prints or becomes the launcher's exact command.

python launch/start.py node --num-ranks 2 -- --config configs/pretrain/small.yaml data.path=data/shards
"""

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent))  # under PYTHONSAFEPATH it is not there

from credentials import refuse_secrets
from errors import StartError
from modes import start_each, start_hostfile, start_node, start_one

DEFAULT_PORT = 29500

_MODES = {"one": start_one, "node": start_node, "hostfile": start_hostfile, "each": start_each}
_FORWARDED = (
    "What follows -- goes to launch/train.py unchanged:\n"
    "--config FILE, --resume, --resume-if-started, key=value."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the command, or become it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if importlib.util.find_spec("langpose_dist") is None:
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


def fail(message: str) -> NoReturn:
    """End with a line that says what is wrong."""
    from langpose_dist.host.redaction import redact

    print(f"start: error: {redact(message)}".replace("\n", " "), file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the secrets that may be in it."""

    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments" in message:
            # Only names: what stands in a wrong place may be a secret all the same.
            message = re.sub(r"([\w.]+=)\S+", r"\1...", message) + "; what is for the training comes after --"
        fail(f"{message} (see {self.prog} --help)")


Modes: TypeAlias = "argparse._SubParsersAction[Parser]"


def build_parser() -> argparse.ArgumentParser:
    """The options of this script."""
    parser = Parser(
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
    for add in (add_one, add_node, add_hostfile, add_each):
        add(modes)
    return parser


def add_one(modes: Modes) -> None:
    """The options of ``one``."""
    one = add_mode(
        modes,
        "one",
        "one process on one device",
        "No launcher: the same as langpose train. Takes the first GPU, or the processor where there is none.",
        "-- --config configs/pretrain/debug.yaml data.path=data/shards train.device=cpu",
        "--devices 3 -- --config configs/pretrain/paper.yaml data.path=data/shards output=runs/1",
    )
    one.add_argument("--devices", metavar="I", help="the GPU, by index or UUID (default: the first)")


def add_node(modes: Modes) -> None:
    """The options of ``node``."""
    node = add_mode(
        modes,
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


def add_hostfile(modes: Modes) -> None:
    """The options of ``hostfile``."""
    hostfile = add_mode(
        modes,
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
    add_network_options(hostfile)


def add_each(modes: Modes) -> None:
    """The options of ``each``."""
    each = add_mode(
        modes,
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
    add_network_options(each)


def add_mode(modes: Modes, mode: str, text: str, more: str, *examples: str) -> argparse.ArgumentParser:
    """A parser for the options of one mode, with those that all have."""
    parser = modes.add_parser(
        mode,
        help=text,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"start.py {mode} [OPTIONS] -- WORDS FOR THE TRAINING",
        description=f"{text[0].upper()}{text[1:]}.\n\n{more}\n{_FORWARDED}",
        epilog="examples:\n"
        + "\n".join(f"  python launch/start.py {mode} {example}" for example in examples),
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command and do nothing")
    return parser


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """The options of every mode in which nodes talk to each other."""
    parser.add_argument("--interface", metavar="IFNAME", help="network interface that the ranks talk over")
    parser.add_argument(
        "--master-port",
        type=port,
        default=DEFAULT_PORT,
        metavar="P",
        help=f"a free port of the first node, the same everywhere (default: {DEFAULT_PORT})",
    )


def port(text: str) -> int:
    """A port of TCP, from the command line."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
