"""Table 1 as it is meant: pretraining with each form, then fine-tuning without labels, on few clips and all.

    langpose data build bvh --input BVH --out data/pretrain --skeleton bandai-namco --fps 10 ...
    langpose data build bvh --input BVH --out data/finetune --skeleton bandai-namco --fps 10 ...
    python -m benchmarks.finetuning --pretrain-data data/pretrain --data data/finetune --out runs/table1

The two builds share no style and no clip, by their split rules. Every training is one of its own through the
deepspeed launcher; one that is finished already is not repeated, so a benchmark resumes where it was. The
models of all seeds are evaluated by the protocol virtual_camera on the validation split of ``--data``. Writes
NAME.json with every number per seed and recording mean, and prints the table.
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

ROOT = Path(__file__).parents[1]
STARTS = ("scratch", "none", "infonce", "modified")
"""Form of the contrastive loss in pretraining; scratch: no pretraining at all."""


def main() -> None:
    """Run what is missing, then evaluate and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pretrain-data", type=Path, required=True, help="shards with labels to pretrain on")
    parser.add_argument("--data", type=Path, required=True, help="shards to fine-tune on and to evaluate")
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
    train(
        arguments,
        folder,
        "configs/pretrain/small.yaml",
        f"data.path={arguments.pretrain_data}",
        f"loss.contrastive={start}",
        f"train.max_steps={arguments.pretrain_steps}",
        f"seed={seed}",
    )
    return folder


def finetune(
    arguments: argparse.Namespace, start: str, weights: Path | None, seed: int, share: float
) -> Path:
    """Folder of a fine-tuning."""
    folder = arguments.out / f"finetune-{start}-{share:g}-{seed}"
    train(
        arguments,
        folder,
        "configs/finetune/open.yaml",
        f"data.path={arguments.data}",
        f"data.train_share={share}",
        f"train.max_steps={arguments.steps}",
        f"seed={seed}",
        *([f"model.initial_weights={weights}"] if weights else []),
    )
    return folder


def train(arguments: argparse.Namespace, folder: Path, config: str, *overrides: str) -> None:
    """One training, unless its folder holds a finished one."""
    if (folder / "evaluation.json").exists():
        return
    launcher = [sys.executable, str(Path(sys.executable).with_name("deepspeed"))]
    target = ["--num_gpus", str(arguments.processes), str(ROOT / "launch/train.py"), "--resume-if-started"]
    options = ["--config", str(ROOT / config), f"output={folder}", "tracking.enabled=false", *overrides]
    options += ["tracking.register_as=null"]
    subprocess.run([*launcher, *target, *options], check=True)


def evaluate(arguments: argparse.Namespace, runs: Sequence[Path]) -> dict[str, Any]:
    """One table of the protocol, the first start as its baseline."""
    out = runs[0] / "table.json"
    words = ["evaluate", *map(str, runs), "--protocol", "virtual_camera", "--split", "validation"]
    words += [f"data.path={arguments.data}", "--out", str(out)]
    subprocess.run([sys.executable, "-m", "langpose_dist.cli.main", *words], check=True)
    return json.loads(out.read_text(encoding="utf-8"))


def describe(tables: Sequence[dict[str, Any]], starts: Sequence[str]) -> str:
    """Means over seeds, as Markdown; the range over seeds behind them."""
    lines = ["| clips | pretraining | MPJPE mm | P-MPJPE mm |", "|---|---|---|---|"]
    for share in dict.fromkeys(table["share"] for table in tables):
        mine = [table["models"] for table in tables if table["share"] == share]
        for number, start in enumerate(starts):
            cells = []
            for metric in ("mpjpe_mm", "p_mpjpe_mm"):
                values = [models[number]["action_mean"][metric] for models in mine]
                cells.append(f"{statistics.fmean(values):.1f} ({min(values):.1f}-{max(values):.1f})")
            lines.append(f"| {share:.0%} | {start} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
