"""``langpose caption``, from a file of keypoints to sentences."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langpose_dist.cli.main import main
from langpose_dist.inference.picture import normalise_box
from langpose_dist.models.captioner import Captioner
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.models.words import WordTokenizer
from langpose_dist.tasks.exported import load_exported
from tests.captions import caption_config
from tests.corpus import tiny_config
from tests.exports import save_weights
from tests.inference.figures import standing

WORDS = ["a person walks", "someone waves the left hand", "he stands"]


def captioner(folder: Path, **changes: Any) -> Path:
    """Random weights: it says something, whatever it is."""
    config = caption_config(folder, caption=changes)
    torch.manual_seed(3)
    model = Captioner.build(config, WordTokenizer.train(WORDS, min_count=1, max_words=20))
    path = folder / f"{config.caption.input}.safetensors"
    write_weights(path, model.state_dict(), weights_header(model.header(), config, {"fps": "10.0"}))
    return path


@pytest.fixture
def keypoints(tmp_path: Path) -> list[str]:
    np.save(tmp_path / "keypoints.npy", standing(241))
    return ["caption", str(tmp_path / "keypoints.npy"), "--layout", "h36m17", "--fps", "30"]


def test_keypoints_are_described_part_by_part(
    keypoints: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = captioner(tmp_path, input="projected_2d")
    assert main([*keypoints, "--model", str(path), "--json"]) == 0
    captions = json.loads(capsys.readouterr().out)["captions"]
    # 8 s at the model's 10 frames a second are 81 frames: three windows of 27 instead of 40, 40 and 1.
    assert [(one["start_s"], one["end_s"]) for one in captions] == [(0.0, 2.6), (2.7, 5.3), (5.4, 8.0)]
    known = {word for text in WORDS for word in text.split()}
    assert all(one["caption"] and set(one["caption"].split()) <= known for one in captions)
    # As large as people of training: focal lengths of 1.5 to 3 at 3 to 7 m.
    inputs, _ = normalise_box(standing(241)[::3][None, :27], units_per_metre=4.5 / 10)
    assert load_exported(path).predict(inputs).tolist() == [captions[0]["caption"]]
    assert main([*keypoints, "--model", str(path)]) == 0
    assert (
        capsys.readouterr().out.splitlines()[0] == f"person 0      0.00 to 2.60 s  {captions[0]['caption']}"
    )


def test_a_captioner_of_3d_joints_is_given_lifted_ones(
    keypoints: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = captioner(tmp_path)
    settings = tiny_config(tmp_path)
    torch.manual_seed(0)
    lifter = tmp_path / "lifter.safetensors"
    save_weights(lifter, LangPose(settings, text_dim=8), settings, {"fps": "30.0", "space": "camera"})
    assert main([*keypoints, "--model", str(path)]) == 2
    assert "add --lift MODEL" in capsys.readouterr().err
    assert main([*keypoints, "--model", str(path), "--lift", str(lifter), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["captions"]) == 3
    assert main([*keypoints, "--model", str(lifter)]) == 2
    assert "task=pretrain and gives no captions" in capsys.readouterr().err
    other = captioner(tmp_path, input="projected_2d")
    assert main([*keypoints, "--model", str(other), "--lift", str(lifter)]) == 2
    assert "leave out --lift" in capsys.readouterr().err
