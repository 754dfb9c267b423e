"""A finished run's folder and the reports beside it, made up by hand."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from langpose_dist.config import build_config
from langpose_dist.report.plots import draw_skeletons

FINGERPRINT, COMMIT = "f" * 64, "a" * 40
WINDOWS = "every frame in one window"
SMALL_MODEL = {"dim": 16, "dim_representation": 16, "depth": 1, "num_heads": 2}


def evaluation(**changes: Any) -> dict[str, Any]:
    """Content of ``evaluation.json``."""
    content = {
        "split": "validation",
        "source_2d": "synthetic",
        "num_windows": 50,
        "num_frames": 417,
        "space": "camera",
        "num_labelled_windows": 41,
        "num_labels": 16,
        "conditions": {
            "clean": {"mpjpe_mm": 50.04, "p_mpjpe_mm": 40.0, "r_at_1": 0.5, "loss": 0.1},
            "noisy": {"mpjpe_mm": 61.5, "p_mpjpe_mm": 48.0, "r_at_1": 0.25, "loss": 0.2},
        },
        "mean_pose": {"mpjpe_mm": 150.0},
        "chance": {"r_at_1": 0.0625},
        "protocol": {"mpjpe_mm": "mean error", "r_at_k": "share of windows", "windows": WINDOWS},
        "dataset": "made <b>up</b>",
        "fps": 10.0,
        "data_fingerprint": FINGERPRINT,
        "commit": COMMIT,
        "commit_dirty": "false",
    }
    return content | changes


def make_run(folder: Path, *, config: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A finished run; ``changes`` are those of its evaluation."""
    folder.mkdir(parents=True)
    small = {
        "task": "finetune",
        "model": SMALL_MODEL,
        "window": {"num_frames": 9, "stride": 9, "min_span_frames": 8},
        "masking": {"time_window_frames": [2, 4]},
    }
    content = build_config(small | (config or {})).to_dict()
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    (folder / "evaluation.json").write_text(json.dumps(evaluation(**changes)))
    lines = [
        {"step": step, "train/loss": 1 / step, "train/epoch": step / 10, "validation/clean/loss": 2 / step}
        for step in (10, 20, 30)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "status.json").write_text(json.dumps({"status": "finished", "step": 30}))
    environment = {"git_commit": COMMIT, "git_dirty": "false", "torch": "2.0", "devices": "CPU"}
    (folder / "run.json").write_text(json.dumps({"environment": environment}))
    poses = torch.randn(2, 17, 3, generator=torch.Generator().manual_seed(0)) / 4
    draw_skeletons(folder / "pictures" / "skeletons-00.png", poses, poses + 0.02, frames=2)
    return folder


def protocol_report(*names: str, **changes: Any) -> dict[str, Any]:
    """What ``langpose evaluate --protocol`` writes of models, each 10 mm better than the one before."""
    actions = ("sit", "walk")
    models = [
        {
            "name": name,
            "num_frames": 100,
            "action_mean": {"mpjpe_mm": 80.0 - 10 * place},
            "frame_mean": {"mpjpe_mm": 70.0 - 10 * place},
            "sets": {},
            "actions": {action: {"mpjpe_mm": 80.0 - 10 * place} for action in actions},
            "model": {"checkpoint_chosen_on": "nothing"},
        }
        for place, name in enumerate(names)
    ]
    content = {
        "protocol": {
            "name": "virtual_camera",
            "title": "any motion",
            "space": "camera",
            "metrics": ["mpjpe_mm"],
            "group": "action",
            "scale_source": "none: metric poses",
            "root": "pelvis at 0",
            "clip_rule": "every_frame",
            "merging": "none",
            "flip_averaging": True,
        },
        "data": {
            "dataset": "made",
            "split": "test",
            "fps": 10.0,
            "fingerprint": FINGERPRINT,
            "num_recordings": 3,
            "num_frames": 100,
            "excluded": {},
            "source_2d": "synthetic",
        },
        "commit": COMMIT,
        "commit_dirty": "false",
        "models": models,
        "improvements": [
            {
                "model": name,
                "baseline": names[0],
                "metric": "mpjpe_mm",
                "mean": 10.0 * place,
                "low": 10.0 * place - 15,
                "high": 10.0 * place + 5,
                "actions": dict.fromkeys(actions, 10.0 * place),
            }
            for place, name in enumerate(names)
            if place
        ],
    }
    return content | changes


def robustness(*names: str) -> dict[str, Any]:
    """Section ``robustness`` of such a report."""
    models = [
        {
            "name": name,
            "clean_input": 80.0,
            "all_joints": [80.0, 90.0],
            "corrupted_joints": [None, 90.0],
            "intact_joints": [80.0, None],
            "area": 85.0,
        }
        for name in names
    ]
    curve = {
        "corruption": "noise_px",
        "variant": "blind",
        "description": "Gaussian error",
        "unit": "px",
        "levels": [0, 5],
        "models": models,
        "improvements": [],
    }
    return {"version": 1, "metric": "mpjpe_mm", "mean": "over actions", "curves": [curve]}
