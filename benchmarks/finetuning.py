"""Table 1 as it is meant: pretraining with each form, then fine-tuning without labels, on few clips and all.

    langpose data build bvh --input BVH --out data/table1 --skeleton bandai-namco --fps 10 \
        --split finetune:style=normal,not-confident,proud --split test:style=old,sad,tired \
        --split validation:fraction=0.1
    python -m benchmarks.finetuning --data data/table1 --out runs/table1

Pretraining (split train), fine-tuning (split finetune) and test share no style and no clip. Every training is
one of its own through the deepspeed launcher; one that is finished already is not repeated, so a benchmark
resumes where it was. The last step's weights are evaluated, so nothing is chosen on any split. Evaluation is
by the protocol virtual_camera, whose input is noisy, and on input with further errors and missing joints.
Writes NAME.json with every report, and prints the table.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from benchmarks.trainings import ROOT, train_once

STARTS = ("scratch", "none", "infonce", "modified")
"""Form of the contrastive loss in pretraining; scratch: no pretraining at all."""
METRICS = ("mpjpe_mm", "p_mpjpe_mm")
CORRUPTIONS = ("noise_px/blind", "drop_joints/zero")
"""Corruptions whose area is in the table: the mean height of the curve of MPJPE."""


def main() -> None:
    """Run what is missing, then evaluate and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="shards with the splits named above")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.1, 1.0], help="shares of the clips")
    parser.add_argument("--pretrain-steps", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=1000, help="of fine-tuning")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--name", default="finetuning", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()

    tables = []
    for seed in arguments.seeds:
        weights = {start: pretrain(arguments, start, seed) for start in arguments.starts}
        for share in arguments.shares:
            runs = [finetune(arguments, start, weights[start], seed, share) for start in arguments.starts]
            tables.append({"seed": seed, "share": share, **evaluate(arguments, runs)})
    path = write_result(arguments.name, {"tables": tables}, arguments, arguments.results)
    print(path)
    print(describe(tables, arguments.starts))


def pretrain(arguments: argparse.Namespace, start: str, seed: int) -> Path | None:
    """Folder of a pretraining; ``None`` from scratch."""
    if start == "scratch":
        return None
    folder = arguments.out / f"pretrain-{start}-{seed}"
    train_once(
        folder,
        ROOT / "configs/pretrain/small.yaml",
        f"data.path={arguments.data}",
        f"loss.contrastive={start}",
        f"train.max_steps={arguments.pretrain_steps}",
        f"seed={seed}",
        processes=arguments.processes,
    )
    return folder


def finetune(
    arguments: argparse.Namespace, start: str, weights: Path | None, seed: int, share: float
) -> Path:
    """Folder of a fine-tuning."""
    folder = arguments.out / f"finetune-{start}-{share:g}-{seed}"
    train_once(
        folder,
        ROOT / "configs/finetune/open.yaml",
        f"data.path={arguments.data}",
        "data.train_split=finetune",
        f"data.train_share={share}",
        f"train.max_steps={arguments.steps}",
        f"seed={seed}",
        *([f"model.initial_weights={weights}"] if weights else []),
        processes=arguments.processes,
    )
    return folder


def evaluate(arguments: argparse.Namespace, runs: Sequence[Path]) -> dict[str, Any]:
    """The protocol's report, the first start as its baseline."""
    out = runs[0] / "table.json"
    if not out.exists():
        words = ["evaluate", *map(str, runs), "--protocol", "virtual_camera", f"data.path={arguments.data}"]
        words += ["--out", str(out), "--robustness", *CORRUPTIONS]
        subprocess.run([sys.executable, "-m", "langpose_dist.cli.main", *words], check=True)
    return json.loads(out.read_text(encoding="utf-8"))


def describe(tables: Sequence[dict[str, Any]], starts: Sequence[str]) -> str:
    """Means over seeds, as Markdown; in brackets the range over seeds.

    The last column is the gain on the first start: in brackets the lowest and the highest end of the seeds'
    intervals over clips.
    """
    names = ("clips", "pretraining", "MPJPE mm", "P-MPJPE mm", *CORRUPTIONS, f"better than {starts[0]} by mm")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for share in dict.fromkeys(table["share"] for table in tables):
        mine = [table for table in tables if table["share"] == share]
        for number, start in enumerate(starts):
            columns = [
                [table["models"][number]["action_mean"][metric] for table in mine] for metric in METRICS
            ]
            for place in range(len(CORRUPTIONS)):
                areas = [table["robustness"]["curves"][place]["models"][number]["area"] for table in mine]
                columns.append(areas)
            cells = [_spread(values, min(values), max(values)) for values in columns]
            lines.append(f"| {share:.0%} | {start} | {' | '.join(cells)} | {_gain(mine, number)} |")
    return "\n".join(lines)


def _gain(tables: Sequence[dict[str, Any]], number: int) -> str:
    if number == 0:
        return ""
    found = [
        [gain for gain in table["improvements"] if gain["metric"] == "mpjpe_mm"][number - 1]
        for table in tables
    ]
    lowest, highest = min(gain["low"] for gain in found), max(gain["high"] for gain in found)
    return _spread([gain["mean"] for gain in found], lowest, highest)


def _spread(values: Sequence[float], low: float, high: float) -> str:
    return f"{statistics.fmean(values):.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
