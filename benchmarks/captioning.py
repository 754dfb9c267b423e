"""Captioning taken apart: pretrained and random encoders, tuned and frozen, of 2D and of 3D.

    langpose data synthesize --layout kit-ml --hours 2 --out data/kit
    langpose data build kit-ml --input data/kit --fps 12.5 --out data/kit-shards
    langpose caption-evaluator data/kit-shards --out evaluators --epochs 30
    python -m benchmarks.captioning --data data/kit-shards --pretrained runs/pretrain --out runs/captioning \
        --evaluators evaluators/*.safetensors

runs/pretrain is a pretraining at the same rate with window.num_frames=100. Every training is one of its own
through the deepspeed launcher; one that is finished is not repeated, so a benchmark resumes where it was.
The last step's weights describe the split test. Writes NAME.json with every report, and prints the table.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import RESULTS, write_result
from benchmarks.trainings import ROOT, train_once
from langpose_dist.evaluation.captions import caption_rows

INPUTS = ("projected_2d", "joints_3d")
STARTS = ("pretrained", "random")
TRAININGS = ("tuned", "frozen")


class Cell(NamedTuple):
    """One training."""

    input: str
    training: str
    layers: int
    """Number of layers of the transformer encoder over the frames."""
    start: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return "-".join(map(str, self))


def main() -> None:
    """Run what is missing, then evaluate and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="shards with captions")
    parser.add_argument("--pretrained", type=Path, required=True, help="run of the pretrained encoder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--evaluators", nargs="+", type=Path, default=[], help="files of R-precision")
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, default=INPUTS)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--trainings", nargs="+", choices=TRAININGS, default=TRAININGS)
    parser.add_argument("--layers", nargs="+", type=int, default=[0], help="caption.memory_layers")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--text-form", choices=("words", "raw"), default="words")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--finished", action="store_true", help="report the finished trainings alone")
    parser.add_argument("--name", default="captioning", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()

    choices = (arguments.inputs, arguments.trainings, arguments.layers, arguments.starts, arguments.seeds)
    runs = []
    for cell in map(Cell._make, product(*choices)):
        folder = arguments.out / cell.name
        if arguments.finished and not (folder / "evaluation.json").exists():
            continue
        train(arguments, cell, folder)
        runs.append({**cell._asdict(), **evaluate(arguments, folder)})
    print(write_result(arguments.name, {"runs": runs}, arguments, arguments.results))
    print(describe(runs))


def train(arguments: argparse.Namespace, cell: Cell, folder: Path) -> None:
    """Train a captioner."""
    train_once(
        folder,
        ROOT / "configs/caption/small.yaml",
        f"data.path={arguments.data}",
        f"model.initial_weights={arguments.pretrained if cell.start == 'pretrained' else 'null'}",
        f"caption.input={cell.input}",
        f"caption.frozen={str(cell.training == 'frozen').lower()}",
        f"caption.memory_layers={cell.layers}",
        f"caption.text_form={arguments.text_form}",
        "train.global_batch_size=8",
        f"train.max_steps={arguments.steps}",
        f"train.evaluate_every={arguments.steps}",
        f"seed={cell.seed}",
        processes=arguments.processes,
    )


def evaluate(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Report on the split test."""
    out = folder / "test.json"
    if not out.exists():
        words = ["evaluate", str(folder), "data.validation_split=test", f"data.path={arguments.data}"]
        words += ["--out", str(out)]
        if arguments.evaluators:
            words += ["--evaluator", *map(str, arguments.evaluators)]
        subprocess.run([sys.executable, "-m", "langpose_dist.cli.main", *words], check=True)
    report = json.loads(out.read_text(encoding="utf-8"))
    kept = ("commit", "config_hash", "data_fingerprint", "dataset", "split", "source_2d", "step", "captions")
    return {"report": {name: report[name] for name in kept}}


def describe(runs: Sequence[dict[str, Any]]) -> str:
    """A row for each run, then those that need no model, as Markdown."""
    lines = []
    for number, run in enumerate(runs):
        head, model, *others = caption_rows(run["report"]["captions"])
        if number == 0:
            lines = [head, ["---"] * len(head)]
        layers = f", {run['layers']} layers" if run["layers"] else ""
        model[0] = f"{run['start']}, {run['training']}, {run['input']}{layers}, seed {run['seed']}"
        lines.append(model)
        if number == len(runs) - 1:
            lines += others
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
