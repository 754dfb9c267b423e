"""Exported models: one safetensors file with prefix-free keys and the configuration in its header."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import langpose_dist
from langpose_dist.config import RunConfig, UserError
from langpose_dist.host.atomic import fsync_path

_WRAPPERS = re.compile(
    r"(?:(?<=\.)|^)(?:module|_orig_mod|_forward_module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
"""Names that torch.compile, DDP, FSDP and Lightning put before those of what they wrap."""
FORMAT_VERSION = "1"
"""Version of the header; raised when older readers could not use the file."""


def weights_header(model: Mapping[str, str], config: RunConfig, extra: Mapping[str, str]) -> dict[str, str]:
    """Header of a weights file, from which the model can be rebuilt.

    Args:
        model: Entries that the model needs besides the configuration, such as ``LangPose.header``.
        config: Configuration that it was built from.
        extra: More entries, such as the commit.

    Raises:
        ValueError: If ``extra`` has a key of the header itself.
    """
    header = {
        "langpose_format": FORMAT_VERSION,
        "langpose_dist": langpose_dist.__version__,
        "config": json.dumps(config.to_dict(), sort_keys=True),
        **model,
    }
    if taken := sorted(header.keys() & extra.keys()):
        raise ValueError(f"header entries {taken} are the file's own")
    return {**header, **extra}


def write_weights(path: Path | str, state: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write weights; the file appears under its name only when it is complete and on disk.

    Args:
        path: Target file; replaced if it exists.
        state: Weights by name; compiled or not, on any device.
        header: From ``weights_header``.
    """
    path = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in without_wrappers(state).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(state, partial, metadata=dict(header))
        _sort_header(partial)
        partial.chmod(0o644)  # a model is for others to read, too
        fsync_path(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    fsync_path(path.parent)


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that the model gives them, not its compiled or distributed copy.

    Raises:
        UserError: If two weights then have the same name.
    """
    found = {_WRAPPERS.sub("", key): value for key, value in state.items()}
    if len(found) < len(state):
        num_twice = len(state) - len(found)
        raise UserError(f"{num_twice} weights are there twice, with a wrapper's prefix and without")
    return found


def read_header(path: Path | str) -> dict[str, str]:
    """The header of an exported model, without its weights.

    Raises:
        UserError: If the file is missing, damaged, or not a LangPose export.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"model {path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"model {path} is not a readable safetensors file: {error}") from None
    if "langpose_format" not in header:
        raise UserError(f"model {path} is not a LangPose export: its header has no langpose_format")
    if header["langpose_format"] != FORMAT_VERSION:
        raise UserError(
            f"model {path} has langpose_format={header['langpose_format']}, this version reads "
            f"{FORMAT_VERSION}; update langpose-dist"
        )
    return header


def is_export(path: Path | str) -> bool:
    """True for a safetensors file with the header of an export."""
    try:
        with safe_open(path, framework="pt") as file:
            return "langpose_format" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def initial_header(path: Path | str | None) -> dict[str, str]:
    """The header of the weights that a training starts from; empty without any, or with another project's."""
    return read_header(path) if path is not None and is_export(path) else {}


def _sort_header(path: Path) -> None:
    """Put the header's entries in order: safetensors writes them in another one each time, and equal models
    are to be equal files."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        content = json.loads(file.read(length))
        content["__metadata__"] = dict(sorted(content["__metadata__"].items()))
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # padded with spaces, as safetensors does itself
            file.seek(8)
            file.write(text.ljust(length))
