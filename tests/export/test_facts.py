"""What an export says of itself is enough to follow it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.export.model import LangPose
from langpose_dist.inference.picture import normalise_box
from tests.export.trained import make_image_run, make_run
from tests.inference.figures import standing


def follow(facts: dict[str, str], keypoints: np.ndarray) -> np.ndarray:
    """``normalisation_box`` word by word."""
    joints = facts["joints"].split()
    limbs = []
    for entry in facts["limb_lengths_m"].split():
        ends, _, metres = entry.partition("=")
        upper, lower = (joints.index(name) for name in ends.split("-"))
        limbs.append((upper, lower, float(metres)))
    ratios = []
    for frame in keypoints:
        seen = [limb for limb in limbs if frame[limb[0], 2] > 0 and frame[limb[1], 2] > 0]
        if seen:
            pixels = sum(float(np.hypot(*(frame[lower, :2] - frame[upper, :2]))) for upper, lower, _ in seen)
            ratios.append(pixels / (0.85 * sum(metres for _, _, metres in seen)))
    scale = float(np.median(ratios)) / float(facts["units_per_metre"])
    centre = keypoints[keypoints[:, 0, 2] > 0, 0, :2].mean(axis=0)
    normalised = keypoints.copy()
    normalised[..., :2] = ((keypoints[..., :2] - centre) / scale).clip(-5, 5)
    normalised[keypoints[..., 2] == 0] = 0
    return normalised


@pytest.mark.parametrize("make", [make_run, make_image_run])
def test_the_box_rule_can_be_followed_by_the_facts(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    model = LangPose.open(make(tmp_path) / "model.safetensors")
    generator = np.random.default_rng(0)
    keypoints = standing(12, centre=(1500, 300))
    keypoints[..., :2] += generator.normal(0, 9, (12, 17, 2))
    keypoints[generator.random((12, 17)) < 0.3] = 0
    keypoints[5] = 0
    expected, _ = normalise_box(keypoints[None], float(model.facts["units_per_metre"]))
    np.testing.assert_allclose(follow(model.facts, keypoints), expected[0], atol=1e-4)


def test_the_people_s_size_is_that_of_the_training(tmp_path: Path) -> None:
    model = LangPose.open(make_run(tmp_path) / "model.safetensors")
    camera = model.exported.config.camera
    expected = np.mean(camera.focal_length) / np.mean(camera.distance)
    assert float(model.facts["units_per_metre"]) == pytest.approx(expected, rel=1e-5)
