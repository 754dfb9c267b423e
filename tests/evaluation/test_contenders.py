"""Models as files of both kinds."""

from pathlib import Path

import pytest
import torch

from langpose_dist.config import ModelConfig, UserError
from langpose_dist.evaluation.contenders import open_contender
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.tasks.pretrain import PretrainTask
from tests.corpus import build_corpus, open_corpus
from tests.exports import save_weights


def test_motionberts_file_is_evaluated_in_its_own_space(tmp_path: Path) -> None:
    encoder = DSTformer(ModelConfig(dim=8, dim_representation=8, depth=1, num_heads=8), num_frames=9)
    torch.save({"model_pos": encoder.state_dict()}, tmp_path / "best_epoch.bin")
    found = open_contender(tmp_path / "best_epoch.bin", "MB")
    assert (found.space, found.num_frames, found.fps, found.config) == ("image_25d", 9, None, None)
    assert found.facts["trained_by"] == "MotionBERT"
    assert len(found.facts["weights_sha256"]) == 64


def test_an_export_brings_its_space_rate_and_origin(tmp_path: Path) -> None:
    build_corpus(tmp_path / "shards")
    corpus = open_corpus(tmp_path / "shards")
    task = PretrainTask.build(corpus.config, corpus)
    header = {"fps": "30.0", "step": "7", "data_fingerprint": "abc"}
    save_weights(tmp_path / "model.safetensors", task.model, corpus.config, header)
    found = open_contender(tmp_path / "model.safetensors", "ours")
    assert (found.space, found.num_frames, found.fps) == ("camera", 9, 30.0)
    assert (found.facts["task"], found.facts["step"]) == ("pretrain", 7)
    assert found.facts["trained_on_fingerprint"] == "abc"
    keypoints = torch.rand(1, 9, 17, 3)
    torch.testing.assert_close(found.model.lift_windows(keypoints), task.eval().model.lift_windows(keypoints))


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.bin").write_text("no model")
    with pytest.raises(UserError, match=r"notes\.bin"):
        open_contender(tmp_path / "notes.bin", "x")
