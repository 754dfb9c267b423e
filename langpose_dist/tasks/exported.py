"""Exported models of every task: rebuilt from the file alone."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import nn

import langpose_dist
from langpose_dist.config import RunConfig, UserError, build_config, with_overrides
from langpose_dist.config.affects import MODEL, keys_that_affect
from langpose_dist.models.weights import read_header, without_wrappers
from langpose_dist.tasks.task import Task, load_task


@dataclass(frozen=True)
class Exported:
    """A model of a file, on the CPU and in evaluation mode."""

    task: type[Task]
    model: nn.Module
    config: RunConfig
    header: Mapping[str, str]

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Answer of the model, as the task's ``interface`` describes it.

        Raises:
            ValueError: If the input is outside of the contract.
        """
        return self.task.predict(self.model, self.config, inputs)


def read_config(path: Path) -> RunConfig:
    """Configuration of the run that an exported model comes from.

    Raises:
        UserError: If the file is missing, damaged, or not an export.
    """
    return build_config(json.loads(read_header(path)["config"]))


def load_exported(path: Path | str) -> Exported:
    """Rebuild an exported model.

    Raises:
        UserError: If the file is missing, damaged, or not an export, or if its task is not installed.
    """
    path = Path(path)
    header = read_header(path)
    try:
        config = build_config(json.loads(header["config"]))
        task = load_task(config.task)
        model = task.rebuild(config, header)
        model.load_state_dict(without_wrappers(load_file(path)), assign=True)
    except Exception as error:  # the header is anybody's: whatever it makes torch or transformers raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be rebuilt by langpose_dist {langpose_dist.__version__} "
            f"(written by {header.get('langpose_dist', 'an unknown version')}): {reason}"
        ) from None
    return Exported(task, model.eval(), config, header)


def override_config(stored: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The configuration of a file with ``key.sub=value`` overrides for an evaluation.

    Raises:
        UserError: If an override is a mistake, or would describe another model.
    """
    config = build_config(with_overrides(stored.to_dict(), overrides))
    fixed, before = keys_that_affect(type(stored), MODEL), stored.to_flat()
    for key, value in config.to_flat().items():
        if key in fixed and before[key] != value:
            raise UserError(f"{key} belongs to the weights and cannot be overridden in an evaluation")
    return config
