"""Optional smoothing."""

import numpy as np
import pytest

from langpose_dist.inference.smoothing import mean_acceleration, smooth


def falling(num_frames: int = 61, fps: float = 30.0) -> np.ndarray:
    poses = np.zeros((num_frames, 17, 3), np.float32)
    poses[..., 1] = (0.5 * 9.81 * (np.arange(num_frames) / fps) ** 2)[:, None]
    return poses


def test_off_means_untouched() -> None:
    poses = falling()
    found = smooth(poses, None, 30.0, None)
    assert found.poses_3d is poses
    assert found.effect["method"] == "none"
    assert found.effect["acceleration_m_s2"] == pytest.approx(9.81, rel=1e-3)


def test_a_fall_keeps_its_parabola() -> None:
    found = smooth(falling(), falling()[:, 0], 30.0, 0.3)
    np.testing.assert_allclose(found.poses_3d, falling(), atol=1e-4)
    assert found.root is not None
    np.testing.assert_allclose(found.root, falling()[:, 0], atol=1e-4)
    assert found.effect["frames"] == 9


def test_the_effect_on_jitter_is_reported() -> None:
    noise = np.random.default_rng(0).normal(0, 0.005, (61, 17, 3)).astype(np.float32)
    found = smooth(falling() + noise, None, 30.0, 0.5)
    effect = found.effect
    assert effect["acceleration_m_s2"] < 0.7 * effect["acceleration_m_s2_before"]
    moved = np.linalg.norm(found.poses_3d - falling() - noise, axis=-1)
    assert effect["mean_change_mm"] == pytest.approx(1000 * moved.mean(), abs=0.01)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4])
def test_a_clip_shorter_than_the_window_passes(num_frames: int) -> None:
    assert smooth(falling(num_frames), None, 30.0, 1.0).poses_3d.shape == (num_frames, 17, 3)
    assert (mean_acceleration(falling(num_frames), 30.0) is None) == (num_frames < 3)
