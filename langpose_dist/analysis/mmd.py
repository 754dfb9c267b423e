"""Squared maximum mean discrepancy between two sets of clips, with a test and an interval over clips.

Frames of one clip are alike, so a permutation of frames finds a difference between any two sets. Here clips
change sides, or persons. All of it comes out of the kernel sums of ``clip_sums``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.stats import t

NUM_PERMUTATIONS = 999
CONFIDENCE = 0.95
_ROUNDING = 1e-12
"""Difference of sums in another order: a permutation that changes nothing ties with the observed value."""


@dataclass(frozen=True)
class Discrepancy:
    """Difference of two sets of clips."""

    mmd2: float
    floor: float
    """Mean over the permutations: what the same clips give when dealt out at random. It is above 0, since
    frames of a clip are alike."""
    p: float
    """Share of permutations, this one included, with at least this ``mmd2``."""
    low: float
    high: float
    """Ends of the jackknife's interval."""


@dataclass(frozen=True)
class KernelSums:
    """Kernel sums between units that are exchanged as a whole: clips, or persons."""

    sums: Float64[np.ndarray, "N N"]
    """A frame's pair with itself left out."""
    num_frames: Int[np.ndarray, "N"]

    def merged(self, units: Sequence[str]) -> "KernelSums":
        """Sums between groups of units, in the order of their first members.

        ``units`` names the group of each.
        """
        members = np.array([[unit == name for unit in units] for name in dict.fromkeys(units)], np.float64)
        num_frames = (members @ self.num_frames).astype(np.int64)
        return KernelSums(members @ self.sums @ members.T, num_frames)

    def mmd2(
        self, first: Bool[np.ndarray, "R N"], second: Bool[np.ndarray, "R N"]
    ) -> Float64[np.ndarray, "R"]:
        """Unbiased estimate between the units of ``first`` and those of ``second``, for each row.

        The within terms are means over the pairs i != j. Eq. 2 of LangPose's supplement divides the sum over
        i < j by the number of ordered pairs, which halves them: two halves of one set would give -0.5.

        Source:
            Gretton et al., JMLR 2012, Eq. 3.
        """
        x, y = first.astype(np.float64), second.astype(np.float64)
        n, m = x @ self.num_frames, y @ self.num_frames
        from_x = x @ self.sums
        within_x = (from_x * x).sum(axis=1) / (n * (n - 1))
        within_y = ((y @ self.sums) * y).sum(axis=1) / (m * (m - 1))
        return within_x + within_y - 2 * (from_x * y).sum(axis=1) / (n * m)


def compare(kernels: KernelSums, is_first: Bool[np.ndarray, "N"]) -> Discrepancy:
    """Estimate, test and interval between two sets of units, at least 2 in each.

    Source:
        Test: Gretton et al., JMLR 2012, with units in place of samples. Interval: the two-sample jackknife of
        Arvesen, 1969, with the degrees of freedom of Welch, 1947.
    """
    mmd2 = float(kernels.mmd2(is_first[None], ~is_first[None])[0])
    rng = np.random.Generator(np.random.Philox(key=0))
    dealt = rng.permuted(np.tile(is_first, (NUM_PERMUTATIONS, 1)), axis=1)
    null = kernels.mmd2(dealt, ~dealt)
    num_above = int((null >= mmd2 - _ROUNDING).sum())
    half_width = _half_width(kernels, is_first)
    return Discrepancy(
        mmd2=mmd2,
        floor=float(null.mean()),
        p=(1 + num_above) / (1 + NUM_PERMUTATIONS),
        low=mmd2 - half_width,
        high=mmd2 + half_width,
    )


def _half_width(kernels: KernelSums, is_first: Bool[np.ndarray, "N"]) -> float:
    others = ~np.eye(len(is_first), dtype=bool)
    without = kernels.mmd2(is_first & others, ~is_first & others)
    parts = [without[side] for side in (is_first, ~is_first)]
    counts = np.array([len(values) for values in parts])
    variances = (counts - 1) * np.array([values.var() for values in parts])
    freedom = variances.sum() ** 2 / (variances**2 / (counts - 1)).sum()
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom) * variances.sum() ** 0.5)
