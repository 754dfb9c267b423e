from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langpose_dist.config import UserError
from langpose_dist.data.sample import Sample, Span
from langpose_dist.evaluation.caption_evaluator import (
    TEMPERATURE,
    CaptionEvaluator,
    contrast,
    motion_features,
    read_captioned_clips,
    read_described_clips,
    train_evaluator,
)
from langpose_dist.skeleton import H36M17
from langpose_dist.tasks.task import Caption
from tests.corpus import build_samples

VERBS = ("walks", "jumps", "sits", "kicks", "waves", "dances", "falls", "claps")
MANNERS = ("slowly", "with joy", "on a chair", "like a dog")
SENTENCES = [f"a person {verb} {manner}" for verb in VERBS for manner in MANNERS]
FPS = 25.0


def perform(kind: int, number: int) -> Sample:
    """A posture of its own for each kind, a little different each time."""
    kinds, own = np.random.default_rng(kind), np.random.default_rng([kind, number])
    pose = kinds.normal(scale=0.5, size=(17, 3)) + own.normal(scale=0.02, size=(17, 3))
    poses = np.repeat(pose[None], 20 + number, axis=0).astype(np.float32)
    caption = Span(SENTENCES[kind], 0, len(poses), words=f"{SENTENCES[kind].replace(' ', '/X ')}/X")
    return Sample(f"{kind}-{number}", poses, (), {"recording": f"r{kind}"}, captions=(caption,))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("captions")
    build_samples(root, [perform(kind, 0) for kind in range(len(SENTENCES))], FPS)
    return str(root)


def test_an_evaluator_learns_and_says_the_same_after_reloading(corpus: str, tmp_path: Path) -> None:
    evaluator = train_evaluator(corpus, epochs=60)
    clips = read_captioned_clips(corpus, "validation", "words")
    right = [clip.captions[0] for clip in clips]
    assert evaluator.hits(clips, right)[:, 0].mean() > 0.9
    assert evaluator.hits(clips, right[1:] + right[:1])[:, 0].mean() < 0.1
    assert evaluator.hits(clips, ["a person walks"] * len(clips)).max() == 0

    evaluator.save(tmp_path / "evaluator.safetensors")
    again = CaptionEvaluator.load(tmp_path / "evaluator.safetensors")
    assert torch.equal(again.hits(clips, right), evaluator.hits(clips, right))
    assert again.facts == evaluator.facts
    written = [f"{one.capitalize()}." for one in right]
    assert torch.equal(again.embed_texts(written), evaluator.embed_texts(right))
    assert again.facts["text_form"] == "words"
    assert len(again.sha256) == 64


def test_the_best_epoch_s_weights_are_kept_and_patience_ends(
    corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores: list[float] = []

    def hits(self: CaptionEvaluator, *arguments: Any) -> torch.Tensor:
        return torch.full((1, 3), scores.pop(0))

    monkeypatch.setattr(CaptionEvaluator, "hits", hits)
    scores += [0.1, 0.6]
    expected = train_evaluator(corpus, epochs=2).model.state_dict()
    scores += [0.1, 0.6, 0.5, 0.6, 0.9]
    found = train_evaluator(corpus, patience=2)
    assert (found.facts["epoch"], scores) == (2, [0.9])
    assert found.facts["validation_r_at_1"] == pytest.approx(0.6)
    assert all(torch.equal(value, expected[name]) for name, value in found.model.state_dict().items())


def test_described_clips_are_the_frames_that_were_described(corpus: str) -> None:
    clip = read_captioned_clips(corpus, "validation", "raw")[5]
    captions = [Caption(clip.key, (4, 16), "x", clip.captions, "raw")]
    (found,) = read_described_clips(corpus, "validation", captions)
    assert (found.key, found.captions) == (clip.key, clip.captions)
    assert found.recording == clip.recording == f"r{SENTENCES.index(clip.captions[0])}"
    assert len(found.motion) == 6  # 12 frames at 25 Hz are 6 at 12.5
    np.testing.assert_allclose(found.motion[0, ::6], clip.motion[2, ::6], atol=1e-6)


def test_motion_features_do_not_depend_on_place_and_direction() -> None:
    rng = np.random.default_rng(0)
    poses = rng.normal(size=(9, 17, 3)).cumsum(axis=0)
    angle = 2.1
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    found, moved = motion_features(poses, 12.5), motion_features(poses @ turn.T + [3, -2, 0], 12.5)
    np.testing.assert_allclose(found, moved, atol=1e-5)
    joints = found.reshape(9, 17, 6)
    hips = joints[0, H36M17.index("left_hip"), :3] - joints[0, H36M17.index("right_hip"), :3]
    assert hips[0] > 0
    assert hips[1] == pytest.approx(0, abs=1e-6)
    # The pelvis stays at 0 and keeps its velocity.
    travelled = np.linalg.norm(poses[1, 0] - poses[0, 0]) * 12.5
    assert np.linalg.norm(joints[0, 0, 3:]) == pytest.approx(travelled, rel=1e-5)


def test_contrast_leaves_out_sentences_that_say_the_same() -> None:
    motion = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    text = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))
    alike = torch.zeros(4, 4, dtype=torch.bool)
    alike[0, 2] = alike[2, 0] = True
    exponents = (motion @ text.T / TEMPERATURE).exp()
    total = 0.0
    for row in range(4):
        others = [place for place in range(4) if not alike[row, place]]
        total -= float((exponents[row, row] / exponents[row, others].sum()).log()) / 8
        total -= float((exponents[row, row] / exponents[others, row].sum()).log()) / 8
    assert float(contrast(motion, text, alike)) == pytest.approx(total, rel=1e-5)


def test_too_few_captions_are_named(tmp_path: Path) -> None:
    build_samples(tmp_path, [perform(kind, 0) for kind in range(8)], FPS)
    with pytest.raises(UserError, match=r"motions of split 'train' have captions .*, the evaluator needs 32"):
        train_evaluator(str(tmp_path))


def test_another_file_is_no_evaluator(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be read"):
        CaptionEvaluator.load(tmp_path / "model.safetensors")
