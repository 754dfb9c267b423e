"""Intervals of differences between models, over recordings that are drawn in pairs."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from langpose_dist.evaluation.measure import RecordingScore

NUM_RESAMPLES = 2000
"""Draws of the bootstrap."""
CONFIDENCE = 0.95


def draw_recordings(num_recordings: int) -> Int[np.ndarray, "R N"]:
    """Number of times that each draw holds each recording; the same for every model.

    Source:
        Efron and Tibshirani, 1993.
    """
    rng = np.random.Generator(np.random.Philox(key=0))
    return rng.multinomial(num_recordings, np.full(num_recordings, 1 / num_recordings), NUM_RESAMPLES)


def resampled_means(
    scores: Sequence[RecordingScore], metric: str, draws: Int[np.ndarray, "R N"]
) -> Float[np.ndarray, "R"]:
    """Mean of each draw, taken over the groups as a protocol takes it; NaN where a draw holds no value."""
    sums, counts = (draws @ part for part in _table(scores, metric))
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    num_groups = (counts > 0).sum(axis=1)
    totals = means.sum(axis=1)
    return np.divide(totals, num_groups, out=np.full_like(totals, np.nan), where=num_groups > 0)


def interval(samples: Float[np.ndarray, "R"]) -> tuple[float, float]:
    """Percentiles that enclose the share ``CONFIDENCE`` of the draws."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(samples, [tail, 100 - tail])
    return float(low), float(high)


def _table(
    scores: Sequence[RecordingScore], metric: str
) -> tuple[Float[np.ndarray, "N G"], Float[np.ndarray, "N G"]]:
    """Sum and number of values, recordings x groups."""
    groups = sorted({score.group for score in scores})
    sums, counts = np.zeros((2, len(scores), len(groups)))
    for row, score in enumerate(scores):
        value, count = score.values.get(metric, (0.0, 0))
        sums[row, groups.index(score.group)] = value * count
        counts[row, groups.index(score.group)] = count
    return sums, counts
