"""Trained models that an evaluation compares: our exports of tasks that lift, and MotionBERT's files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig, Space, UserError
from langpose_dist.host.atomic import hash_file
from langpose_dist.models.pretrained import read_motionbert
from langpose_dist.models.weights import is_export
from langpose_dist.tasks.exported import load_exported


@dataclass(frozen=True)
class Contender:
    """One model, on the CPU."""

    name: str
    """For tables: as the user named it."""
    model: Any
    """With a method ``lift_windows``."""
    space: Space
    num_frames: int
    fps: float | None
    """Rate that it was trained at; ``None`` where its file does not say."""
    config: RunConfig | None
    """Configuration of its training; ``None`` for another project's."""
    facts: Mapping[str, Any]
    """Origin of the weights, for the report."""

    @property
    def held_out_camera(self) -> str | None:
        """Camera that training left out."""
        return self.config.data.held_out_camera if self.config else None


def open_contender(path: Path, name: str) -> Contender:
    """Load a model from exported safetensors or a MotionBERT checkpoint.

    Raises:
        UserError: If it is neither, or its task lifts no poses.
    """
    digest = hash_file(path) if path.is_file() else ""
    if path.suffix != ".safetensors" or (path.is_file() and not is_export(path)):
        model = read_motionbert(path)
        return Contender(
            name=name,
            model=model,
            space="image_25d",
            num_frames=model.num_frames,
            fps=None,
            config=None,
            facts={
                "weights_sha256": digest,
                "trained_by": "MotionBERT",
                "checkpoint_chosen_on": "not in the file; MotionBERT's best_epoch.bin: its test split",
            },
        )
    exported = load_exported(path)
    if not hasattr(exported.model, "lift_windows"):
        raise UserError(f"{name}: task={exported.config.task} lifts no poses; give a model that does")
    config, header = exported.config, exported.header
    return Contender(
        name=name,
        model=exported.model,
        space=config.target.space,
        num_frames=config.window.num_frames,
        fps=float(header["fps"]) if "fps" in header else None,
        config=config,
        facts={
            "weights_sha256": digest,
            "task": config.task,
            "trained_on": header.get("dataset", "unknown"),
            "trained_on_fingerprint": header.get("data_fingerprint", "unknown"),
            "trained_at_commit": header.get("commit", "unknown"),
            "config_hash": header.get("config_hash", "unknown"),
            "step": int(header.get("step", 0)),
            "seed": config.seed,
            "checkpoint_chosen_on": f"nothing if the run's last; split {config.data.validation_split!r} if "
            "its best",
        },
    )
