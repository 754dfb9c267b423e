import math

import numpy as np
import pytest

from langpose_dist.analysis import kernels
from langpose_dist.analysis.kernels import clip_sums, median_bandwidth
from langpose_dist.config import UserError


def double_loop(clips: list[np.ndarray], sigma: float) -> np.ndarray:
    """The same sums in float64, pair by pair."""
    sums = np.zeros((len(clips), len(clips)))
    for i, first in enumerate(clips):
        for j, second in enumerate(clips):
            for s, x in enumerate(first):
                for t, y in enumerate(second):
                    if (i, s) != (j, t):
                        sums[i, j] += math.exp(-sum((x - y) ** 2) / (2 * sigma**2))
    return sums


def random_clips(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(length, 6)) + rng.normal(size=6) for length in lengths]


@pytest.mark.parametrize("blocks", [(512, 2048), (8, 12), (5, 5), (1, 3)])
def test_block_sums_are_those_of_a_double_loop(
    monkeypatch: pytest.MonkeyPatch, blocks: tuple[int, int]
) -> None:
    clips = random_clips(7, 2, 13, 1, 9, 20)
    monkeypatch.setattr(kernels, "_ROWS", blocks[0])
    monkeypatch.setattr(kernels, "_COLUMNS", blocks[1])
    assert clip_sums(clips, 1.7) == pytest.approx(double_loop(clips, 1.7), rel=2e-6)


def test_kernels_far_from_the_origin_lose_no_digits() -> None:
    clips = random_clips(6, 8)
    assert clip_sums([clip + 1000 for clip in clips], 1.0) == pytest.approx(double_loop(clips, 1.0), rel=2e-6)


def test_bandwidth_is_the_median_distance_over_equal_shares() -> None:
    first, second = [np.array([[0.0], [1.0]])], [np.array([[10.0]]), np.array([[14.0]])]
    assert median_bandwidth(first, second) == (9 + 10) / 2  # distances 1, 4, 9, 10, 13, 14
    crowd = [np.zeros((500, 1)), np.ones((500, 1))]
    pair = [np.array([[50.0], [51.0]])]
    assert median_bandwidth(crowd, pair) >= 49  # a large set does not outnumber a small one


def test_bandwidth_of_frames_that_are_all_equal_is_refused() -> None:
    with pytest.raises(UserError, match="more than half of the frames are equal"):
        median_bandwidth([np.zeros((5, 6))], [np.zeros((5, 6))])
