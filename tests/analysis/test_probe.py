"""The semantic probe, against counting and SciPy."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from langpose_dist.analysis import probe
from langpose_dist.analysis.embeddings import SpanSet
from langpose_dist.analysis.probe import accuracy, auc, measure_probe
from langpose_dist.analysis.probe_text import probe_text
from langpose_dist.config import UserError
from tests.analysis.labelled import build_labelled, contender, features_of

KNOWN = ("kick", "wave left hand", "wave right hand")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_labelled(tmp_path_factory.mktemp("labelled"))


def spans_of(root: str) -> SpanSet:
    config = contender(root).config
    assert config is not None
    return SpanSet.open(config, "validation")


def scores(seed: int, count: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and clips of six."""
    rng = np.random.default_rng(seed)
    return (rng.normal(shift, 1, count)).round(1), rng.integers(0, 6, count)


def by_counting(first: np.ndarray, second: np.ndarray) -> float:
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(first.tolist(), second.tolist())]
    return sum(wins) / len(wins)


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    first, second = scores(0, 30, 0.5), scores(1, 20, 0.0)
    (found,) = auc(first, second, np.ones((1, 6), int))
    assert found == pytest.approx(by_counting(first[0], second[0]))
    assert found == pytest.approx(mannwhitneyu(first[0], second[0]).statistic / 600)


def test_the_accuracy_is_the_mean_of_both_labels_shares() -> None:
    first, second = (np.array([1.0, 2.0, -1.0, 0.0]), np.arange(4)), (np.array([-3.0]), np.array([5]))
    assert accuracy(first, second, np.ones((1, 6), int)).tolist() == [(2.5 / 4 + 1) / 2]


def test_a_draw_counts_each_span_as_often_as_its_clip() -> None:
    first, second = scores(2, 25, 0.3), scores(3, 15, 0.0)
    draws = np.array([[2, 0, 1, 3, 0, 0], [0, 1, 1, 1, 1, 2]])
    for row, draw in enumerate(draws):
        copies = [np.repeat(values, draw[clips]) for values, clips in (first, second)]
        assert auc(first, second, draws)[row] == pytest.approx(by_counting(*copies))
        right = ((copies[0] > 0).mean() + (copies[0] == 0).mean() / 2) / 2
        right += ((copies[1] < 0).mean() + (copies[1] == 0).mean() / 2) / 2
        assert accuracy(first, second, draws)[row] == pytest.approx(right)


def test_a_draw_without_a_label_has_no_value() -> None:
    first, second = (np.ones(2), np.array([0, 0])), (np.zeros(2), np.array([1, 1]))
    draws = np.array([[2, 0], [1, 1]])
    np.testing.assert_array_equal(auc(first, second, draws), [np.nan, 1])
    np.testing.assert_array_equal(accuracy(first, second, draws), [np.nan, 0.75])


def pretend(monkeypatch: pytest.MonkeyPatch, noise: float) -> None:
    """Models whose features are near those of the labels."""
    monkeypatch.setattr(
        probe, "embed_spans", lambda one, spans, isolated: features_of(spans.labels, KNOWN, noise)
    )
    monkeypatch.setattr(probe, "label_features", lambda one, labels: features_of(labels, KNOWN, 0))


