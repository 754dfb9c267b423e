"""Errors of a made-up detector."""

import numpy as np
import pytest

from langpose_dist.skeleton import H36M17
from langpose_dist.synthesis.detector import CPN, STACKED_HOURGLASS, Detector


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A person in 2000 frames, all joints at least 40 pixels apart."""
    places = np.stack((300 + 47.0 * np.arange(17), 200 + 40.0 * np.arange(17)), axis=-1)
    return np.tile(places, (2000, 1, 1))


@pytest.mark.parametrize("detector", [STACKED_HOURGLASS, CPN])
def test_errors_are_those_of_a_good_detector(pixels: np.ndarray, detector: Detector) -> None:
    detected, confidence = detector.detect(pixels, np.random.default_rng(0))
    distance = np.linalg.norm(detected - pixels, axis=-1)
    assert 3 < np.median(distance) < 6
    gross = distance > 35
    assert gross.mean() == pytest.approx(detector.lost, rel=0.25)
    assert confidence[gross].max() < 0.62
    assert confidence[~gross].mean() > 0.9
    assert confidence.min() > 0
    assert 1 < confidence.max() <= 1.07
    assert (confidence > 1).mean() > 0.01
    wrists = distance[:, [H36M17.index("left_wrist"), H36M17.index("right_wrist")]]
    assert np.median(wrists) > 1.5 * np.median(distance[:, H36M17.index("left_hip")])


def test_errors_last(pixels: np.ndarray) -> None:
    steady = Detector(wander=4.0, jitter=0.0, lost=0.0).detect(pixels, np.random.default_rng(1))[0] - pixels
    shaky = Detector(wander=0.0, jitter=4.0, lost=0.0).detect(pixels, np.random.default_rng(1))[0] - pixels
    assert np.abs(np.diff(steady, axis=0)).mean() < 0.2 * np.abs(np.diff(shaky, axis=0)).mean()
    assert steady.std() == pytest.approx(shaky.std(), rel=0.3)


def test_a_lost_joint_stays_lost_for_six_frames(pixels: np.ndarray) -> None:
    detector = Detector(wander=0.0, jitter=0.0, lost=0.001)
    detected, confidence = detector.detect(pixels, np.random.default_rng(2))
    lost = (np.abs(detected - pixels) > 0).any(axis=-1)
    edges = np.diff(np.pad(lost.astype(int), ((1, 1), (0, 0))), axis=0)
    starts, ends = np.argwhere(edges.T == 1), np.argwhere(edges.T == -1)
    assert len(starts) > 2
    lengths = (ends - starts)[:, 1]
    assert set(lengths[ends[:, 1] < len(pixels)].tolist()) == {6}
    assert confidence[~lost].min() > 0.9


def test_no_detector_no_error(pixels: np.ndarray) -> None:
    detected, _ = Detector(wander=0.0, jitter=0.0, lost=0.0).detect(pixels[:3], np.random.default_rng(0))
    np.testing.assert_array_equal(detected, pixels[:3])
