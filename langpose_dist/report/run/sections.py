"""Sections about the runs themselves: who they are, their training, their pictures, their cost."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langpose_dist.report.card import NO_LICENCE
from langpose_dist.report.plots import draw_curves
from langpose_dist.report.run.records import UNKNOWN, Run
from langpose_dist.report.sections import NONE, Section, Table, say_number

_PICTURES = 2
"""Of a run."""


def who(title: str, runs: Sequence[Run]) -> Section:
    """A row per fact, a column per run."""
    facts = [_facts(run) for run in runs]
    rows = [[name, *(one[name] for one in facts)] for name in facts[0]]
    section = Section(title, tables=[Table(["", *(run.name for run in runs)], rows)])
    for name in ("data", "commit"):
        if len({one[name] for one in facts}) > 1:
            section.below.append(f"the runs differ in {name}: what they score differs for this reason too")
    return section


def _facts(run: Run) -> dict[str, str]:
    evaluation, environment, config = run.evaluation, run.environment, run.config
    data = evaluation.get("dataset", UNKNOWN)
    rate = f", {evaluation['fps']:g} Hz" if "fps" in evaluation else ""
    names = ("langpose_dist", "python", "torch", "deepspeed")
    devices, num_processes = (environment.get(name, UNKNOWN) for name in ("devices", "world_size"))
    return {
        "task": config.task,
        "commit": _say_commit(run.commit, environment.get("git_dirty", UNKNOWN)),
        "commit of the evaluation": _say_commit(
            str(evaluation.get("commit", UNKNOWN)), str(evaluation.get("commit_dirty", UNKNOWN))
        ),
        "configuration": config.hash(),
        "data": f"{data}{rate}, fingerprint {run.fingerprint[:16]}",
        "splits": f"trained on {config.data.train_split}, watched on {config.data.validation_split}",
        "licence of the data": config.data.licence or NO_LICENCE,
        "2D source": str(evaluation.get("source_2d", UNKNOWN)),
        "space": config.target.space,
        "window": f"{config.window.num_frames} frames",
        "encoder": f"width {config.model.dim}, depth {config.model.depth}, {config.model.num_heads} heads",
        "initial weights": _say_path(config.model.initial_weights) or "none: random",
        "contrastive loss": config.loss.contrastive,
        "seed": str(config.seed),
        "machine": f"{devices}; processes: {num_processes}",
        "versions": ", ".join(f"{name} {environment[name]}" for name in names if name in environment)
        or UNKNOWN,
        "MLflow run": run.record.get("run_id", NONE),
    }


def _say_path(path: Path | str | None) -> str:
    """The file and its folder: the page goes to others, whom this machine does not concern."""
    return "/".join(Path(path or "").parts[-2:])


def _say_commit(commit: str, dirty: str) -> str:
    changes = {"true": ", with uncommitted changes", "false": ""}
    return commit[:12] + changes.get(dirty, ", uncommitted changes unknown")


def training(runs: Sequence[Run], folder: Path) -> Section:
    """Status and last losses, and the curves of each run."""
    rows, figures = [], {}
    for place, run in enumerate(runs):
        losses = [line for line in run.lines if "train/loss" in line]
        last = losses[-1] if losses else {}
        rows.append(
            [
                run.name,
                run.folder.read_status() or UNKNOWN,
                str(max((line["step"] for line in run.lines), default=0)),
                say_number(last.get("train/epoch")),
                say_number(last.get("train/loss")),
                str(run.config.train.global_batch_size),
                f"{run.config.optimizer.learning_rate:g}",
            ]
        )
        if losses:
            path = folder / f"curves-{place}.svg"
            draw_curves(path, run.lines)
            figures[path.name] = f"{run.name}: losses by step"
    head = ["run", "status", "steps", "epochs", "last training loss", "windows a step", "learning rate"]
    reasons = [f"{run.name}: {reason}" for run in runs if (reason := run.folder.read_reason())]
    return Section("Training", tables=[Table(head, rows)], below=reasons, figures=figures)


def pictures(runs: Sequence[Run], folder: Path) -> Section | None:
    """A few of the pictures that training drew of lifted poses; ``None`` without any."""
    figures = {}
    for place, run in enumerate(runs):
        for path in sorted(run.folder.pictures.glob("*.png"))[:_PICTURES]:
            copy = folder / f"run-{place}-{path.name}"
            shutil.copyfile(path, copy)
            figures[copy.name] = f"{run.name}: {path.stem}, of split {run.config.data.validation_split}"
    return Section("Lifted poses", figures=figures) if figures else None


def efficiency(reports: Mapping[str, Mapping[str, Any]]) -> Section | None:
    """Parameters, FLOPs and, where it was measured, speed; ``None`` without a report.

    Args:
        reports: By name of the model, as ``langpose model summary --json`` prints them.
    """
    section = Section("Efficiency")
    for name, report in reports.items():
        parts = [
            [
                part["name"],
                f"{part['parameters']:,}",
                f"{part['trainable']:,}",
                f"{part['flops_forward'] / 1e9:.3f}",
                f"{part['flops_step'] / 1e9:.3f}",
            ]
            for part in (*report["parts"], report["total"])
        ]
        origin = (
            f"configuration {report.get('config_hash', UNKNOWN)}, commit {report.get('commit', UNKNOWN)[:12]}"
        )
        title = f"{name}: {report['batch_size']} x {report['num_frames']} frames; {origin}"
        head = ["part", "parameters", "trainable", "GFLOP forward", "GFLOP step"]
        section.tables.append(Table(head, parts, title))
        section.lines += [f"{name}: {note}" for note in report["notes"]]
        if speeds := report.get("speeds"):
            section.tables.append(_speeds(name, speeds))
    return section if section.tables else None


def _speeds(name: str, speeds: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            speed["device"],
            speed["precision"],
            str(speed["batch_size"]),
            f"{speed['milliseconds']:.1f}",
            f"{speed['frames_per_second']:,.0f}",
            NONE if speed["peak_memory_bytes"] is None else f"{speed['peak_memory_bytes'] / 2**30:.2f}",
        ]
        for speed in speeds
    ]
    head = ["device", "precision", "windows", "latency (ms)", "frames per second", "peak memory (GiB)"]
    return Table(head, rows, f"{name}: lifting, median of five calls")