def test_kinds_are_kept_apart(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0.0)
    report = measure_probe([contender(root)], spans_of(root), min_spans=3)
    assert [(tuple(one["labels"]), one["kind"]) for one in report["pairs"]] == [
        (("kick", "wave left hand"), "unrelated"),
        (("kick", "wave right hand"), "unrelated"),
        (("wave left hand", "wave right hand"), "inverse"),
    ]
    kinds = report["models"][0]["kinds"]
    assert {kind: row["num_pairs"] for kind, row in kinds.items()} == {"inverse": 1, "unrelated": 2}
    perfect = {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert kinds["inverse"] == {"num_pairs": 1, "auc": perfect, "accuracy": perfect}


def test_spans_that_both_labels_are_true_of_are_left_out(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0.0)
    report = measure_probe([contender(root)], spans_of(root), pairs=[("kick", "wave left hand")])
    (pair,) = report["pairs"]
    assert report["min_spans"] is None
    assert (pair["num_spans"], pair["num_clips"], pair["num_left_out"]) == ([5, 3], [5, 3], 4)


def test_a_pair_whose_spans_all_share_frames_is_counted(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0.0)
    spans = spans_of(root)
    both = replace(
        spans, spans=tuple(span for span in spans.spans if span.label != "kick" or span.start < 30)
    )
    report = measure_probe([contender(root)], both, min_spans=2)
    assert [one["labels"] for one in report["pairs"]] == [["wave left hand", "wave right hand"]]
    lines = probe_text(report | {"commit": "0" * 40}).splitlines()
    assert "2 pairs are left out: their labels share their frames" in lines


def test_numbers_are_those_of_the_scores(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 1.5)
    spans = spans_of(root)
    report = measure_probe([contender(root)], spans, pairs=[("wave left hand", "wave right hand")])
    features, texts = features_of(spans.labels, KNOWN, 1.5).astype(float), np.eye(3)
    values = features @ (texts[1] - texts[2])
    left, right = (values[np.array(spans.labels) == label] for label in KNOWN[1:])
    found = report["models"][0]["kinds"]["inverse"]
    assert found["auc"]["mean"] == pytest.approx(by_counting(left, right))
    assert found["accuracy"]["mean"] == pytest.approx(((left > 0).mean() + (right < 0).mean()) / 2)
    assert found["auc"]["low"] < found["auc"]["mean"] < found["auc"]["high"]
    assert report["models"][0]["pairs"][0]["auc"] == found["auc"]


def test_a_model_whose_features_are_all_alike_is_at_chance(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0.0)
    rounding = 1e-8 * np.arange(17)[:, None] + np.ones((17, 3))
    monkeypatch.setattr(probe, "embed_spans", lambda one, spans, isolated: rounding)
    report = measure_probe([contender(root)], spans_of(root), min_spans=3)
    chance = {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert report["models"][0]["kinds"]["unrelated"]["auc"] == chance


def test_the_report_says_where_its_numbers_come_from(root: str) -> None:
    ours, again = contender(root), contender(root, "again")
    report = measure_probe([ours, again], spans_of(root), min_spans=3)
    first, second = report["models"]
    assert first["kinds"] == second["kinds"]
    assert (first["temperature"], first["contrastive"]) == (0.1, "modified")
    assert first["model"] == {"weights_sha256": "abc"}
    assert report["data"]["fingerprint"] == spans_of(root).corpus.manifest.fingerprint
    text = probe_text(report | {"commit": "0" * 40})
    means = [f"{model['pairs'][2]['auc']['mean']:.3f}" for model in report["models"]]
    row = next(line for line in text.splitlines() if line.startswith("wave left hand/wave right hand"))
    assert row.split()[5:] == ["inverse", "5", "/", "5", "5", "/", "5", *means]
    assert "2D: synthetic" in text
    isolated = measure_probe([ours], spans_of(root), min_spans=3, isolated=True)
    assert isolated["models"][0]["pairs"] != first["pairs"]


def test_what_cannot_be_probed_is_refused(root: str) -> None:
    spans = spans_of(root)
    with pytest.raises(UserError, match=r"0 labels of split 'validation' have --min-spans 20 .* hand 5, "):
        measure_probe([contender(root)], spans)
    with pytest.raises(UserError, match="--pairs names 'run', which no span has; there are kick, wave left"):
        measure_probe([contender(root)], spans, pairs=[("kick", "run")])
    mute = contender(root, "mute", loss={"contrastive": "none"})
    with pytest.raises(UserError, match="mute has no trained pooling"):
        measure_probe([contender(root), mute], spans, min_spans=3)
