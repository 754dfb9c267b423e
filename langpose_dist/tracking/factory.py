"""The tracker that a configuration asks for."""

from typing import Any

from langpose_dist.config import RunConfig
from langpose_dist.runs.tracker import NullTracker, Tracker


def build_tracker(config: RunConfig, **about: Any) -> Tracker:
    """Build the tracker of a configuration; ``about`` are further options of ``MLflowTracker``."""
    if not config.tracking.enabled:
        return NullTracker()
    from langpose_dist.tracking.tracker import MLflowTracker

    return MLflowTracker(config.tracking, **about)
