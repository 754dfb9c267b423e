"""Frames of the video and of the model."""

import numpy as np
import pytest

from langpose_dist.inference.rate import Rates


def moving(num_frames: int, fps: float, first: int = 0) -> np.ndarray:
    """Joints that move by (joint number) pixels a second."""
    times = (first + np.arange(num_frames)) / fps
    keypoints = np.ones((num_frames, 17, 3), np.float32)
    keypoints[..., 0] = times[:, None] * np.arange(17)
    return keypoints


@pytest.mark.parametrize("video", [24.0, 30.0, 50.0, 59.94, 60.0, 120.0])
@pytest.mark.parametrize("model", [10.0, 30.0, 50.0])
def test_an_even_motion_comes_through_and_back(video: float, model: float) -> None:
    rates, keypoints = Rates(video, model), moving(61, video)
    frames, start = rates.to_model(keypoints, 0)
    inside = frames[:-1] if not rates.are_same else frames  # the last one may lie past the clip
    expected = (
        (start + np.arange(len(inside)))[:, None] / (video if rates.are_same else model) * np.arange(17)
    )
    np.testing.assert_allclose(inside[..., 0], expected, atol=1e-4)
    back = rates.to_video(frames, start, 0, 61)
    np.testing.assert_allclose(back[:-15, :, 0], keypoints[:-15, :, 0], atol=1e-3)
    assert len(back) == 61


def test_nearly_equal_rates_keep_every_frame() -> None:
    keypoints = moving(10, 29.97)
    frames, start = Rates(29.97, 30.0).to_model(keypoints, 4)
    assert frames is keypoints
    assert start == 4


def test_a_track_that_begins_later_has_the_same_frames_of_the_model() -> None:
    rates, keypoints = Rates(60.0, 25.0), moving(100, 60.0)
    whole, start = rates.to_model(keypoints, 0)
    later, later_start = rates.to_model(keypoints[17:], 17)
    assert start == 0
    assert later_start == 7  # 17 / 60 s lies between 7 / 25 and 8 / 25 s
    np.testing.assert_allclose(later[1:-1], whole[later_start + 1 : -1], atol=1e-5)


def test_a_joint_that_is_seen_on_one_side_only_is_not_seen_in_between() -> None:
    keypoints = moving(4, 30.0)
    keypoints[2, 5] = 0
    frames, _ = Rates(30.0, 60.0).to_model(keypoints, 0)
    assert (frames[:, 5, 2] > 0).tolist() == [True, True, True, False, False, False, True]
    assert (frames[:, 4, 2] > 0).all()


def test_one_frame_is_enough() -> None:
    rates, keypoints = Rates(50.0, 30.0), moving(1, 50.0, first=3)
    frames, start = rates.to_model(keypoints, 3)
    assert rates.to_video(frames, start, 3, 1).shape == (1, 17, 3)
