"""Pack the newest checkpoint of a run into small files, and make a run of them again that resumes there.

    python -m benchmarks.carry pack runs/learning-modified carried/modified
    python -m benchmarks.carry unpack carried/modified runs/learning-modified

For machines that are lent for minutes and give back little. Kept: the weights in bfloat16, the position in
the data, and AdamW's second moments as the means of their rows and columns. Not kept: the lower half of each
float32 weight, the first moments, which start at 0 and are back after some ten steps, and the best
checkpoint. The paper's model comes to about 60 MB, in parts of 15 MiB.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from langpose_dist.host.atomic import write_text
from langpose_dist.models.weights import read_header
from langpose_dist.runs.folder import RunFolder
from langpose_dist.train.checkpoint import (
    WEIGHTS,
    Snapshot,
    TrainState,
    find_checkpoint,
    publish,
    read_optimizer,
    read_weights,
)

_PART_BYTES = 15 * 2**20
_ROWS, _COLUMNS = "/rows", "/columns"


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {"pack": ("run", "folder"), "unpack": ("folder", "run")}.items():
        command = commands.add_parser(name)
        for word in words:
            command.add_argument(word, type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments.run, arguments.folder)
    else:
        unpack(arguments.folder, arguments.run)


def pack(run: Path, folder: Path) -> None:
    """Write the newest checkpoint of a run to a folder of parts."""
    found = find_checkpoint(RunFolder(run).checkpoints)
    if found is None:
        sys.exit(f"{run} has no checkpoint")
    path, state = found
    weights, optimizer = read_weights(path), read_optimizer(path)
    names, planes = {}, []
    for name, weight in weights.items():
        names[name] = list(weight.shape)
        planes.append(weight.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16).ravel())
    bits = np.concatenate(planes)
    # The high bytes, sign and most of the exponent, are alike; the low ones are not.
    high = zlib.compress((bits >> 8).astype(np.uint8).tobytes(), 9)
    low = (bits & 0xFF).astype(np.uint8).tobytes()
    moments = zlib.compress(save(factor(optimizer)), 9)
    content = high + low + moments
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*"):
        old.unlink()
    for number, start in enumerate(range(0, len(content), _PART_BYTES)):
        (folder / f"part-{number:02d}").write_bytes(content[start : start + _PART_BYTES])
    about = {
        "state": dataclasses.asdict(dataclasses.replace(state, best_step=None, best_value=None)),
        "header": read_header(path / WEIGHTS),
        "weights": names,
        "sizes": [len(high), len(low), len(moments)],
        "sha256": hashlib.sha256(content).hexdigest(),
        "config": RunFolder(run).config.read_text(encoding="utf-8"),
    }
    write_text(folder / "about.json", json.dumps(about, indent=2))
    metrics = RunFolder(run).metrics
    if metrics.exists():
        write_text(folder / "metrics.jsonl", metrics.read_text(encoding="utf-8"))
    print(f"{folder}: step {state.step}, {len(content) / 2**20:.1f} MiB")


def unpack(folder: Path, run: Path) -> None:
    """Make a run of a folder of parts, to be resumed.

    Raises:
        ValueError: If a part is missing or damaged.
    """
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    content = b"".join(part.read_bytes() for part in sorted(folder.glob("part-*")))
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise ValueError(f"{folder}: a part is missing or damaged")
    high, low, _ = np.cumsum(about["sizes"])
    upper = np.frombuffer(zlib.decompress(content[:high]), np.uint8).astype(np.uint16)
    bits = (upper << 8 | np.frombuffer(content[high:low], np.uint8)).view(np.int16)
    values = torch.from_numpy(bits.copy()).view(torch.bfloat16).float()
    shapes: dict[str, list[int]] = about["weights"]
    parts = values.split([int(np.prod(shape)) for shape in shapes.values()])
    weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
    lists = {name: tuple(value) for name, value in about["state"].items() if isinstance(value, list)}
    target = RunFolder(run)
    target.checkpoints.mkdir(parents=True)
    optimizer = expand(load(zlib.decompress(content[low:])))
    state = TrainState(**{**about["state"], **lists})
    path = publish(target.checkpoints, Snapshot(weights, optimizer), state, about["header"])
    write_text(target.checkpoints / "latest", f"{path.name}\n")
    write_text(target.config, about["config"])
    if (folder / "metrics.jsonl").exists():
        write_text(target.metrics, (folder / "metrics.jsonl").read_text(encoding="utf-8"))
    print(f"{path}: resume with --resume")


def factor(optimizer: dict[str, Tensor]) -> dict[str, Tensor]:
    """Second moments of matrices as means of rows and columns, of all else as they are.

    Source:
        Shazeer and Stern, Adafactor, ICML 2018.
    """
    kept = {}
    for name, moment in optimizer.items():
        if not name.endswith("/exp_avg_sq"):
            continue
        if moment.ndim == 2:
            kept[name + _ROWS], kept[name + _COLUMNS] = moment.mean(dim=1), moment.mean(dim=0)
        else:
            kept[name] = moment.contiguous()
    return kept


def expand(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """AdamW's state of ``factor``'s, with first moments of 0."""
    optimizer = {}
    for name, value in kept.items():
        if name.endswith(_COLUMNS):
            continue
        moment = name.removesuffix(_ROWS)
        if name.endswith(_ROWS):
            columns = kept[moment + _COLUMNS]
            value = value[:, None] * columns[None] / columns.mean().clamp(min=torch.finfo(torch.float32).tiny)
        optimizer[moment] = value.contiguous()
        optimizer[moment.removesuffix("_sq")] = torch.zeros_like(optimizer[moment])
    return optimizer


if __name__ == "__main__":
    main()
