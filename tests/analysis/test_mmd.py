import itertools
import math

import numpy as np
import pytest
from scipy.stats import t

from langpose_dist.analysis.kernels import clip_sums
from langpose_dist.analysis.mmd import KernelSums, compare


def kernels_of(clips: list[np.ndarray], sigma: float = 1.0) -> KernelSums:
    return KernelSums(clip_sums(clips, sigma), np.array([len(clip) for clip in clips]))


def direct_mmd2(first: np.ndarray, second: np.ndarray, sigma: float) -> float:
    """U-statistic from the frames, in float64: Gretton et al., Eq. 3."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return math.exp(-float(((x - y) ** 2).sum()) / (2 * sigma**2))

    def within(frames: np.ndarray) -> float:
        pairs = itertools.permutations(frames, 2)
        return sum(kernel(x, y) for x, y in pairs) / (len(frames) * (len(frames) - 1))

    between = sum(kernel(x, y) for x in first for y in second) / (len(first) * len(second))
    return within(first) + within(second) - 2 * between


def made_clips(num_clips: int, shift: float = 0.0, seed: int = 0, spread: float = 0.7) -> list[np.ndarray]:
    """Clips of 5 to 14 frames that are alike."""
    rng = np.random.default_rng(seed)
    return [
        shift + spread * rng.normal(size=6) + 0.5 * rng.normal(size=(rng.integers(5, 15), 6))
        for _ in range(num_clips)
    ]


def is_first(num_first: int, num_all: int) -> np.ndarray:
    return np.arange(num_all) < num_first


def test_estimate_is_the_u_statistic_of_the_frames() -> None:
    first, second = made_clips(4), made_clips(5, 0.4, 1)
    found = compare(kernels_of([*first, *second]), is_first(4, 9))
    assert found.mmd2 == pytest.approx(
        direct_mmd2(np.concatenate(first), np.concatenate(second), 1.0), abs=1e-6
    )
    assert found.low < found.mmd2 < found.high


def test_two_normal_distributions_have_the_known_distance() -> None:
    # E k of two normals of distance d in D dimensions is (s^2 / (s^2 + 2))^(D/2) exp(-d^2 / 2 (s^2 + 2)).
    rng = np.random.default_rng(0)
    sigma, dimensions = 1.5, 2
    first = list(rng.normal(size=(100, 20, dimensions)))
    second = list(rng.normal(size=(100, 20, dimensions)) + np.array([1.0, 0.0]))
    scale = (sigma**2 / (sigma**2 + 2)) ** (dimensions / 2)
    expected = 2 * scale * (1 - math.exp(-1 / (2 * (sigma**2 + 2))))
    found = compare(kernels_of([*first, *second], sigma), is_first(100, 200))
    assert found.mmd2 == pytest.approx(expected, abs=0.01)
    assert found.low < expected < found.high
    assert found.p == 0.001


def test_two_samples_of_independent_frames_have_no_floor() -> None:
    frames = np.random.default_rng(0).normal(size=(120, 8, 6))
    found = compare(kernels_of(list(frames), 3.0), is_first(60, 120))
    assert abs(found.mmd2) < 0.005  # Eq. 2 as printed would give about -0.5
    assert abs(found.floor) < 0.001


def test_p_of_every_permutation_is_exact() -> None:
    """With 3 against 3 clips far apart, 2 of the 20 deals are as far: 0.1, within the error of 999 draws."""
    clips = [*made_clips(3), *made_clips(3, 3.0, 1)]
    assert compare(kernels_of(clips), is_first(3, 6)).p == pytest.approx(0.1, abs=0.03)


def test_test_keeps_its_level_where_frames_of_a_clip_are_alike() -> None:
    values = [compare(kernels_of(made_clips(24, seed=seed), 3.0), is_first(12, 24)) for seed in range(60)]
    assert sum(one.p <= 0.05 for one in values) <= 7  # 3 are expected; 8 or more have a chance of 1 %
    assert np.mean([one.mmd2 for one in values]) == pytest.approx(
        np.mean([one.floor for one in values]), abs=0.01
    )
    assert np.mean([one.floor for one in values]) > 0.02


def test_jackknife_is_that_of_estimates_without_one_clip() -> None:
    first, second = made_clips(4), made_clips(3, 0.4, 1)
    found = compare(kernels_of([*first, *second]), is_first(4, 7))
    variances = []
    for side in (0, 1):
        values = []
        for place in range(len((first, second)[side])):
            kept = [list(first), list(second)]
            del kept[side][place]
            values.append(direct_mmd2(np.concatenate(kept[0]), np.concatenate(kept[1]), 1.0))
        variances.append((len(values) - 1) * float(np.var(values)))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 3 + variances[1] ** 2 / 2)
    expected = t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    assert 2 < freedom < 5
    assert found.high - found.mmd2 == pytest.approx(expected, rel=1e-4)
    assert found.mmd2 - found.low == pytest.approx(expected, rel=1e-4)


def test_persons_are_exchanged_with_all_their_clips() -> None:
    clips = made_clips(6)
    merged = kernels_of(clips).merged(["b", "a", "b", "a", "c", "c"])
    joined = [np.concatenate([clips[i], clips[j]]) for i, j in ((0, 2), (1, 3), (4, 5))]
    expected = kernels_of(joined)
    assert merged.sums == pytest.approx(expected.sums, rel=1e-5)
    assert merged.num_frames.tolist() == expected.num_frames.tolist()
