"""``langpose infer --caption``, from a file of keypoints to sentences."""

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
from langpose_dist.tasks.exported import Exported, load_exported
from tests.captions import caption_config
from tests.corpus import tiny_config
from tests.exports import save_weights
from tests.inference.figures import standing

WORDS = ["a person walks", "someone waves the left hand", "he stands"]


def captioner(folder: Path, **changes: Any) -> str:
    """Random weights: it says something, whatever it is."""
    config = caption_config(folder, caption=changes)
    torch.manual_seed(3)
    model = Captioner.build(config, WordTokenizer.train(WORDS, min_count=1, max_words=20))
    path = folder / f"{config.caption.input}.safetensors"
    write_weights(path, model.state_dict(), weights_header(model.header(), config, {"fps": "10.0"}))
    return str(path)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command, with a lifting model of random weights."""
    np.save(tmp_path / "keypoints.npy", standing(241))
    config = tiny_config(tmp_path)
    torch.manual_seed(0)
    model = tmp_path / "model.safetensors"
    save_weights(model, LangPose(config, text_dim=8), config, {"fps": "30.0", "space": "camera"})
    words = ["infer", str(tmp_path / "keypoints.npy"), "--layout", "h36m17", "--fps", "30"]
    return [*words, "--model", str(model), "--out", str(tmp_path / "out")]


def test_keypoints_are_described_part_by_part(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = captioner(tmp_path, input="projected_2d")
    assert main([*words, "--caption", path]) == 0
    output = capsys.readouterr().out.splitlines()
    (clip,) = (tmp_path / "out").glob("*.json")
    facts = json.loads(clip.read_text())["facts"]["captions"]
    assert (facts["model"], facts["input"], facts["text_form"]) == (path, "projected_2d", "words")
    parts = facts["parts"]
    # 8 s at the captioner's 10 frames a second are 81 frames: three windows of 27 instead of 40, 40 and 1.
    assert [(one["start_s"], one["end_s"]) for one in parts] == [(0.0, 2.6), (2.7, 5.3), (5.4, 8.0)]
    assert f"    0.00 to 2.60 s: {parts[0]['caption']}" in output
    known = {word for text in WORDS for word in text.split()}
    assert all(one["caption"] and set(one["caption"].split()) <= known for one in parts)
    # As large as people of training: focal lengths of 1.5 to 3 at 3 to 7 m.
    inputs, _ = normalise_box(standing(241)[::3][None, :27], units_per_metre=4.5 / 10)
    assert load_exported(path).predict(inputs).tolist() == [parts[0]["caption"]]


@pytest.mark.parametrize(
    ("fps", "num_parts", "last"),
    [
        # The last of 241 frames is at 8.008 s, which the captioner's 10 a second reach at 8.1.
        ("29.97", 3, (5.4, 8.01)),
        # Taken for the same rate: frames 206 to 240 of the video.
        ("10.04", 7, (20.52, 23.9)),
    ],
)
def test_times_are_those_of_the_video(
    words: list[str], tmp_path: Path, fps: str, num_parts: int, last: tuple[float, float]
) -> None:
    words[words.index("--fps") + 1] = fps
    assert main([*words, "--caption", captioner(tmp_path, input="projected_2d"), "--formats", "json"]) == 0
    (clip,) = (tmp_path / "out").glob("*.json")
    parts = json.loads(clip.read_text())["facts"]["captions"]["parts"]
    assert len(parts) == num_parts
    assert (parts[0]["start_s"], parts[-1]["start_s"], parts[-1]["end_s"]) == (0, *last)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Inputs of the captioner, which is not asked."""
    inputs_of_all: list[np.ndarray] = []

    def describe(self: Exported, inputs: np.ndarray) -> np.ndarray:
        inputs_of_all.append(inputs)
        return np.array(["a person walks"])

    monkeypatch.setattr(Exported, "predict", describe)
    return inputs_of_all


def test_a_captioner_that_learned_without_noise_sees_no_doubt(
    words: list[str], tmp_path: Path, described: list[np.ndarray]
) -> None:
    keypoints = standing(241)
    keypoints[..., 2] = 0.7
    np.save(tmp_path / "keypoints.npy", keypoints)
    assert main([*words, "--caption", captioner(tmp_path, input="projected_2d")]) == 0
    assert len(described) == 3
    assert all((inputs[..., 2] == 1).all() for inputs in described)


def test_a_captioner_of_3d_joints_describes_the_lifted_ones(
    words: list[str], tmp_path: Path, described: list[np.ndarray]
) -> None:
    assert main([*words, "--caption", captioner(tmp_path)]) == 0
    (clip,) = (tmp_path / "out").glob("*.npz")
    with np.load(clip) as file:
        poses = file["poses_3d"]
    np.testing.assert_allclose(np.concatenate(described, axis=1)[0], poses[::3], atol=1e-6)


def test_a_model_that_writes_no_captions_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lifter = words[words.index("--model") + 1]
    assert main([*words, "--caption", lifter]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--caption {lifter} was trained with task=pretrain and writes none" in line
    assert not (tmp_path / "out").exists()
