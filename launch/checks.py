"""Checks before a training starts: secrets, GPUs, nodes.

Nothing heavy is imported, and the package late, since ``start.py`` has a message for a Python without it.
"""

import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ON_CPU = {"DS_ACCELERATOR": "cpu"}
"""Variables of ranks that train on the processor."""
_EXPORTED_PREFIXES = ("MLFLOW", "NCCL", "PYTHON", "MV2", "UCX")
"""Prefixes of the variables that DeepSpeed's runner writes on pdsh's command line."""
_GPU = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")
_NVIDIA_SMI_TIMEOUT_S = 30


class StartError(Exception):
    """A user's mistake: value, limit and remedy in one line."""


# Secrets


def refuse_secrets(words: Sequence[str]) -> None:
    """Refuse credentials among the training's words: every user of a machine can read command lines.

    Raises:
        StartError: If a word holds some; they are not repeated.
    """
    from langpose_dist.host.redaction import holds_secret, redact

    for word in words:
        if holds_secret(word):
            name, has_value, _ = word.partition("=")
            subject = f"the value of {redact(name)}" if has_value else "a word after --"
            raise StartError(
                f"{subject} holds credentials, and command lines are public; give MLFLOW_TRACKING_USERNAME "
                "and MLFLOW_TRACKING_PASSWORD in the environment, or ~/.mlflow/credentials"
            )


def exported_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of secret variables that DeepSpeed would write on pdsh's command line."""
    from langpose_dist.host.redaction import is_secret

    exported = [name for name in sorted(environ) if name.startswith(_EXPORTED_PREFIXES)]
    return tuple(name for name in exported if is_secret(name, environ[name]))


def check_environment_files(environ: Mapping[str, str]) -> None:
    """Refuse secrets in the files whose lines DeepSpeed writes on pdsh's command line.

    Raises:
        StartError: If a line holds one.
    """
    from langpose_dist.host.redaction import holds_secret

    file = environ.get("DS_ENV_FILE", ".deepspeed_env")
    for path in (Path("~").expanduser() / file, Path(file)):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            if holds_secret(line):
                name = line.partition("=")[0]
                raise StartError(
                    f"{path}:{number}: {name} looks like a secret, and DeepSpeed writes it on the nodes' "
                    "command lines; remove the line, and use ~/.mlflow/credentials on the first node"
                )


# GPUs


