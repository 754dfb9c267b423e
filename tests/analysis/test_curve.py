"""Labels over time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from langpose_dist.analysis import curve
from langpose_dist.analysis.curve import measure_curve
from langpose_dist.analysis.probe_text import curve_rows, curve_text
from langpose_dist.config import UserError
from langpose_dist.data.sample import Sample, Span
from tests.analysis.labelled import build_labelled, contender
from tests.corpus import FRONT, build_samples, record, swing

LABELS = ("wave left hand", "kick")
TEXTS = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_labelled(tmp_path_factory.mktemp("labelled"))


def test_a_frame_has_the_mean_of_the_spans_that_it_lies_in(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    angles = {0: 0.1, 5: 0.5, 10: 1.2}  # by the first frame of a span
    places = []

    def embed(one, spans, isolated):
        places.extend((span.start, span.stop, span.view) for span in spans.spans)
        found = [angles.get(span.start, 0.0) for span in spans.spans]
        return np.stack([np.cos(found), np.sin(found)], axis=1)

    monkeypatch.setattr(curve, "embed_spans", embed)
    monkeypatch.setattr(curve, "label_features", lambda one, labels: TEXTS)
    ours = contender(root, window={"num_frames": 12, "stride": 4})
    assert ours.config is not None
    found = measure_curve(ours, ours.config, "validation-clip0", LABELS)
    # 60 frames at 10 Hz: spans of 1 s, 5 frames apart, seen through one camera.
    assert places == [(start, start + 10, 0) for start in range(0, 51, 5)]
    odds = np.exp(np.array([[np.cos(angle), np.sin(angle)] for angle in angles.values()]) / 0.1)
    shares = odds / odds.sum(axis=1, keepdims=True)
    expected = [shares[0], shares[:2].mean(axis=0), shares[1:3].mean(axis=0)]
    for frame, values in zip((4, 5, 10), expected, strict=True):
        assert [found["probabilities"][label][frame] for label in LABELS] == pytest.approx(values, abs=1e-5)
    assert found["cosines"]["kick"][7] == pytest.approx((np.sin(0.1) + np.sin(0.5)) / 2, abs=1e-5)
    np.testing.assert_allclose(np.sum([*found["probabilities"].values()], axis=0), 1, atol=2e-5)
    assert (found["span_s"], found["hop_s"], found["temperature"]) == (1.0, 0.5, 0.1)
    assert found["true_spans"][0] == {"label": "wave left hand", "start_s": 0.0, "end_s": 2.0}


def test_a_clip_that_is_one_span_says_what_the_model_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keypoints = record(swing("left_wrist", 9))
    meta = {"subject": "s1", "recording": "s1 walk 1", "action": "walk", "keypoints_2d": "by hand"}
    camera = {"camera": {"name": "front", "rotation": FRONT}}
    build_samples(
        tmp_path,
        [Sample("a", swing("left_wrist", 9), (Span("Walk_Back", 0, 9),), meta | camera, keypoints)],
        10.0,
    )
    ours = contender(str(tmp_path), data={"observation": "stored"})
    assert ours.config is not None
    texts = np.eye(2, ours.config.model.embed_dim, dtype=np.float32)
    monkeypatch.setattr(curve, "label_features", lambda one, labels: texts)
    found = measure_curve(ours, ours.config, "train-a", LABELS)
    with torch.inference_mode():
        feature = ours.model(torch.from_numpy(keypoints)[None]).motion_features[0].numpy()
    for row, label in enumerate(LABELS):
        np.testing.assert_allclose(found["cosines"][label], np.full(9, feature[row]), atol=1e-4)
    assert found["true_spans"] == [{"label": "walk back", "start_s": 0.0, "end_s": 0.9}]
    assert curve_rows(found)[1][:3] == ["whole clip", "0.0", "0.9"]
    figure = found["figures"][4]
    np.testing.assert_allclose(figure["keypoints_2d"], keypoints[round(10 * figure["time_s"])], atol=1e-4)
    assert found["data"]["source_2d"] == "stored: by hand"


def test_the_text_sums_up_each_true_span(root: str) -> None:
    ours = contender(root)
    assert ours.config is not None
    found = measure_curve(ours, ours.config, "validation-clip1", LABELS, isolated=True)
    lines = curve_text(found | {"commit": "0" * 40}).splitlines()
    assert [line[:15].strip() for line in lines[:6]] == [
        "frames of",
        "whole clip",
        *("wave left hand", "wave right hand", "kick", "kick"),
    ]
    first = np.mean(found["probabilities"]["kick"][:21])
    assert lines[2].split()[-1] == f"{first:.2f}"
    assert "0.9 s every 0.5 s, alone; commit 000000000000" in lines[-1]


def test_an_unknown_clip_is_refused(root: str) -> None:
    ours = contender(root)
    assert ours.config is not None
    with pytest.raises(UserError, match="no clip 'clip9'; its clips are named as 'train-clip0' is"):
        measure_curve(ours, ours.config, "clip9", LABELS)
