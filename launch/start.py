"""Start a training: one device, one node, several nodes. Print or become the launcher's exact command.

python launch/start.py node --num-ranks 2 -- --config configs/pretrain/small.yaml data.path=data/shards
"""

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

sys.path.insert(0, str(Path(__file__).resolve().parent))  # under PYTHONSAFEPATH it is not there

from checks import StartError, refuse_secrets
from launchers import Start, start_each, start_hostfile, start_node, start_one
from pod import Eviction, run_pod, start_pod

_MODES: dict[str, Callable[[argparse.Namespace, Sequence[str], Mapping[str, str]], Start]] = {
    "one": start_one,
    "node": start_node,
    "hostfile": start_hostfile,
    "each": start_each,
    "pod": start_pod,
}
_FORWARDED = (
    "What follows -- goes to launch/train.py unchanged:\n"
    "--config FILE, --resume, --resume-if-started, key=value."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the command, or become it."""
    words = list(sys.argv[1:] if argv is None else argv)
    eviction = Eviction() if words[:1] == ["pod"] else None  # which may come at any moment from now on
    if importlib.util.find_spec("langpose_dist") is None:
        print(
            f"start: error: {sys.executable} does not have langpose_dist; "
            "activate its environment: . .venv/bin/activate",
            file=sys.stderr,
        )
        return 2
    from langpose_dist.host.console import flush_streams, starting

    with starting(is_process=argv is None):
        parser = build_parser()
    split = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:split])
    forwarded = words[split + 1 :]
    try:
        refuse_secrets(forwarded)
        start = _MODES[arguments.mode](arguments, forwarded, os.environ)
        if eviction is not None and not arguments.dry_run:
            return run_pod(start, status_file(forwarded), os.environ, eviction, arguments.wait)
    except StartError as error:
        fail(str(error))
    for note in start.notes:
        print(f"start: {note}", file=sys.stderr)
    if not arguments.dry_run:
        os.execve(start.command[0], start.command, start.environment(os.environ))
    try:
        print(start.describe(), flush=True)
    except OSError as error:
        flush_streams()
        fail(f"the command cannot be printed: {error.strerror}")
    return 0


def status_file(words: Sequence[str]) -> Path:
    """Where the training that these words describe will say how it ended.

    Raises:
        StartError: If they describe none.
    """
    from langpose_dist.cli.arguments import parse_words
    from langpose_dist.cli.main import build_parser as langpose_parser
    from langpose_dist.config import UserError, load_config
    from langpose_dist.runs.folder import RunFolder

    try:
        arguments = parse_words(langpose_parser(), ["train", *words])
        return RunFolder(load_config(arguments.config, arguments.overrides).output).status
    except UserError as error:
        raise StartError(str(error)) from None


def fail(message: str) -> NoReturn:
    """End with a line that says what is wrong."""
    from langpose_dist.host.redaction import redact

    print(f"start: error: {redact(message)}".replace("\n", " "), file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """Parser that reports a mistake in one line, without the secrets that may be in it."""

    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments" in message:
            # Only names: what stands in a wrong place may be a secret all the same.
            message = re.sub(r"([\w.]+=)\S+", r"\1...", message) + "; what is for the training comes after --"
        fail(f"{message} (see {self.prog} --help)")


Modes: TypeAlias = "argparse._SubParsersAction[Parser]"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of this script's options."""
    from langpose_dist.host.arguments import count, local_path, port, whole_number

    parser = Parser(
        prog="start.py",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Start a training.\n\n{_FORWARDED}\n--dry-run prints the command instead.",
        epilog="docs/launching.md has examples, and tells how to stop and resume a run, and about Slurm.",
    )
    modes = parser.add_subparsers(dest="mode", required=True, metavar="one|node|hostfile|each|pod")

    one = add_mode(modes, "one", "one process on one device, without a launcher")
    one.add_argument("--devices", metavar="I", help="the GPU, by index or UUID (default: the first)")

    node = add_mode(modes, "node", "several ranks on this node, one for each GPU")
    add_devices(node, "--num-ranks", required=False)
    node.add_argument("--launcher", choices=("deepspeed", "torchrun"), default="deepspeed")
    node.add_argument("--master-port", type=port, metavar="P", help="default: a free one")

    each = add_mode(modes, "each", "this node's part of a training on several, to be run on every node")
    each.add_argument("--nodes", type=count, metavar="N", required=True, help="number of nodes")
    each.add_argument("--node-rank", type=whole_number, metavar="R", required=True, help="this node, from 0")
    each.add_argument("--master-addr", metavar="A", required=True, help="address of node 0")
    add_devices(each, "--ranks-per-node", required=True)
    each.add_argument("--launcher", choices=("torchrun", "deepspeed"), default="torchrun")
    add_network(each)

    pod = add_mode(modes, "pod", "one pod of a Kubeflow TrainJob, whose place PET_* variables give")
    pod.add_argument(
        "--wait",
        type=whole_number,
        default=300,
        metavar="SECONDS",
        help="longest wait for the first pod's name (default: %(default)s)",
    )

    hostfile = add_mode(modes, "hostfile", "all nodes of a hostfile, started from this one over pdsh and ssh")
    hostfile.add_argument(
        "hostfile", type=local_path, help="lines HOST slots=N, as in launch/hostfile.example"
    )
    hostfile.add_argument("--devices", metavar="I,J,...", help="the GPUs of every node (default: its slots)")
    hostfile.add_argument("--master-addr", metavar="A", help="address of the first node (default: its name)")
    hostfile.add_argument("--ssh-port", type=port, metavar="P", help="default: as ssh is configured")
    add_network(hostfile)
    return parser


def add_mode(modes: Modes, mode: str, text: str) -> argparse.ArgumentParser:
    """Add the parser of a mode."""
    parser = modes.add_parser(
        mode,
        help=text,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"start.py {mode} [OPTIONS] -- WORDS FOR THE TRAINING",
        description=f"Start {text}.\n\n{_FORWARDED}",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command and do nothing")
    return parser


def add_devices(parser: argparse.ArgumentParser, option: str, *, required: bool) -> None:
    """Add the options that choose the ranks of a node."""
    from langpose_dist.host.arguments import count

    either = parser.add_mutually_exclusive_group(required=required)
    either.add_argument("--devices", metavar="I,J,...", help="GPUs of this node, by index or UUID")
    either.add_argument(option, type=count, metavar="N", help="the first N GPUs, or N ranks on the processor")


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options of nodes that talk to each other."""
    from langpose_dist.host.arguments import port

    parser.add_argument("--interface", metavar="IFNAME", help="network interface that the ranks talk over")
    parser.add_argument(
        "--master-port",
        type=port,
        default=29500,
        metavar="P",
        help="a free port of the first node, the same everywhere (default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
