"""Recognition, against numbers that are put together one by one from the same features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from langpose_dist.analysis.embeddings import embed_spans, label_features
from langpose_dist.analysis.linear_probe import fit_probe
from langpose_dist.analysis.recognise import Chunks, RecognitionOptions, measure_recognition
from langpose_dist.config import UserError
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import Sample, Span
from langpose_dist.datasets.build import build_shards
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.models.langpose import LangPose
from tests.corpus import GivenClip, swing, tiny_config

FPS = 5.0
CLASSES = ("kick", "wave", "greet", "stand")
CATEGORIES = {"wave hello": ("wave", "greet"), "kick": ("kick",), "stand": ("stand",), "mumble": ("talk",)}


def spans_of(number: int) -> tuple[Span, ...]:
    """Of a clip of 12 s: one label throughout it, others in parts."""
    names = list(CATEGORIES)
    first, second = names[number % 3], names[(number + 1) % 3]
    return (
        Span(first, 0, 60, CATEGORIES[first]),
        Span(second, 10, 14, CATEGORIES[second]),
        Span("mumble", 0, 5, CATEGORIES["mumble"]),
    )


def build(root: Path, *, label: str = "proc_label") -> Manifest:
    """Six dense clips and a clip of BABEL's extra files in each of two splits."""
    limbs = {"wave hello": "left_wrist", "kick": "right_ankle", "stand": None}
    pairs = []
    for split in ("train", "validation"):
        for number in range(7):
            spans: Sequence[Span] = spans_of(number)
            poses = swing(limbs[spans[0].label], 60)
            if label == "act_cat":
                spans = [Span(name, span.start, span.end, (name,)) for span in spans for name in span.act_cat]
            meta = {"babel": f"extra_{split}" if number == 6 else split}
            key = f"{split}{number}"
            pairs.append((split, GivenClip(key, None, 0, sample=Sample(key, poses, tuple(spans), meta))))
    options: dict[str, Any] = {"label": label}
    return build_shards(
        pairs, root, dataset="made-up", source="memory", fps=FPS, options=options, shard_size=4
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("babel")
    build(folder)
    return folder


def contender(root: Path, **changes: Any) -> Contender:
    config = tiny_config(root, window={"num_frames": 30, "stride": 30}, **changes)
    torch.manual_seed(0)
    return Contender("ours", LangPose(config, 384).eval(), "camera", 30, FPS, config, {"weights_sha256": "0"})


def config_of(one: Contender):
    assert one.config is not None
    return one.config


def test_segments_are_cut_into_chunks_of_five_seconds(root: Path) -> None:
    chunks = Chunks.open(config_of(contender(root)), "validation")
    first = [
        (span.start, span.stop, names, float(seconds))
        for span, names, seconds in zip(chunks.spans.spans, chunks.names, chunks.seconds, strict=True)
        if span.clip.entry.key == "validation0"
    ]
    assert first == [
        (0, 25, ("wave", "greet"), 12.0),
        (25, 50, ("wave", "greet"), 12.0),
        (50, 60, ("wave", "greet"), 12.0),
        (10, 14, ("kick",), 0.8),
        (0, 5, ("talk",), 1.0),
    ]
    assert {span.clip.entry.key for span in chunks.spans.spans} == {f"validation{n}" for n in range(6)}
    assert chunks.num_extra == 3


def test_a_build_with_categories_as_labels_has_the_same_chunks(root: Path, tmp_path: Path) -> None:
    build(tmp_path, label="act_cat")
    options = RecognitionOptions(classes="labels", methods=["text"], min_samples=1)
    reports = [
        measure_recognition([contender(folder)], config_of(contender(folder)), options)
        for folder in (root, tmp_path)
    ]
    assert reports[0]["rows"] == reports[1]["rows"]
    assert reports[0]["data"]["samples_of_class"] == reports[1]["data"]["samples_of_class"]


def report_of(one: Contender, tmp_path: Path, *, methods: Sequence[Any] = ("text",)) -> dict[str, Any]:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES), encoding="utf-8")
    options = RecognitionOptions(classes=str(names), methods=methods)
    return measure_recognition([one], config_of(one), options)


