import numpy as np
import pytest

from langpose_dist.analysis.features import FEATURES, STD_FLOOR, frame_features


def two_joints(x: list[float]) -> np.ndarray:
    """A pelvis that wanders, and a joint that moves along x beside it."""
    poses = np.zeros((len(x), 2, 3))
    poses[:, 0] = np.arange(len(x))[:, None] * [0.1, 0.2, 0.3]
    poses[:, 1] = poses[:, 0]
    poses[:, 1, 0] += x
    return poses


def test_features_by_hand() -> None:
    # x = 0, 0, 4, 4: mean 2, std 2, so -1, -1, 1, 1; at 10 Hz the speed is 2 / 0.2 s, the accelerations
    # 2 / 0.01 s^2. The pelvis counts as a second joint at 0: the mean and the std are half of each length.
    features = frame_features(two_joints([0, 0, 4, 4]), 10.0)
    assert features == pytest.approx(np.array([[0.5, 0.5, 5, 5, 100, 100]] * 2))
    assert len(FEATURES) == features.shape[1]


def test_a_joint_that_trembles_by_less_than_the_floor_stays_small() -> None:
    features = frame_features(two_joints([0.0, 0.0, 0.002, 0.002]), 10.0)
    assert features[:, 0] == pytest.approx([0.5 * 0.001 / STD_FLOOR] * 2)


def test_speeds_are_those_of_seconds_whatever_the_rate() -> None:
    def features_at(fps: float) -> np.ndarray:
        times = np.arange(0, 4, 1 / fps)
        return frame_features(two_joints(list(np.sin(2 * np.pi * times))), fps)

    fast, slow = features_at(100.0).mean(axis=0), features_at(50.0).mean(axis=0)
    # A unit sine has the std 0.5^0.5; its mean speed is 4 per period, its mean acceleration 8 pi.
    assert fast[2] == pytest.approx(0.5 * 2**0.5 * 4, rel=0.02)
    assert fast[4] == pytest.approx(0.5 * 2**0.5 * 8 * np.pi, rel=0.02)
    assert slow == pytest.approx(fast, rel=0.02)


def test_where_a_person_stands_and_its_size_are_no_feature() -> None:
    poses = np.random.default_rng(0).normal(size=(9, 17, 3))
    assert frame_features(3 * poses + [1, 2, 3], 30.0) == pytest.approx(frame_features(poses, 30.0))
