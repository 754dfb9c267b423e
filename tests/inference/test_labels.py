"""Labels over time."""

import numpy as np
import pytest
import torch

from langpose_dist.config import UserError
from langpose_dist.inference.labels import LabelReader, parse_labels
from langpose_dist.inference.model import LiftingModel
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.picture import normalise
from langpose_dist.models.langpose import LangPose
from tests.corpus import tiny_config
from tests.inference.figures import Flat, lifting_model, standing

OPTIONS = LiftOptions(fps=30.0, size=(1000, 1000))


@pytest.fixture
def reader(tmp_path) -> LabelReader:
    config = tiny_config(tmp_path)
    torch.manual_seed(0)
    model = LiftingModel("tiny", LangPose(config, text_dim=8).eval(), "camera", 9, 30.0, config, {})
    text_features = torch.nn.functional.normalize(torch.randn(3, config.model.embed_dim), dim=-1)
    return LabelReader(model, ("sit down", "stand up", "walk"), text_features)


def test_labels_are_read_as_models_are_trained_with_them() -> None:
    assert parse_labels(" Sit_down, stand up ,WALK") == ("sit down", "stand up", "walk")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("walk", "two labels or more"),
        ("walk,", "two labels or more"),
        ("walk,run, Walk", "names 'walk' twice"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_labels(text)


def test_a_model_without_a_text_side_is_refused() -> None:
    with pytest.raises(UserError, match="model made has no text side"):
        LabelReader.open(lifting_model(Flat()), ("walk", "run"))


@pytest.mark.parametrize("num_frames", [1, 4, 9, 40])
def test_probabilities_add_up_to_one_in_every_frame(reader: LabelReader, num_frames: int) -> None:
    found = reader.probabilities(standing(num_frames), 3, OPTIONS)
    assert list(found) == ["sit down", "stand up", "walk"]
    total = np.sum(list(found.values()), axis=0)
    np.testing.assert_allclose(total, np.ones(num_frames), atol=1e-5)


def test_a_window_that_is_one_span_says_what_the_model_says(reader: LabelReader) -> None:
    assert reader.span_frames == 9
    keypoints = standing(9)
    inputs, _ = normalise(keypoints[None], "box", None, reader.model.units_per_metre)
    with torch.inference_mode():
        features = reader.model.model(torch.from_numpy(inputs)).motion_features
    cosines = features.numpy()[0] @ reader.text_features.numpy().T
    odds = np.exp(cosines / 0.1)  # the configuration's temperature
    found = reader.probabilities(keypoints, 0, OPTIONS)
    np.testing.assert_allclose([series[4] for series in found.values()], odds / odds.sum(), atol=1e-5)


def test_probabilities_follow_the_motion_within_a_window(tmp_path) -> None:
    config = tiny_config(tmp_path, window={"num_frames": 60, "stride": 30, "min_span_frames": 2})
    torch.manual_seed(0)
    model = LiftingModel("tiny", LangPose(config, text_dim=8).eval(), "camera", 60, 10.0, config, {})
    reader = LabelReader(model, ("a", "b"), torch.eye(2, config.model.embed_dim))
    assert reader.span_frames == 10
    found = reader.probabilities(standing(60), 0, LiftOptions(fps=10.0))
    assert len(np.unique(found["a"].round(6))) > 5