@dataclass(frozen=True)
class Devices:
    """The devices of a node's ranks: GPUs as in CUDA_VISIBLE_DEVICES, or on the processor mere numbers."""

    names: Sequence[str]
    on_cpu: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that select them."""
        return ON_CPU if self.on_cpu else {"CUDA_VISIBLE_DEVICES": ",".join(self.names)}


def choose_devices(
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    devices: str | None,
    num_ranks: int | None,
    option: str | None,
) -> Devices:
    """Choose the devices of this node's ranks.

    Args:
        words: For the training; ``train.device=...`` among them counts.
        environ: ``CUDA_VISIBLE_DEVICES`` in it must agree.
        devices: Value of ``--devices``, which leaves nothing to choose.
        num_ranks: Number of ranks; default: one for each GPU.
        option: The option that gives ``num_ranks``, for messages; ``None`` if there is none.

    Raises:
        StartError: If devices, number and environment contradict each other, or there is no device.
    """
    if devices is not None:
        return Devices(check_named_devices(devices, words, environ, option))
    kind = training_device(words)
    gpus = [] if kind == "cpu" else visible_gpus(environ)
    if kind == "cuda" and not gpus:
        raise StartError(
            "train.device=cuda, but no GPU is visible here (nvidia-smi, CUDA_VISIBLE_DEVICES); "
            "name GPUs with --devices, or set train.device=cpu"
        )
    if not gpus:
        if num_ranks is None:
            raise StartError(f"no GPU to train on; give {option} N to train on the processor with N ranks")
        return Devices([str(rank) for rank in range(num_ranks)], on_cpu=True)
    if num_ranks is not None and num_ranks > len(gpus):
        raise StartError(
            f"{option} {num_ranks}: {len(gpus)} GPUs are visible here (nvidia-smi, CUDA_VISIBLE_DEVICES); "
            "start fewer ranks, or set train.device=cpu"
        )
    return Devices(gpus[:num_ranks])


def check_named_devices(
    devices: str, words: Sequence[str], environ: Mapping[str, str], option: str | None
) -> list[str]:
    """Validate ``--devices`` against this node and ``CUDA_VISIBLE_DEVICES``; arguments as above."""
    names = parse_devices(devices, words, option)
    inherited = environ.get("CUDA_VISIBLE_DEVICES")
    if inherited is not None and split_names(inherited) != names:
        raise StartError(
            f"--devices {devices} and CUDA_VISIBLE_DEVICES={inherited} disagree; "
            "unset CUDA_VISIBLE_DEVICES, or leave out --devices"
        )
    found = count_gpus() if inherited is None else 0
    if found and any(name.isdigit() and int(name) >= found for name in names):
        raise StartError(f"--devices {devices}: this node has {found} GPUs, 0 to {found - 1}")
    return names


def parse_devices(devices: str, words: Sequence[str], option: str | None = None) -> list[str]:
    """Parse ``--devices``, such as ``0,2``, for a training that may use GPUs; arguments as above."""
    names = split_names(devices)
    if not all(_GPU.fullmatch(name) for name in names):
        raise StartError(f"--devices {devices!r} is not a list of GPUs; write indices or UUIDs, such as 0,1")
    if len(set(names)) < len(names):
        raise StartError(f"--devices {devices} names a GPU twice; each rank has one of its own")
    if training_device(words) == "cpu":
        instead = f"give {option} {len(names)} instead" if option else "leave it out"
        raise StartError(f"--devices {devices}: train.device=cpu uses no GPU; {instead}")
    return names


def split_names(text: str) -> list[str]:
    """Split a list at its commas."""
    return [name.strip() for name in text.split(",")]


def training_device(words: Sequence[str]) -> str:
    """Return ``auto``, ``cpu`` or ``cuda``: the last ``train.device=...`` among the training's words."""
    values = [word.partition("=")[2] for word in words if word.startswith("train.device=")]
    return values[-1] if values else "auto"


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """GPUs that a training may use: those of CUDA_VISIBLE_DEVICES, or all of this node."""
    if (inherited := environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return [str(index) for index in range(count_gpus())]
    names = [name for name in split_names(inherited) if name]
    return [] if names[:1] == ["-1"] else names


def count_gpus() -> int:
    """Count the NVIDIA GPUs of this node, as nvidia-smi lists them."""
    command = ("nvidia-smi", "-L")
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


# Nodes


def read_hosts(hostfile: Path) -> list[str]:
    """Read the names of the nodes; DeepSpeed, which reads the file again, checks its lines.

    Raises:
        StartError: If the file cannot be read or has no line ``HOST slots=N``.
    """
    try:
        hosts = re.findall(r"^\s*([\w.-]+)\s+slots=\d", hostfile.read_text(errors="replace"), re.MULTILINE)
    except OSError as error:
        raise StartError(
            f"{hostfile} cannot be read ({error.strerror}); write one like launch/hostfile.example"
        ) from None
    if not hosts:
        raise StartError(f"{hostfile} names no host; write lines such as node-0 slots=4")
    return hosts


def check_address(address: str) -> None:
    """Resolve ``--master-addr``, or the name in its place.

    Raises:
        StartError: If it cannot be resolved.
    """
    if not resolves(address):
        raise StartError(f"--master-addr {address}: this node does not know that host; give its IP address")


def resolves(address: str) -> bool:
    """True if the name has an address now."""
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError):
        return False
    return True