def test_the_class_whose_name_is_nearest_is_the_answer(root: Path, tmp_path: Path) -> None:
    ours = contender(root)
    report = report_of(ours, tmp_path)
    chunks = Chunks.open(config_of(ours), "validation").of_classes(CLASSES)
    cosines = embed_spans(ours, chunks.spans) @ label_features(ours, CLASSES).T
    answers = [CLASSES[place] for place in cosines.argmax(axis=1)]
    pairs = list(zip(answers, chunks.names, strict=True))
    samples = [(answer == name, name) for answer, names in pairs for name in names]
    (row,) = report["rows"]
    assert row["values"]["top_1"]["value"] == pytest.approx(np.mean([hit for hit, _ in samples]))
    recalls = [np.mean([hit for hit, name in samples if name == one]) for one in CLASSES]
    assert row["values"]["top_1_norm"]["value"] == pytest.approx(np.mean(recalls))
    assert row["values"]["any_top_1"]["value"] == pytest.approx(np.mean([a in names for a, names in pairs]))
    short = [
        hit for (hit, seconds) in zip([a in n for a, n in pairs], chunks.seconds, strict=True) if seconds < 1
    ]
    assert row["by_length"]["0-1 s"]["any_top_1"] == pytest.approx(np.mean(short))
    assert list(row["by_length"]) == ["0-1 s", "5+ s"]
    assert row["values"]["top_1"]["low"] <= row["values"]["top_1"]["value"] <= row["values"]["top_1"]["high"]
    # Two clips of each of three actions: 3 chunks of one and 1 of the next, where waving has two classes.
    assert report["data"]["samples_of_class"] == {"kick": 8, "wave": 8, "greet": 8, "stand": 8}
    ceiling = report["references"]["ceiling"]["values"]
    assert (ceiling["top_1"]["value"], ceiling["any_top_1"]["value"]) == (24 / 32, 1)
    assert report["references"]["chance"]["values"]["top_1"]["value"] == 0.25


def test_a_chunk_may_be_seen_alone(root: Path) -> None:
    ours = contender(root)
    options = RecognitionOptions(classes="labels", methods=["text"], min_samples=1, isolated=True)
    report = measure_recognition([ours], config_of(ours), options)
    names = tuple(report["data"]["samples_of_class"])
    chunks = Chunks.open(config_of(ours), "validation").of_classes(names)
    alone = embed_spans(ours, chunks.spans, isolated=True)
    assert not np.allclose(alone, embed_spans(ours, chunks.spans), atol=1e-4)
    answers = (alone @ label_features(ours, names).T).argmax(axis=1)
    hits = [names[place] in true for place, true in zip(answers, chunks.names, strict=True)]
    assert report["rows"][0]["values"]["any_top_1"]["value"] == pytest.approx(np.mean(hits))


def test_names_that_pretraining_was_not_shown_stand_apart(root: Path, tmp_path: Path) -> None:
    ours = contender(root, data={"held_out_categories": ["kick", "stand"]})
    (found,) = report_of(ours, tmp_path)["zero_shot"]
    assert (found["unseen"], found["num_chunks"]) == (["kick", "stand"], 16)
    chunks = Chunks.open(config_of(ours), "validation").of_classes(("kick", "stand"))
    features = embed_spans(ours, Chunks.open(config_of(ours), "validation").of_classes(CLASSES).spans)
    kept = Chunks.open(config_of(ours), "validation").of_classes(CLASSES)
    rows = [place for place, names in enumerate(kept.names) if set(names) & {"kick", "stand"}]
    for title, names in (("all classes", CLASSES), ("unseen classes", ("kick", "stand"))):
        answers = (features[rows] @ label_features(ours, names).T).argmax(axis=1)
        hits = [names[place] in true for place, true in zip(answers, chunks.names, strict=True)]
        assert found["among"][title]["values"]["top_1"]["value"] == pytest.approx(np.mean(hits))
        assert found["among"][title]["chance"]["top_1"]["value"] == pytest.approx(1 / len(names))
    assert report_of(contender(root), tmp_path)["zero_shot"] == []


def test_the_probe_is_fitted_on_training_chunks_of_each_encoder(root: Path, tmp_path: Path) -> None:
    silent = contender(root, loss={"contrastive": "none"})
    report = report_of(silent, tmp_path, methods=("text", "linear"))
    assert [(row["model"], row["method"], row["features"]) for row in report["rows"]] == [
        ("random encoder", "linear", "mean"),
        ("ours", "linear", "mean"),
    ]
    assert report["notes"] == ["ours has no text side: no row of method text"]
    train, tested = (
        Chunks.open(config_of(silent), split).of_classes(CLASSES) for split in ("train", "validation")
    )
    features = [embed_spans(silent, one.spans, pooling="mean") for one in (train, tested)]
    probe = fit_probe(features[0], train.is_true(CLASSES), train.clips, 0)
    answers = probe(features[1]).argmax(axis=1)
    hits = [CLASSES[place] in names for place, names in zip(answers, tested.names, strict=True)]
    assert report["rows"][1]["values"]["any_top_1"]["value"] == pytest.approx(np.mean(hits))
    assert report["rows"][1]["inverse_regularisation"] == probe.c


def test_a_model_with_words_is_probed_in_their_space_too(root: Path, tmp_path: Path) -> None:
    report = report_of(contender(root), tmp_path, methods=("linear",))
    assert [(row["model"], row["features"]) for row in report["rows"]] == [
        ("random encoder", "own"),
        ("random encoder", "mean"),
        ("ours", "own"),
        ("ours", "mean"),
    ]


def test_mistakes(root: Path) -> None:
    ours = contender(root)
    chunks = Chunks.open(config_of(ours), "validation")
    with pytest.raises(UserError, match="has no chunk of the 1 classes; its labels are such as greet, kick"):
        chunks.of_classes(["dance"])
