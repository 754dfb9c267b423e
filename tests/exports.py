"""Exported models for tests: written without a task, read without its wrapping."""

from collections.abc import Mapping
from pathlib import Path

from langpose_dist.config import RunConfig
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.tasks.exported import load_exported


def save_weights(path: Path | str, model: LangPose, config: RunConfig, extra: Mapping[str, str]) -> None:
    """Write a model as a run exports it."""
    write_weights(path, model.state_dict(), weights_header(model.header(), config, extra))


def load_langpose(path: Path | str) -> tuple[LangPose, RunConfig]:
    """Read a model and its configuration."""
    exported = load_exported(path)
    assert isinstance(exported.model, LangPose)
    return exported.model, exported.config
