"""Statistics of joint positions relative to the pelvis, accumulated clip by clip."""

import numpy as np
from jaxtyping import Float

from langpose_dist.data.manifest import Count, Record, Row, Statistics
from langpose_dist.data.sample import Sample
from langpose_dist.skeleton import H36M17


class FrameSums(Record):
    """Sums over the frames of some clips, per joint and axis; additive over clips."""

    num_frames: Count
    sum: tuple[Row, ...]
    sum_of_squares: tuple[Row, ...]
    min: tuple[Row, ...]
    max: tuple[Row, ...]


class StatisticsAccumulator:
    """Accumulates sums over clips in float64."""

    def __init__(self) -> None:
        shape = (H36M17.num_joints, 3)
        self._num_frames = 0
        self._sum = np.zeros(shape)
        self._sum_of_squares = np.zeros(shape)
        self._min = np.full(shape, np.inf)
        self._max = np.full(shape, -np.inf)

    def add(self, sample: Sample) -> None:
        """Add the frames of a clip."""
        poses = sample.poses_3d.astype(np.float64)
        poses -= poses[:, :1]
        self._num_frames += len(poses)
        self._sum += poses.sum(axis=0)
        self._sum_of_squares += np.square(poses).sum(axis=0)
        self._min = np.minimum(self._min, poses.min(axis=0))
        self._max = np.maximum(self._max, poses.max(axis=0))

    def merge(self, sums: FrameSums) -> None:
        """Add the sums of other clips; the same order gives the same result."""
        self._num_frames += sums.num_frames
        self._sum += np.array(sums.sum)
        self._sum_of_squares += np.array(sums.sum_of_squares)
        self._min = np.minimum(self._min, np.array(sums.min))
        self._max = np.maximum(self._max, np.array(sums.max))

    def sums(self) -> FrameSums | None:
        """Sums so far, exact in JSON too; ``None`` without a frame."""
        if self._num_frames == 0:
            return None
        return FrameSums(
            num_frames=self._num_frames,
            sum=_rows(self._sum),
            sum_of_squares=_rows(self._sum_of_squares),
            min=_rows(self._min),
            max=_rows(self._max),
        )

    def result(self) -> Statistics | None:
        """Statistics so far; ``None`` without a frame."""
        if self._num_frames == 0:
            return None
        mean = self._sum / self._num_frames
        variance = np.maximum(self._sum_of_squares / self._num_frames - mean**2, 0)
        return Statistics(
            num_frames=self._num_frames,
            mean=_rows(mean),
            std=_rows(np.sqrt(variance)),
            min=_rows(self._min),
            max=_rows(self._max),
        )


def _rows(values: Float[np.ndarray, "J 3"]) -> tuple[Row, ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in values)
