"""Stops a run whose loss or gradient is no longer a number, and says which windows did it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from langpose_dist.train.distributed.processes import Processes

Losses = Sequence[tuple[Sequence[str], Tensor]]
"""Window keys and losses of each micro batch."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message is one line for a person.

    ``is_agreed`` where every rank raises it at the same place.
    """

    def __init__(self, message: str, *, is_agreed: bool = True) -> None:
        super().__init__(message)
        self.is_agreed = is_agreed


class DivergedError(TrainingError):
    """The loss or its gradient is no longer a number: started again, training would come to the same."""


class FiniteGuard:
    """Watches loss and gradient norm of every step.

    Reading a value from a GPU waits for it, so there a step is judged only when the next one has been
    queued; on a CPU it is judged at once. No checkpoint is written of a step that has not been judged.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.lag = 1 if processes.device.type == "cuda" else 0
        self._steps: list[tuple[int, _Verdict, Losses]] = []

    def watch(self, step: int, summary: Tensor, losses: Losses) -> None:
        """Add a step, and judge those that are old enough.

        Args:
            step: Its number.
            summary: Values that are the same on every rank and not finite if any rank's loss is not.
            losses: Window keys and losses of each of this rank's micro batches.

        Raises:
            DivergedError: On every rank, naming the rank and the windows.
        """
        self._steps.append((step, _Verdict(summary), losses))
        self._judge(keep=self.lag)

    def flush(self) -> None:
        """Judge every step so far.

        Raises:
            DivergedError: As ``watch``.
        """
        self._judge(keep=0)

    def _judge(self, keep: int) -> None:
        while len(self._steps) > keep:
            step, verdict, losses = self._steps.pop(0)
            if verdict.is_finite():
                continue
            mine = [
                f"{key} ({value})"
                for keys, values in losses
                for key, value in zip(keys, values.tolist(), strict=True)
                if not torch.isfinite(torch.tensor(value))
            ]
            found = [
                f"rank {rank}: {', '.join(keys)}"
                for rank, keys in enumerate(self.processes.gather(mine))
                if keys
            ]
            if found:
                raise DivergedError(f"the loss is not finite at step {step}; windows of {'; '.join(found)}")
            everyone = self.processes.gather([key for keys, _ in losses for key in keys])
            keys = ", ".join(key for part in everyone for key in part)
            raise DivergedError(
                f"the gradient is not finite at step {step}, though every loss is; windows {keys}"
            )


class _Verdict:
    """Finiteness of values, on its way to the CPU while the GPU continues."""

    def __init__(self, values: Tensor) -> None:
        finite = values.isfinite().all()
        self._event: torch.cuda.Event | None = None
        if values.is_cuda:
            self._finite = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._finite.copy_(finite, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._finite = finite

    def is_finite(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return bool(self._finite)
