"""Folders as trainings leave them, for the tests of exports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langpose_dist.config import RunConfig
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.lifter import Lifter
from langpose_dist.models.weights import weights_header, write_weights
from tests.exports import save_weights
from tests.tracking.registering import evaluation, tiny_config

HEADER = {
    "fps": "30.0",
    "dataset": "toy",
    "data_fingerprint": "d" * 64,
    "config_hash": "c0ffee",
    "commit": "abc",
}


def make_run(folder: Path, config: RunConfig | None = None) -> Path:
    """A finished pretraining, with its numbers."""
    config = config or tiny_config(data={"licence": "CC BY 4.0"})
    torch.manual_seed(0)
    save_weights(folder / "model.safetensors", LangPose(config, text_dim=12), config, HEADER)
    (folder / "evaluation.json").write_text(json.dumps(evaluation()), encoding="utf-8")
    return folder


def make_image_run(folder: Path) -> Path:
    """A finished fine-tuning with averaged weights in the image's space, of people of 4 m of limbs."""
    config = tiny_config(task="finetune", target={"space": "image_25d"}, finetune={"ema_decay": 0.9})
    torch.manual_seed(1)
    header = {"space": "image_25d", "limb_total": "4.000000", "scale_source": "a guess"}
    write_weights(
        folder / "model.safetensors", Lifter(config).state_dict(), weights_header(header, config, HEADER)
    )
    return folder


def clips(*shape: int) -> np.ndarray:
    """Random keypoints, float32, of shape ... x 17 x 3."""
    generator = np.random.default_rng(0)
    return generator.random((*shape, 17, 3)).astype(np.float32)


def as_tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))
