"""From pixels to the model's units."""

import numpy as np
import pytest

from langpose_dist.config import UserError
from langpose_dist.inference.picture import normalise, normalise_box, normalise_image, ray_rotations
from langpose_dist.skeleton import H36M17
from tests.inference.figures import standing


def test_image_divides_by_half_the_width() -> None:
    keypoints = np.ones((1, 1, 17, 3), np.float32)
    keypoints[0, 0, 0, :2] = (1080, 0)
    keypoints[0, 0, 1, :2] = (540, 960)
    found, centre = normalise_image(keypoints, (1080, 1920))
    np.testing.assert_allclose(found[0, 0, :2], [[1, -960 / 540, 1], [0, 0, 1]], atol=1e-6)
    assert centre.tolist() == [[540, 960]]


def test_box_sees_neither_place_nor_zoom() -> None:
    near, near_centre = normalise_box(standing(9, 800, (300, 900))[None], 0.5)
    far, _ = normalise_box(standing(9, 60, (1500, 200))[None], 0.5)
    np.testing.assert_allclose(near, far, atol=1e-4)
    assert near[0, :, 0, :2].tolist() == [[0, 0]] * 9
    assert near_centre.tolist() == [[300, 900]]


def test_box_gives_a_standing_adult_the_size_that_the_model_knows() -> None:
    found = normalise_box(standing(9)[None], 0.5)[0][0, 0]
    height = found[H36M17.index("left_ankle"), 1] - found[H36M17.index("head"), 1]
    # 1.62 m from ankle to crown; upright limbs are a little longer than limbs are on average.
    assert 1.62 * 0.5 * 0.8 < height < 1.62 * 0.5


def test_box_gives_half_a_person_the_same_size() -> None:
    whole = standing(9)
    upper = whole.copy()
    upper[:, [H36M17.index(joint) for joint in H36M17.joints if "knee" in joint or "ankle" in joint]] = 0
    found, _ = normalise_box(np.stack((whole, upper)), 0.5)
    arms = [H36M17.index(joint) for joint in H36M17.body_parts["left_arm"]]
    np.testing.assert_allclose(found[1, :, arms], found[0, :, arms], rtol=0.02)


def test_joints_that_are_not_seen_are_zero() -> None:
    keypoints = standing(9)
    keypoints[3:, 16] = (7, 7, 0)
    for found, _ in (normalise_box(keypoints[None], 0.5), normalise_image(keypoints[None], (1000, 1000))):
        assert (found[0, 3:, 16] == 0).all()
        assert (found[0, :3, 16] != 0).all()


def test_a_window_in_which_nobody_is_seen_has_a_unit() -> None:
    found, _ = normalise_box(np.zeros((1, 9, 17, 3), np.float32), 0.5)
    assert (found == 0).all()


def test_a_wrong_size_is_told() -> None:
    with pytest.raises(UserError, match="picture of 64x64; give its true --size"):
        normalise(standing(9)[None], "image", (64, 64), 0.5)


def test_rays_point_to_where_the_person_is() -> None:
    middle, aside = ray_rotations(np.array([[500.0, 400.0], [1500.0, 400.0]]), (1000, 800), 1000.0)
    np.testing.assert_allclose(middle, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(aside[:, 2], np.array([1, 0, 1]) / np.sqrt(2), atol=1e-9)
    np.testing.assert_allclose(aside @ aside.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(aside) == pytest.approx(1)
