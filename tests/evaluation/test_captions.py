from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from langpose_dist.config import UserError
from langpose_dist.data.sample import Sample, Span
from langpose_dist.evaluation import captions as rows_module
from langpose_dist.evaluation.caption_evaluator import CaptionedClip, CaptionEvaluator
from langpose_dist.evaluation.captions import captions_text, evaluate_captions, score_captions
from langpose_dist.metrics.caption import CaptionScores
from langpose_dist.metrics.retrieval import recall_in_batches
from langpose_dist.models.matcher import CaptionMatcher
from langpose_dist.models.text import TextEncoder
from langpose_dist.tasks.task import Caption
from tests.captions import caption_config
from tests.corpus import build_samples, swing

TEXTS = (
    ("a person walks forward", "someone walks ahead"),
    ("a person jumps", "a human jumps up"),
    ("a person waves with the left hand",),
)


def clips_of(number: int) -> list[CaptionedClip]:
    motion = np.zeros((20, 102), np.float32)
    # A motion and its mirrored copy are one recording.
    return [
        CaptionedClip(f"clip-{n}", f"recording-{n // 2}", (0, 20), motion, TEXTS[n % 3])
        for n in range(number)
    ]


class Oracle(CaptionEvaluator):
    """An evaluator that knows which words belong to which clip."""

    def __init__(self) -> None:
        facts = {"seed": 0, "dataset": "made-up", "fingerprint": "f" * 64}
        super().__init__(CaptionMatcher(8), TextEncoder.__new__(TextEncoder), facts, "0" * 64)

    def hits(self, clips: Sequence[CaptionedClip], captions: Sequence[str], top: int = 3) -> Tensor:
        right = [text in clip.captions for clip, text in zip(clips, captions, strict=True)]
        motions = torch.eye(len(clips))
        texts = motions * torch.tensor(right)[:, None]
        return recall_in_batches(motions, texts, top=top)


def test_rows_are_scored_as_the_metrics_alone_score_them() -> None:
    clips = clips_of(12)
    generated = ["a person walks"] * 12
    report = score_captions(clips, {"model": generated}, ["A person jumps.", "a person jumps", "x"])
    rows = {row["name"]: row for row in report["rows"]}
    expected = CaptionScores.compute(generated, [clip.captions for clip in clips]).means()
    for name, value in expected.items():
        found = rows["model"]["metrics"][name]
        assert found["value"] == pytest.approx(float(value[0]))
        assert found["low"] <= found["value"] <= found["high"]
    assert report["num_recordings"] == 6
    assert "constant, most frequent: 'a person jumps'" in rows
    human = CaptionScores.compute(
        [clip.captions[0] for clip in clips if len(clip.captions) > 1],
        [clip.captions[1:] for clip in clips if len(clip.captions) > 1],
    )
    assert rows["person"]["num_clips"] == 8
    assert rows["person"]["metrics"]["rouge_l"]["value"] == pytest.approx(100 * human.rouge_l.mean())


def test_a_motion_and_its_mirrored_copy_are_drawn_together() -> None:
    clips = clips_of(2)
    report = score_captions(clips, {"model": [clips[0].captions[0], "x"]}, ["y"])
    rouge = report["rows"][0]["metrics"]["rouge_l"]
    assert rouge["low"] == rouge["value"] == rouge["high"] == pytest.approx(50)


def test_the_best_constant_has_the_best_bleu_of_the_candidates() -> None:
    candidates = ["a person walks forward", "someone dances", "a person jumps", "someone dances"]
    report = score_captions(clips_of(9), {"model": ["x"] * 9}, candidates)
    references = [clip.captions for clip in clips_of(9)]
    bleu = {
        text: float(CaptionScores.compute([text] * 9, references).means()["bleu_4"][0]) for text in candidates
    }
    best = max(bleu, key=lambda text: bleu[text])
    assert f"constant, best BLEU@4 here: {best!r}" in {row["name"] for row in report["rows"]}


