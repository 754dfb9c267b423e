"""Retrieval, against a plain count of what stands before the first right answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.analysis import retrieve
from langpose_dist.analysis.clips import Clip
from langpose_dist.analysis.embeddings import (
    LabelledSpan,
    SpanSet,
    embed_spans,
    label_features,
    open_motion,
)
from langpose_dist.analysis.retrieve import Pairs, _by_protocol, find_motions, measure_retrieval
from langpose_dist.config import UserError
from langpose_dist.data.sample import Sample, Span
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.models.langpose import LangPose
from tests.corpus import build_samples, swing, tiny_config

NUM_TEXTS = 25


def made_pairs() -> Pairs:
    """Eighty spans of 25 texts; what belongs together is a little alike."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(NUM_TEXTS, 8))
    text_of = np.concatenate((np.arange(NUM_TEXTS), rng.integers(NUM_TEXTS, size=80 - NUM_TEXTS)))
    motion = text[text_of] + rng.normal(size=(80, 8))
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (motion, text)]
    tensors = [torch.from_numpy(values) for values in (*unit, text_of)]
    return Pairs(tensors[0], tensors[1], tensors[2], np.arange(80) // 2)


def plain(similarity: np.ndarray, is_right: np.ndarray) -> tuple[dict[int, float], float]:
    """Share of queries (rows) with a right item among the first k, and the median place of the first."""
    places = []
    for row, right in zip(similarity, is_right, strict=True):
        order = np.argsort(-row)
        places.append(next(place for place, item in enumerate(order, 1) if right[item]))
    return {k: float(np.mean([p <= k for p in places])) for k in (1, 2, 3, 5, 10)}, float(np.median(places))


@pytest.mark.parametrize("direction", ["text_to_motion", "motion_to_text"])
def test_all_and_threshold_equal_sorting(direction: str) -> None:
    pairs = made_pairs()
    likeness = torch.eye(NUM_TEXTS, dtype=torch.float64)
    likeness[3, 4] = likeness[4, 3] = 0.91  # above 2 x 0.95 - 1
    likeness[5, 6] = likeness[6, 5] = 0.89
    found = _by_protocol(pairs, likeness, 0)
    text_of = pairs.text_of.numpy()
    cosines = pairs.text.numpy()[text_of] @ pairs.motion.numpy().T
    similarity = cosines if direction == "text_to_motion" else cosines.T
    same = text_of[:, None] == text_of[None]
    joined = np.where(text_of == 4, 3, text_of)
    for name, right in (("all", same), ("threshold", joined[:, None] == joined[None])):
        recalls, median = plain(similarity, right)
        values = found[name][direction]
        assert {k: values[f"r_at_{k}"]["value"] for k in recalls} == pytest.approx(recalls)
        assert values["median_rank"]["value"] == median
        assert values["r_at_1"]["low"] < values["r_at_1"]["value"] < values["r_at_1"]["high"]


def test_the_subset_has_each_text_once_and_batches_have_32_pairs() -> None:
    pairs = made_pairs()
    found = _by_protocol(pairs, torch.eye(NUM_TEXTS, dtype=torch.float64), 0)
    sizes = {name: (one["num_pairs"], one["num_galleries"]) for name, one in found.items()}
    assert sizes == {
        "all": (80, 1),
        "threshold": (80, 1),
        "dissimilar_subset": (25, 1),
        "small_batches": (32, 2),
    }
    cosines = pairs.text.numpy() @ pairs.motion.numpy()[:NUM_TEXTS].T  # the first pair of each text
    recalls, _ = plain(cosines, np.eye(NUM_TEXTS, dtype=bool))
    assert found["dissimilar_subset"]["text_to_motion"]["r_at_3"]["value"] == pytest.approx(recalls[3])
    assert found["dissimilar_subset"]["chance"]["r_at_5"] == pytest.approx(5 / 25)

    order, parts = np.random.Generator(np.random.Philox(key=0)).permutation(80), []
    for rows in (order[:32], order[32:64]):
        text_of = pairs.text_of.numpy()[rows]
        similarity = pairs.text.numpy()[text_of] @ pairs.motion.numpy()[rows].T
        parts.append(plain(similarity, text_of[:, None] == text_of[None]))
    values = found["small_batches"]["text_to_motion"]
    assert values["r_at_2"]["value"] == pytest.approx(np.mean([recalls[2] for recalls, _ in parts]))
    assert values["median_rank"]["value"] == np.mean([median for _, median in parts])
    assert found["small_batches"] == _by_protocol(pairs, torch.eye(25).double(), 0)["small_batches"]
    assert found["small_batches"] != _by_protocol(pairs, torch.eye(25).double(), 1)["small_batches"]


def test_constant_features_retrieve_nothing() -> None:
    pairs = made_pairs()
    blank = pairs._replace(motion=torch.ones_like(pairs.motion), text=torch.ones_like(pairs.text))
    found = _by_protocol(blank, torch.eye(NUM_TEXTS, dtype=torch.float64), 0)["all"]
    assert (found["text_to_motion"]["r_at_10"]["value"], found["motion_to_text"]["r_at_10"]["value"]) == (
        0,
        0,
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled clip, one with two labels, and one without; at 5 frames per second."""
    folder = tmp_path_factory.mktemp("clips")
    samples = [
        Sample("wave", swing("left_wrist", 50), (Span("wave left hand", 0, 50),)),
        Sample("both", swing("right_ankle", 23), (Span("kick", 0, 23), Span("stand", 20, 23))),
        Sample("none", swing(None, 4), ()),
    ]
    build_samples(folder, samples, 5.0)
    return folder


def contender(root: Path, **changes) -> Contender:
    config = tiny_config(root, window={"num_frames": 12, "stride": 12}, **changes)
    torch.manual_seed(0)
    return Contender("ours", LangPose(config, 384).eval(), "camera", 12, 5.0, config, {})


def test_a_query_finds_the_best_piece_of_each_clip(root: Path) -> None:
    # One camera for all pieces, so that a piece can be embedded by itself.
    camera = {"yaw": [9.0, 9.0], "elevation": [5.0, 5.0], "distance": [5.0, 5.0], "focal_length": [2.0, 2.0]}
    ours = contender(root, camera=camera)
    assert ours.config is not None
    report = find_motions(ours, ours.config, "validation", ["Kick!", "wave"], top=2)
    assert [(one["query"], len(one["hits"])) for one in report["queries"]] == [("Kick!", 2), ("wave", 2)]
    assert report["data"]["num_spans"] == 5 + 2 + 1  # pieces of about 2 s

    pieces = {
        ("validation-wave", 0.0): (0, 10, ["wave left hand"]),
        ("validation-wave", 2.0): (10, 20, ["wave left hand"]),
        ("validation-wave", 4.0): (20, 30, ["wave left hand"]),
        ("validation-wave", 6.0): (30, 40, ["wave left hand"]),
        ("validation-wave", 8.0): (40, 50, ["wave left hand"]),
        ("validation-both", 0.0): (0, 11, ["kick"]),
        ("validation-both", 2.2): (11, 23, ["kick", "stand"]),
        ("validation-none", 0.0): (0, 4, []),
    }
    corpus = open_motion(ours.config, "validation")
    clips = {
        entry.key: Clip(shard_index, sample_index, entry)
        for shard_index, shard in corpus.manifest.shards_of("validation")
        for sample_index, entry in enumerate(shard.samples)
    }
    text = label_features(ours, ["kick!"])[0]
    cosines = {}
    for (key, start_s), (start, stop, _) in pieces.items():
        alone = SpanSet(corpus, "validation", (LabelledSpan(clips[key], "", (), start, stop, 0),))
        cosines[key, start_s] = float(embed_spans(ours, alone)[0] @ text)
    hits = find_motions(ours, ours.config, "validation", ["Kick!"], top=9)["queries"][0]["hits"]
    best = {key: max(value for (other, _), value in cosines.items() if other == key) for key in clips}
    assert [hit["clip"] for hit in hits] == sorted(best, key=lambda key: -best[key])
    for hit in hits:
        start, stop, labels = pieces[hit["clip"], hit["start_s"]]
        assert (hit["start_s"], hit["end_s"], hit["labels"]) == (start / 5, stop / 5, labels)
        assert hit["cosine"] == pytest.approx(best[hit["clip"]], abs=1e-5)


def test_the_report_says_what_was_retrieved(root: Path) -> None:
    ours = contender(root)
    assert ours.config is not None
    report = measure_retrieval([ours], ours.config, "validation")
    assert [row["protocol"] for row in report["rows"]] == ["all", "threshold", "dissimilar_subset"]
    assert report["notes"] == ["3 pairs are too few for small_batches"]
    assert (report["data"]["num_spans"], report["data"]["num_texts"]) == (3, 3)
    assert "virtual camera" in report["data"]["source_2d"]


def test_a_model_without_words_is_refused(root: Path) -> None:
    silent = contender(root, loss={"contrastive": "none"})
    assert silent.config is not None
    with pytest.raises(UserError, match="has no trained pooling"):
        measure_retrieval([silent], silent.config, "validation")
    with pytest.raises(UserError, match="model ours has no text side"):
        find_motions(replace(silent, config=None), silent.config, "validation", ["kick"], top=1)


def test_texts_are_alike_for_every_model_if_they_are_for_the_first(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoder:
        def __init__(self, length: int) -> None:
            self.length = length

        def sentence_features(self, texts: list[str]) -> torch.Tensor:
            return torch.eye(3)[[0] * self.length + [2] * (3 - self.length)]

    encoders = {"offline": Encoder(3), "other": Encoder(2)}
    monkeypatch.setattr(retrieve, "load_text_encoder", lambda text: encoders[text.encoder])
    monkeypatch.setattr(retrieve, "label_features", lambda one, texts: np.eye(3, 64, dtype=np.float32))
    monkeypatch.setattr(retrieve, "embed_spans", lambda one, spans: np.eye(3, 64, dtype=np.float32))
    first, second = contender(root), contender(root)
    assert second.config is not None
    text = second.config.text.model_copy(update={"encoder": "other"})
    second = replace(second, name="second", config=second.config.model_copy(update={"text": text}))
    for order, encoder in (([first, second], "offline"), ([second, first], "other")):
        assert order[0].config is not None
        report = measure_retrieval(order, order[0].config, "validation")
        assert report["protocol"]["text_encoder"] == encoder
        rows = [row for row in report["rows"] if row["protocol"] == "threshold"]
        assert rows[0]["chance"] == rows[1]["chance"]
