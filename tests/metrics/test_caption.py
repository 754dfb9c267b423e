"""The oracle's numbers come from coco-caption's scorers, on ten pairs made by hand."""

from typing import Any, cast

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU

from langpose_dist.metrics.caption import (
    CaptionScores,
    bleu_signature,
    normalise_caption,
    rouge_l,
)
from langpose_dist.metrics.table import METRICS

PAIRS = [
    [
        "a person walks forward",
        "A person walks forward slowly.",
        "someone is walking straight ahead",
        "a man walks forwards",
    ],
    [
        "a person walks in a circle to the left",
        "a person walks in a circle counterclockwise",
        "Someone walks a left circle.",
    ],
    [
        "a person waves with the right hand",
        "A person waves with their right hand.",
        "human waves using right arm",
        "the person is waving hello",
    ],
    ["a person jumps", "a human jumps forward once", "A person performs a jump."],
    ["a person sits down on a chair", "someone sits down on a chair and stands up again"],
    ["a person kicks with the left foot", "a person kicks something with his left leg", "A man kicks."],
    [
        "a person plays the guitar",
        "a person plays the violin",
        "someone is playing the violin",
        "A human pretends to play a violin.",
    ],
    [
        "a person stumbles and walks on",
        "A person gets pushed from behind, stumbles and continues walking.",
    ],
    ["a person is running", "a person runs"],
    ["a person does a handstand", "a person performs a cartwheel", "A human does a handstand overhead kick"],
]
CAPTIONS = [pair[0] for pair in PAIRS]
REFERENCES = [pair[1:] for pair in PAIRS]


def test_scores_equal_those_of_coco_caption() -> None:
    found = CaptionScores.compute(CAPTIONS, REFERENCES).means()
    expected = {"bleu_1": 71.3754, "bleu_4": 43.3566, "rouge_l": 67.6325, "cider_d": 205.1242}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=6e-5), name
    assert set(found) <= set(METRICS)
    assert all(METRICS[name].higher_is_better for name in found)


def test_three_references_with_repeats_move_cider_alone() -> None:
    repeated = [(texts * 3)[:3] if len(texts) != 2 else [*texts, texts[0]] for texts in REFERENCES]
    found = CaptionScores.compute(CAPTIONS, repeated).means()
    assert found["cider_d"] == pytest.approx(211.6601, abs=6e-5)
    assert found["bleu_4"] == pytest.approx(43.3566, abs=6e-5)
    assert found["rouge_l"] == pytest.approx(67.6325, abs=6e-5)


def test_bleu_of_any_order_and_part_is_sacrebleu_s() -> None:
    scores = CaptionScores.compute(CAPTIONS, REFERENCES)
    part = [0, 3, 3, 8]
    weights = np.bincount(part, minlength=len(PAIRS))[None].astype(float)
    texts = [[normalise_caption(text) for text in REFERENCES[place]] for place in part]
    columns = [[row[k] if k < len(row) else None for row in texts] for k in range(3)]
    for order in (1, 2, 3, 4):
        oracle = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order, force=True)
        expected = oracle.corpus_score([CAPTIONS[place] for place in part], cast(Any, columns)).score
        assert scores.means(weights)[f"bleu_{order}"] == pytest.approx(expected, abs=1e-9)


def test_the_form_of_the_text_does_not_count() -> None:
    shouted = [f"  {text.upper()}!!" for text in CAPTIONS]
    first, second = (CaptionScores.compute(texts, REFERENCES).means() for texts in (CAPTIONS, shouted))
    assert first == second
    assert normalise_caption("\uff21 man\u2019s T-pose: it's 90°") == "a man s t pose it's 90"


@pytest.mark.parametrize("caption", ["", "!?", "zzz"])
def test_captions_that_say_nothing_score_0(caption: str) -> None:
    found = CaptionScores.compute([caption] * len(PAIRS), REFERENCES).means()
    assert {name: float(value[0]) for name, value in found.items()} == dict.fromkeys(found, 0.0)


def test_one_clip_alone_has_no_cider() -> None:
    scores = CaptionScores.compute(CAPTIONS[:1], REFERENCES[:1])
    assert scores.cider_d.tolist() == [0]


def test_rouge_takes_precision_and_recall_from_different_references() -> None:
    # Precision 1 from the first, recall 1 from the second.
    assert rouge_l("a b", ["a b c d", "b"]) == pytest.approx(1.0)
    assert rouge_l("a b", ["a b c d"]) == pytest.approx(2.44 * 0.5 / (0.5 + 1.44))


def test_a_clip_without_references_is_named() -> None:
    with pytest.raises(ValueError, match="caption 1 has no reference"):
        CaptionScores.compute(["a", "b"], [["a"], []])


def test_the_signature_says_how_bleu_was_made() -> None:
    assert bleu_signature().startswith("nrefs:var|case:mixed|eff:no|tok:none|smooth:none|version:")
