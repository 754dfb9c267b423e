"""What the ranks of a node train on: choosing GPUs or the processor, and refusing what contradicts itself."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from errors import StartError

ON_CPU = {"DS_ACCELERATOR": "cpu"}
"""The variables of ranks that train on the processor."""

_DEVICE = re.compile(r"\d+|(GPU|MIG)-[\w/-]+")


@dataclass(frozen=True)
class Devices:
    """What the ranks of a node run on."""

    names: Sequence[str]
    """Of GPUs, as in CUDA_VISIBLE_DEVICES; for the processor only their number counts."""
    on_cpu: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that say so."""
        return ON_CPU if self.on_cpu else {"CUDA_VISIBLE_DEVICES": ",".join(self.names)}


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
        devices: Value of ``--devices``; leaves nothing to choose.
        num_ranks: Number of ranks; default: one for each device.
        option: The option that gives ``num_ranks``, for messages; ``None`` if there is none.

    Raises:
        StartError: If devices, number and environment contradict each other, or there is no device.
    """
    inherited = environ.get("CUDA_VISIBLE_DEVICES")
    visible = None if inherited is None else [name for name in split_names(inherited) if name]
    if devices is not None:
        chosen = named_devices(devices, words, option)
        if visible is None:
            check_indices(devices, chosen)
        elif visible != chosen:
            raise StartError(
                f"--devices {devices} and CUDA_VISIBLE_DEVICES={inherited} disagree; "
                "unset CUDA_VISIBLE_DEVICES, or leave out --devices"
            )
        return Devices(chosen)

    if num_ranks is not None and num_ranks < 1:
        raise StartError(f"{option} {num_ranks}: a training needs 1 rank or more")
    kind = training_device(words)
    hidden = visible is not None and (not visible or visible[0] == "-1")
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
        return Devices([str(rank) for rank in range(num_ranks)], on_cpu=True)
    if num_ranks is not None and num_ranks > len(names):
        where = f"CUDA_VISIBLE_DEVICES={inherited} has" if visible else "this node has GPUs:"
        raise StartError(
            f"{option} {num_ranks}: {where} {len(names)}; start fewer ranks, "
            f"{'unset CUDA_VISIBLE_DEVICES' if visible else 'or set train.device=cpu'}"
        )
    return Devices(names[:num_ranks])


def training_device(words: Sequence[str]) -> str:
    """``auto``, ``cpu`` or ``cuda``: the last ``train.device=...`` among the training's words."""
    values = [word.partition("=")[2] for word in words if word.startswith("train.device=")]
    return values[-1] if values else "auto"


def named_devices(devices: str, words: Sequence[str], option: str | None = None) -> list[str]:
    """The GPUs of ``--devices``, for a training that may use them.

    Args:
        devices: Its value.
        words: For the training.
        option: The option to give instead on the processor, for messages; ``None`` if there is none.

    Raises:
        StartError: If the value is wrong, or the training is one on the processor.
    """
    names = parse_devices(devices)
    if training_device(words) == "cpu":
        instead = f"give {option} {len(names)} instead" if option else "leave it out"
        raise StartError(f"--devices {devices}: train.device=cpu uses no GPU; {instead}")
    return names


def parse_devices(devices: str) -> list[str]:
    """``0,2`` as a list.

    Raises:
        StartError: If it is no list of indices or UUIDs, or names one twice.
    """
    names = split_names(devices)
    if not all(_DEVICE.fullmatch(name) for name in names):
        raise StartError(f"--devices {devices!r} is not a list of GPUs; write indices or UUIDs, such as 0,1")
    if len(set(names)) < len(names):
        raise StartError(f"--devices {devices} names a GPU twice; each rank has one of its own")
    return names


def split_names(text: str) -> list[str]:
    """What stands between the commas."""
    return [name.strip() for name in text.split(",")]


def check_indices(devices: str, names: Sequence[str]) -> None:
    """See that this node has the GPUs that ``--devices`` names, where it can be asked.

    Raises:
        StartError: If an index is beyond the last one.
    """
    found = count_gpus()
    if found and any(name.isdigit() and int(name) >= found for name in names):
        raise StartError(f"--devices {devices}: this node has {found} GPUs, 0 to {found - 1}")


def count_gpus() -> int:
    """NVIDIA GPUs of this node, as nvidia-smi lists them."""
    try:
        listed = subprocess.run(
            ("nvidia-smi", "-L"), capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
