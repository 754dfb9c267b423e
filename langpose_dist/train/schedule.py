"""The learning rate over a run."""

import math
from typing import Literal


def learning_rate_factor(
    step: int,
    *,
    num_steps: int,
    warmup_steps: int,
    schedule: Literal["cosine", "exponential", "constant"],
    final_ratio: float,
) -> float:
    """Learning rate of a step over the peak: linear warm-up, then a decay that ends at ``final_ratio``.

    Args:
        step: Optimizer updates done before this one.
        num_steps: Updates in the whole run.
        warmup_steps: The first step has ``1 / warmup_steps``; step ``warmup_steps`` has the peak.
        schedule: Shape of the decay; MotionBERT's is exponential.
        final_ratio: Value at the last step.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, num_steps - 1 - warmup_steps))
    match schedule:
        case "cosine":
            return final_ratio + (1 - final_ratio) * (1 + math.cos(math.pi * progress)) / 2
        case "exponential":
            return final_ratio**progress
        case "constant":
            return 1.0
