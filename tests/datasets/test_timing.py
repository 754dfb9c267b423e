import numpy as np
import pytest

from langpose_dist.datasets.timing import frame_places, resample, to_frames


def test_resampling_goes_by_time() -> None:
    # A point that moves with 1 m/s must be at k/30 m in frame k, whatever the source's rate.
    for fps in (24.0, 59.94, 60.0, 100.0, 120.0, 250.0):
        times = np.arange(int(fps * 2) + 1) / fps
        poses = np.tile(times[:, None, None], (1, 17, 3))
        resampled = resample(poses, fps, 30.0)
        assert len(resampled) == int(times[-1] * 30 + 1e-6) + 1
        np.testing.assert_allclose(resampled[:, 0, 0], np.arange(len(resampled)) / 30, atol=1e-9)


def test_resampling_interpolates_between_frames() -> None:
    poses = np.array([0.0, 1.0, 4.0]).reshape(3, 1, 1) * np.ones((3, 17, 3))
    np.testing.assert_allclose(resample(poses, 10.0, 20.0)[:, 0, 0], [0, 0.5, 1, 2.5, 4])
    np.testing.assert_allclose(resample(poses, 20.0, 10.0)[:, 0, 0], [0, 4])
    np.testing.assert_allclose(resample(poses[:1], 20.0, 10.0)[:, 0, 0], [0])


def test_rates_within_the_tolerance_keep_every_frame() -> None:
    poses = np.arange(3001.0)
    assert len(resample(poses, 29.97, 30.0, tolerance=1.1e-3)) == 3001
    # By time, 3000 intervals of 29.97 Hz are 3003.003 of 30 Hz.
    assert len(resample(poses, 29.97, 30.0)) == 3004


@pytest.mark.parametrize("fps", [59.94, 100.0, 120.0, 250.0])
def test_only_the_used_frames_need_to_be_computed(fps: float) -> None:
    values = np.random.default_rng(0).normal(size=(503, 2))
    places = frame_places(503, fps, 30.0)
    used = places.used()
    np.testing.assert_array_equal(places.among(used).interpolate(values[used]), places.interpolate(values))
    if fps == 120.0:
        np.testing.assert_array_equal(used, np.arange(0, 503, 4))


def test_spans_in_seconds_become_frames() -> None:
    assert to_frames(0.0, 1.0, 30.0, 100) == (0, 30)
    assert to_frames(1.02, 2.03, 30.0, 100) == (31, 61)
    assert to_frames(3.0, 9.0, 30.0, 100) == (90, 100)  # cut at the clip's end
    assert to_frames(-1.0, 0.5, 30.0, 100) == (0, 15)
    assert to_frames(1.0, 1.001, 30.0, 100) == (30, 31)  # at least a frame
    assert to_frames(4.0, 5.0, 30.0, 100) is None
    assert to_frames(2.0, 1.0, 30.0, 100) is None
    assert to_frames(-2.0, -1.0, 30.0, 100) is None
    assert to_frames(-1.0, 0.0, 30.0, 100) is None
    assert to_frames(0.0, 0.0, 30.0, 100) == (0, 1)
    assert to_frames(float("nan"), 1.0, 30.0, 100) is None
    assert to_frames(0.0, float("inf"), 30.0, 100) is None
