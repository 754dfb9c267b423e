"""Sums of the RBF kernel between clips, whose size no longer depends on the number of frames."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.spatial.distance import pdist

from langpose_dist.config import UserError

Frames = Float[np.ndarray, "_ D"]
"""Features of one clip."""

NUM_HEURISTIC = 1000
"""Frames whose distances give the bandwidth."""
_ROWS, _COLUMNS = 512, 2048
"""A block of the kernel matrix, 4 MiB: it stays in the processor's cache."""


def median_bandwidth(first: Sequence[Frames], second: Sequence[Frames]) -> float:
    """Median distance between frames, of which each set gives half.

    Raises:
        UserError: If it is 0.

    Source:
        Gretton et al., JMLR 2012. Sigma is the median distance; a ``gamma`` of 1 / median^2 is another one.
    """
    rng = np.random.Generator(np.random.Philox(key=0))
    pools = [np.concatenate(clips) for clips in (first, second)]
    share = min(NUM_HEURISTIC // 2, *map(len, pools))
    drawn = [pool[rng.choice(len(pool), share, replace=False)] for pool in pools]
    sigma = float(np.median(pdist(np.concatenate(drawn))))
    if sigma == 0:
        raise UserError("more than half of the frames are equal: a median distance of 0 is no bandwidth")
    return sigma


def clip_sums(clips: Sequence[Frames], sigma: float) -> Float64[np.ndarray, "N N"]:
    """Sum of exp(-|x - y|^2 / 2 sigma^2) over the frames x of one clip and y of another.

    A frame's pair with itself is left out of the diagonal. Kernels are in float32, which is right to about
    1e-6, and sums in float64.
    """
    left, right = _halves(np.concatenate(clips) / sigma)
    lengths = np.array([len(clip) for clip in clips])
    owner = np.repeat(np.arange(len(clips)), lengths)
    sums = np.zeros((len(clips), len(clips)))
    for row in range(0, len(left), _ROWS):
        rows = slice(row, row + _ROWS)
        for column in range(row, len(left), _COLUMNS):
            columns = slice(column, column + _COLUMNS)
            kernel = left[rows] @ right[:, columns]
            np.exp(kernel, out=kernel)
            if column == row:
                kernel = np.triu(kernel, 1)  # a frame meets each later one
            _add(sums, kernel, owner[rows], owner[columns])
    return sums + sums.T


def _halves(
    frames: Float[np.ndarray, "M D"],
) -> tuple[Float[np.ndarray, "M E"], Float[np.ndarray, "E M"]]:
    """Two matrices whose product is -|x - y|^2 / 2."""
    points = (frames - frames.mean(axis=0)).astype(np.float32)
    norms = -np.square(points).sum(axis=1, keepdims=True) / 2
    ones = np.ones_like(norms)
    return np.hstack((points, norms, ones)), np.hstack((points, ones, norms)).T.copy()


def _add(
    sums: Float64[np.ndarray, "N N"],
    kernel: Float[np.ndarray, "R C"],
    row_owners: Int[np.ndarray, "R"],
    column_owners: Int[np.ndarray, "C"],
) -> None:
    """Add a block of kernels to the sums of the clips that own its rows and columns."""
    (rows, row_starts), (columns, column_starts) = (
        np.unique(owners, return_index=True) for owners in (row_owners, column_owners)
    )
    narrow = np.add.reduceat(kernel, column_starts, axis=1).astype(np.float64)
    sums[np.ix_(rows, columns)] += np.add.reduceat(narrow, row_starts, axis=0)
