"""Embeddings of labelled spans, against windows that are put together by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from langpose_dist.analysis.embeddings import SpanSet, embed_spans, label_features, untrained
from langpose_dist.config import UserError
from langpose_dist.data.sample import Sample, Span
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.lifter import Lifter
from tests.corpus import FRONT, build_samples, record, swing, tiny_config

SPANS = (Span("Walk", 3, 8, ("walk",)), Span("kick", 10, 12), Span("walk", 0, 20))


def recorded(key: str, num_frames: int, spans: tuple[Span, ...], joint: str = "left_wrist") -> Sample:
    poses = swing(joint, num_frames)
    meta = {"subject": "s1", "recording": f"s1 {key} 1", "action": key, "keypoints_2d": "by hand"}
    return Sample(key, poses, spans, {**meta, "camera": {"name": "front", "rotation": FRONT}}, record(poses))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spans")
    samples = [recorded("a", 20, SPANS), recorded("b", 5, (Span("kick", 1, 4),), "right_ankle")]
    build_samples(folder, samples)
    return folder


def contender(root: Path, **changes) -> Contender:
    config = tiny_config(root, **{"data": {"observation": "stored"}, **changes})
    torch.manual_seed(0)
    model = LangPose(config, text_dim=384).eval()
    return Contender("ours", model, "camera", config.window.num_frames, 30.0, config, {})


def spans_of(one: Contender, split: str = "validation") -> SpanSet:
    assert one.config is not None
    return SpanSet.open(one.config, split)


def by_hand(model: LangPose, keypoints: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Feature of frames of one window, by the model's own forward pass."""
    mask = torch.zeros(1, len(keypoints), dtype=torch.bool)
    mask[0, start:stop] = True
    with torch.inference_mode():
        return model(torch.from_numpy(keypoints)[None], mask).motion_features[0].numpy()


def test_a_span_is_pooled_within_the_window_around_it(root: Path) -> None:
    ours = contender(root)
    spans = spans_of(ours)
    assert [(span.label, span.start, span.stop, span.categories) for span in spans.spans] == [
        ("walk", 3, 8, ("walk",)),
        ("kick", 10, 12, ()),
        ("walk", 0, 20, ()),
        ("kick", 1, 4, ()),
    ]
    found = embed_spans(ours, spans)
    a, b = record(swing("left_wrist", 20)), record(swing("right_ankle", 5))
    np.testing.assert_allclose(found[0], by_hand(ours.model, a[1:10], 2, 7), atol=1e-5)
    np.testing.assert_allclose(found[1], by_hand(ours.model, a[6:15], 4, 6), atol=1e-5)
    parts = [(a[0:9], 0, 6, 6), (a[5:14], 1, 8, 7), (a[11:20], 2, 9, 7)]
    mean = np.sum([n * by_hand(ours.model, keypoints, i, j) for keypoints, i, j, n in parts], axis=0)
    np.testing.assert_allclose(found[2], mean / np.linalg.norm(mean), atol=1e-5)
    padded = np.concatenate([b, np.repeat(b[-1:], 4, axis=0)])
    np.testing.assert_allclose(found[3], by_hand(ours.model, padded, 1, 4), atol=1e-5)


def test_an_isolated_span_is_cropped_and_filled_with_its_last_frame(root: Path) -> None:
    ours = contender(root)
    spans = spans_of(ours)
    alone = record(swing("left_wrist", 20))[3:8]
    padded = np.concatenate([alone, np.repeat(alone[-1:], 4, axis=0)])
    found = embed_spans(ours, spans, isolated=True)
    np.testing.assert_allclose(found[0], by_hand(ours.model, padded, 0, 5), atol=1e-5)


class Echo(nn.Module):
    """Its representation is its input."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.weight = nn.Parameter(torch.zeros(1))


def test_every_model_sees_a_span_through_one_camera_and_without_noise(root: Path) -> None:
    config = tiny_config(root)
    spans = SpanSet.open(config, "validation")
    short, long = (Contender("echo", Echo(), "camera", n, None, None, {}) for n in (9, 13))
    first = embed_spans(short, spans, pooling="mean", isolated=True)
    second = embed_spans(long, spans, pooling="mean", isolated=True)
    # The third span is longer than either window: its parts are others.
    np.testing.assert_allclose(first[[0, 1, 3]], second[[0, 1, 3]], atol=1e-6)
    assert np.abs(first[0] - first[1]).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    assert spans.describe()["source_2d"].endswith("virtual cameras, without noise")


def test_the_mean_pooling_is_over_the_frames_of_the_span_and_all_joints(root: Path) -> None:
    spans = SpanSet.open(tiny_config(root, data={"observation": "stored"}), "validation")
    found = embed_spans(Contender("echo", Echo(), "camera", 9, None, None, {}), spans, pooling="mean")
    for row, keypoints in ((0, record(swing("left_wrist", 20))[3:8]), (2, record(swing("left_wrist", 20)))):
        mean = keypoints.astype(np.float64).mean(axis=(0, 1))
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-5)


def test_the_mean_pooling_serves_encoders_of_every_origin(root: Path) -> None:
    ours = contender(root)
    spans = spans_of(ours)
    found = embed_spans(ours, spans, pooling="mean")
    keypoints = torch.from_numpy(record(swing("left_wrist", 20))[1:10])[None]
    with torch.inference_mode():
        mean = ours.model.encoder(keypoints)[0, 2:7].mean(dim=(0, 1)).numpy()
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), atol=1e-5)
    bare = Contender("MotionBERT's", ours.model.encoder, "image_25d", 9, None, None, {})
    np.testing.assert_array_equal(embed_spans(bare, spans, pooling="mean"), found)
    config = tiny_config(root, finetune={"ema_decay": 0.9})
    tuned = Lifter(config).eval()
    assert tuned.average is not None
    tuned.average.load_state_dict(ours.model.encoder.state_dict())
    averaged = Contender("fine-tuned", tuned, "camera", 9, 30.0, config, {})
    np.testing.assert_array_equal(embed_spans(averaged, spans, pooling="mean"), found)
    assert embed_spans(untrained(bare), spans, pooling="mean").shape == found.shape


def test_labels_meet_spans_in_one_space(root: Path) -> None:
    ours = contender(root)
    labels = label_features(ours, ("walk", "kick"))
    assert labels.shape == embed_spans(ours, spans_of(ours))[:2].shape
    np.testing.assert_allclose(np.linalg.norm(labels, axis=1), 1, atol=1e-6)


def test_an_untrained_model_depends_on_its_seed_alone(root: Path) -> None:
    ours = contender(root)
    spans = spans_of(ours)
    first, again, other = (embed_spans(untrained(ours, seed), spans) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert untrained(ours).facts["shape_of"] == "ours"


def test_what_cannot_be_embedded_is_refused(root: Path) -> None:
    ours = contender(root)
    spans = spans_of(ours)
    with pytest.raises(UserError, match="no split 'nope'"):
        spans_of(ours, "nope")
    mute = contender(root, loss={"contrastive": "none"})
    with pytest.raises(UserError, match="ours has no trained pooling"):
        embed_spans(mute, spans)
    with pytest.raises(UserError, match="ours has no text side"):
        label_features(mute, ("walk",))
    slow = Contender("slow", ours.model, "camera", 9, 10.0, ours.config, {})
    with pytest.raises(UserError, match="slow was trained at 10 frames per second, the data have 30"):
        embed_spans(slow, spans)
