"""Windows of a long clip."""

import numpy as np
import pytest

from langpose_dist.inference.windows import Clip, blend, default_stride, starts_of


def clip_of(num_frames: int) -> np.ndarray:
    return np.random.default_rng(num_frames).normal(size=(num_frames, 17, 3)).astype(np.float32)


def test_windows_begin_on_one_grid_and_at_both_ends() -> None:
    assert starts_of(0, 30, 9, 5).tolist() == [0, 5, 10, 15, 20, 21]
    assert starts_of(7, 30, 9, 5).tolist() == [7, 10, 15, 20, 21]
    assert starts_of(7, 12, 9, 5).tolist() == [7]
    assert default_stride(243) == 81


@pytest.mark.parametrize("num_frames", [1, 5, 9, 10, 13, 14, 200])
def test_what_each_window_repeats_stays_as_it_is(num_frames: int) -> None:
    clip = clip_of(num_frames)
    (found,) = blend(lambda windows: windows, [Clip(clip, 3)], 9, 5)
    np.testing.assert_allclose(found, clip, atol=1e-6)


def test_the_middle_of_a_window_weighs_most() -> None:
    # Two windows of 5 frames that share frames 3 and 4: the first says 0, the second 1.
    def numbered(windows: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(len(windows), dtype=float)[:, None], windows.shape[:2])

    (found,) = blend(numbered, [Clip(clip_of(8), 0)], 5, 3)
    np.testing.assert_allclose(found, [0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1], atol=1e-6)


def test_a_clip_that_is_cut_anywhere_has_the_same_middle() -> None:
    def average(windows: np.ndarray) -> np.ndarray:
        return np.broadcast_to(windows.mean(axis=1, keepdims=True), windows.shape)

    clip = clip_of(80)
    (whole,) = blend(average, [Clip(clip, 0)], 9, 5)
    for cut in range(1, 30):
        (later,) = blend(average, [Clip(clip[cut:71], cut)], 9, 5)
        np.testing.assert_array_equal(later[9:-9], whole[cut + 9 : 62])


def test_a_long_clip_goes_through_a_few_windows_at_a_time() -> None:
    sizes = []

    def count(windows: np.ndarray) -> np.ndarray:
        sizes.append(len(windows))
        return windows

    blend(count, [Clip(clip_of(1000), 0)], 9, 5)
    assert max(sizes) == 16
    assert sum(sizes) == len(starts_of(0, 1000, 9, 5))


def test_clips_share_the_windows_that_go_through_together() -> None:
    sizes = []

    def average(windows: np.ndarray) -> np.ndarray:
        sizes.append(len(windows))
        return np.broadcast_to(windows.mean(axis=1, keepdims=True), windows.shape)

    clips = [Clip(clip_of(number), number) for number in (1, 9, 14, 30, 2, 47)]
    found = blend(average, clips, 9, 5)
    assert sizes == [16, 5]
    for clip, values in zip(clips, found, strict=True):
        np.testing.assert_array_equal(values, blend(average, [clip], 9, 5)[0])
