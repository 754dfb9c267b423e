"""Means over the steps since the last log."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Averages:
    """Sums on the device and what they are divided by; no value is read before it is asked for.

    Args:
        sums: As ``state`` gave them; empty for a fresh start.
        counts: As ``state`` gave them.
        num_steps: Steps in them.
        device: Where the sums are kept.
    """

    def __init__(
        self, sums: Sequence[float], counts: Sequence[int], num_steps: int, device: torch.device
    ) -> None:
        is_whole = len(sums) == len(counts)  # checkpoints of version 0.1 kept no counts
        self._sums = torch.tensor(sums if is_whole else (), device=device)
        self._counts = list(counts if is_whole else ())
        self.num_steps = num_steps if is_whole else 0

    def add(self, sums: Tensor, counts: Sequence[int]) -> None:
        """Add a step."""
        if self.num_steps == 0:
            self._sums, self._counts = sums, list(counts)
        else:
            self._sums = self._sums + sums
            self._counts = [one + other for one, other in zip(self._counts, counts, strict=True)]
        self.num_steps += 1

    def take(self) -> list[float | None]:
        """The means, ``None`` for what nothing was counted of; starts anew."""
        self.num_steps = 0
        return [
            value / count if count else None
            for value, count in zip(self._sums.tolist(), self._counts, strict=True)
        ]

    def state(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Sums and counts for a checkpoint; empty without a step."""
        return (tuple(self._sums.tolist()), tuple(self._counts)) if self.num_steps else ((), ())
