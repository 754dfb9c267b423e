"""Trainings that a benchmark compares: each a run of its own, made once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def train_once(folder: Path, config: Path, *overrides: str, processes: int) -> dict[str, Any]:
    """The evaluation of a training, which is started or resumed unless its folder holds a finished one.

    Args:
        folder: The run's folder.
        config: Configuration file.
        overrides: ``key=value`` words.
        processes: Ranks on this machine.
    """
    evaluation = folder / "evaluation.json"
    if not evaluation.exists():
        launcher = [sys.executable, str(Path(sys.executable).with_name("deepspeed"))]
        target = ["--num_gpus", str(processes), str(ROOT / "launch/train.py"), "--resume-if-started"]
        options = ["--config", str(config), f"output={folder}", "tracking.enabled=false"]
        options += ["tracking.register_as=null", *overrides]
        subprocess.run([*launcher, *target, *options], check=True)
    return json.loads(evaluation.read_text(encoding="utf-8"))
