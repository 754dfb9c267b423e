"""The estimated path of the pelvis."""

import numpy as np
import pytest

from langpose_dist.config import UserError
from langpose_dist.inference.root import estimate_root

FOCAL_LENGTH, SIZE = 1400.0, (1920, 1080)


def project(places: np.ndarray) -> np.ndarray:
    pixels = places[..., :2] / places[..., 2:] * FOCAL_LENGTH + np.array(SIZE) / 2
    return np.concatenate((pixels, np.ones((*pixels.shape[:-1], 1))), axis=-1)


def test_the_path_of_a_figure_of_the_right_size_is_found() -> None:
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.4, (20, 17, 3))
    poses -= poses[:, :1]
    path = np.stack((np.linspace(-2, 2, 20), np.full(20, 0.3), np.linspace(4, 9, 20)), axis=-1)
    keypoints = project(poses + path[:, None])
    np.testing.assert_allclose(estimate_root(poses, keypoints, SIZE, FOCAL_LENGTH), path, atol=1e-4)
    keypoints[5, :, 2] = 0  # nobody is seen: half way between the neighbours
    keypoints[5, :, :2] = 0
    found = estimate_root(poses, keypoints, SIZE, FOCAL_LENGTH)
    np.testing.assert_allclose(found, path, atol=1e-4)


def test_a_person_who_is_never_seen_is_nowhere() -> None:
    found = estimate_root(np.zeros((3, 17, 3)), np.zeros((3, 17, 3)), SIZE, FOCAL_LENGTH)
    assert (found == 0).all()


def test_frames_whose_joints_are_all_on_one_pixel_lie_between_others() -> None:
    poses = np.random.default_rng(0).normal(0, 0.4, (5, 17, 3))
    poses -= poses[:, :1]
    path = np.stack((np.zeros(5), np.zeros(5), np.linspace(4, 5, 5)), axis=-1)
    keypoints = project(poses + path[:, None])
    keypoints[2, :, :2] = 300
    np.testing.assert_allclose(estimate_root(poses, keypoints, SIZE, FOCAL_LENGTH), path, atol=1e-4)
    keypoints[..., :2] = 300
    with pytest.raises(UserError, match="within 1 pixel in every frame"):
        estimate_root(poses, keypoints, SIZE, FOCAL_LENGTH)
