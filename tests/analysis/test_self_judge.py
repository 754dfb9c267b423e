"""R-precision by a pretrained model's own embeddings."""

import numpy as np
import pytest
import torch

from langpose_dist.analysis import self_judge
from langpose_dist.analysis.embeddings import SpanSet, see_windows
from langpose_dist.analysis.self_judge import SelfJudge
from langpose_dist.data.windows import Window
from langpose_dist.evaluation.caption_evaluator import CaptionedClip
from langpose_dist.evaluation.contenders import Contender
from tests.analysis.labelled import contender
from tests.captions import build_captions, caption_config


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> SelfJudge:
    root = tmp_path_factory.mktemp("captions")
    build_captions(root, train_clips=34, fps=10.0)
    model = contender(str(root))
    return SelfJudge(model, caption_config(root, data={"validation_split": "train"}))


@pytest.fixture
def clips() -> list[CaptionedClip]:
    motion = np.zeros((1, 102), np.float32)
    return [CaptionedClip(f"train{n:02d}", f"train{n:02d}", (3, 15), motion, ("x",)) for n in range(34)]


def test_only_the_described_frames_of_each_clip_count(
    judge: SelfJudge, clips: list[CaptionedClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions with the motions' own features are right; shifted by one, all are wrong."""
    corpus, model = judge.motion.corpus, judge.model.model
    features = []
    for view, clip in enumerate(clips):
        place, _ = judge.clips[clip.key]
        window = Window(place.shard_index, place.sample_index, place.entry, 3, 15, ())
        # 12 frames are two windows of 9 at most: halves of six, shown with what is around them.
        halves = []
        for first in (3, 9):
            begin = max(min((2 * first + 6 - 9) // 2, place.entry.num_frames - 9), 0)
            window = Window(place.shard_index, place.sample_index, place.entry, begin, begin + 9, ())
            seen = see_windows(corpus, [window], [view], 9)
            mask = torch.zeros(1, 9, dtype=torch.bool)
            mask[0, first - begin : first - begin + 6] = True
            with torch.inference_mode():
                halves.append(model(seen.keypoints_2d, mask).motion_features[0])
        features.append(torch.stack(halves).mean(dim=0))
    expected = torch.nn.functional.normalize(torch.stack(features), dim=-1).numpy()

    def text_features(_: Contender, captions: list[str]) -> np.ndarray:
        return expected[[int(text) for text in captions]]

    monkeypatch.setattr(self_judge, "label_features", text_features)
    embedded = []
    embed = self_judge.embed_spans

    def spy(one: Contender, spans: SpanSet) -> np.ndarray:
        embedded.append(embed(one, spans))
        return embedded[-1]

    monkeypatch.setattr(self_judge, "embed_spans", spy)
    hits = judge.hits(clips, [str(n) for n in range(34)], top=1)
    np.testing.assert_allclose(embedded[0], expected, atol=1e-5)
    assert hits.mean() == 1
    assert judge.hits(clips, [str((n + 1) % 34) for n in range(34)], top=1).mean() < 0.2
    # Every row of a report asks for the same motions: they are embedded once.
    judge.hits(clips[1:], [str(n) for n in range(1, 34)])
    assert len(embedded) == 1
    np.testing.assert_allclose(judge.embed_motions(clips[1:]), expected[1:], atol=1e-5)


def test_it_names_its_weights(judge: SelfJudge) -> None:
    assert judge.sha256 == "abc"
    assert judge.origin == "ours, its own text and pose side: a diagnostic"