def test_r_precision_counts_right_captions_and_a_constant_gets_none() -> None:
    clips = clips_of(40)
    right = [clip.captions[0] for clip in clips]
    half = [text if n % 2 else "nonsense" for n, text in enumerate(right)]
    evaluator = [Oracle(), Oracle()]
    report = score_captions(clips, {"right": right, "half": half}, right, evaluator)
    found = {row["name"]: row["metrics"]["r_precision_at_1"] for row in report["rows"][:2]}
    assert found["right"]["value"] == 1
    assert found["half"]["value"] == pytest.approx(0.5, abs=0.05)
    assert found["half"]["by_evaluator"] == [found["half"]["value"]] * 2
    assert report["evaluators"][0]["real_captions"] == [1, 1, 1]
    chance = captions_text(report).splitlines()[len(report["rows"])]
    assert chance.split() == ["chance", "-", "-", "-", "-", "0.031", "0.062", "0.094", "40"]
    text = captions_text(report)
    assert "R-precision by 000000000000, made-up ffffffffffffffff, seed 0: real captions 1.000" in text


def test_evaluators_of_different_kinds_are_not_averaged() -> None:
    class Sceptic(Oracle):
        metric = "self_r_precision"

        def hits(self, clips: Sequence[CaptionedClip], captions: Sequence[str], top: int = 3) -> Tensor:
            return torch.zeros(len(clips), top)

    clips = clips_of(40)
    right = [clip.captions[0] for clip in clips]
    report = score_captions(clips, {"right": right}, right, [Oracle(), Sceptic()])
    metrics = report["rows"][0]["metrics"]
    assert metrics["r_precision_at_1"]["value"] == 1
    assert metrics["self_r_precision_at_1"]["value"] == 0
    lines = captions_text(report).splitlines()
    assert lines[0].split()[7:11] == ["R-precision@3", "self", "R-precision@1", "self"]
    assert lines[-1].startswith("self R-precision by 000000000000, made-up")


def test_mirrored_copies_do_not_decide_on_the_most_frequent_caption(tmp_path: Path) -> None:
    texts = {"one": "a person walks", "copy": "a person jumps", "other-copy": "a person jumps"}
    samples = [
        Sample(
            key,
            swing(None, 30),
            (),
            {"mirrored": "yes" if "copy" in key else "no"},
            captions=(Span(text, 0, 30),),
        )
        for key, text in texts.items()
    ]
    build_samples(tmp_path, samples)
    generated = [Caption("validation-one", (0, 30), "a person walks", ("a person walks",), "raw")]
    report = evaluate_captions(caption_config(tmp_path, caption={"text_form": "raw"}), generated)
    assert report["rows"][1]["name"] == "constant, most frequent: 'a person walks'"


def test_examples_are_the_best_and_the_worst() -> None:
    clips = clips_of(40)
    generated = [clip.captions[0] if n < 3 else "x" for n, clip in enumerate(clips)]
    examples = score_captions(clips, {"model": generated}, ["y"])["examples"]
    assert len(examples) == 10
    assert [one["rouge_l"] for one in examples[:4]] == [100, 100, 100, 0]
    assert {one["clip"] for one in examples[:3]} == {"clip-0", "clip-1", "clip-2"}
    assert examples[-1]["generated"] == "x"


def test_too_few_clips_for_batches_are_refused() -> None:
    evaluator = [Oracle()]
    with pytest.raises(UserError, match="R-precision needs 32 clips with captions, there are 9"):
        score_captions(clips_of(9), {"model": ["x"] * 9}, ["y"], evaluator)


def test_the_table_says_form_and_signature() -> None:
    text = captions_text(score_captions(clips_of(9), {"model": ["x"] * 9}, ["y"]))
    lines = text.splitlines()
    assert lines[0].split()[1:5] == ["BLEU@1", "BLEU@4", "ROUGE-L", "CIDEr-D"]
    assert (
        f"text: {rows_module.TEXT_FORM}; references: all of a clip; BLEU: nrefs:var|case:mixed|eff:no|"
        in text
    )
