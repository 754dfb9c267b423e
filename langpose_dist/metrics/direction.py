"""Which way a metric improves: ``langpose_dist.direction`` under the name of the metrics."""

from langpose_dist.direction import is_more_better

__all__ = ["is_more_better"]
