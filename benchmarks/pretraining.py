"""Pretraining runs compared: the forms of the contrastive loss, several seeds, on one split.

    python -m benchmarks.pretraining --data data/bandai-10hz --out runs/forms
    python -m benchmarks.pretraining --data data/bandai-10hz --out runs/seeds --forms modified --seeds 0 1 2

Each run is a training of its own through the deepspeed launcher, with the same configuration, data and
number of steps; a run that is finished already is not repeated. Writes NAME.json, and with several forms two
pictures of training and validation curves, as in the paper's Fig. 2: the whole loss and the contrastive term.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from langpose_dist.report.plots import draw_comparison
from langpose_dist.runs.metrics import read_metrics

FORMS = ("none", "infonce", "modified")
_ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run what is missing, then report all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of shards with a validation split")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--config", type=Path, default=_ROOT / "configs/pretrain/small.yaml")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--name", default="pretraining_forms", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()

    runs = [
        {"contrastive": form, "seed": seed, **train(arguments, form, seed)}
        for form in arguments.forms
        for seed in arguments.seeds
    ]
    path = write_result(arguments.name, {"runs": runs}, arguments, arguments.results)
    print(path)
    print(table(runs))
    if len(arguments.forms) > 1:
        curves = {
            form: read_metrics(folder_of(arguments, form, arguments.seeds[0]) / "metrics.jsonl")
            for form in arguments.forms
        }
        draw_comparison(path.with_suffix(".png"), curves, term="loss")
        with_term = {form: lines for form, lines in curves.items() if form != "none"}
        draw_comparison(path.with_name(f"{path.stem}_contrastive.png"), with_term, term="loss_con")


def folder_of(arguments: argparse.Namespace, form: str, seed: int) -> Path:
    """The run's folder."""
    return arguments.out / f"{form}-{seed}"


def train(arguments: argparse.Namespace, form: str, seed: int) -> dict[str, Any]:
    """One training, unless its folder holds a finished one; returns what it reported."""
    folder = folder_of(arguments, form, seed)
    seconds_file = folder / "seconds.json"
    if not seconds_file.exists():
        launcher = [sys.executable, str(Path(sys.executable).with_name("deepspeed"))]
        target = ["--num_gpus", str(arguments.processes), str(_ROOT / "launch/train.py")]
        options = ["--config", str(arguments.config), f"data.path={arguments.data}", f"output={folder}"]
        overrides = [
            f"loss.contrastive={form}",
            f"seed={seed}",
            "tracking.enabled=false",
            *arguments.overrides,
        ]
        if (folder / "config.yaml").exists():
            overrides.append("--resume")  # its seconds are then those of the second attempt
        start = time.monotonic()
        subprocess.run([*launcher, *target, *options, *overrides], check=True)
        seconds_file.write_text(json.dumps(time.monotonic() - start), encoding="utf-8")
    report = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return {"seconds": json.loads(seconds_file.read_text(encoding="utf-8")), "evaluation": report}


def table(runs: list[dict[str, Any]]) -> str:
    """Means over seeds, as Markdown; the range over seeds behind them."""
    columns = [
        ("MPJPE clean", "clean", "mpjpe_mm"),
        ("noisy", "noisy", "mpjpe_mm"),
        ("masked", "masked", "mpjpe_mm"),
        ("P-MPJPE clean", "clean", "p_mpjpe_mm"),
        ("R@1 clean", "clean", "r_at_1"),
        ("R@3 clean", "clean", "r_at_3"),
        ("R@1 masked", "masked", "r_at_1"),
        ("any R@1 clean", "clean", "any_r_at_1"),
        ("any R@1 masked", "masked", "any_r_at_1"),
    ]
    header = ["contrastive", *(title for title, *_ in columns)]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for form in dict.fromkeys(run["contrastive"] for run in runs):
        mine = [run["evaluation"]["conditions"] for run in runs if run["contrastive"] == form]
        cells = [_mean(mine, condition, metric) for _, condition, metric in columns]
        lines.append(f"| {form} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(conditions: list[Mapping[str, Any]], condition: str, metric: str) -> str:
    values = [found[condition][metric] for found in conditions if metric in found[condition]]
    if not values:
        return "-"
    digits = 1 if metric.endswith("_mm") else 3
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
