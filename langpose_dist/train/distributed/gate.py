"""The one place where all ranks agree, before each micro step and evaluation batch, whether to continue."""

from langpose_dist.config import UserError
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.distributed.progress import Progress
from langpose_dist.train.distributed.stop import Interrupted, StopRequest, describe

_FAILED = 1000
"""Higher than every code of a request to stop: a failure is told, whatever else happens."""


class DataFailure(Exception):
    """Data of some rank cannot be read; raised on every rank, with the message of each that failed."""


class Gate:
    """Ranks pass it together, so all of them stop at the same place or none does.

    It costs one message of eight bytes between the processors; no GPU is waited for.

    Args:
        processes: The ranks.
        request: What asks this rank to stop; ``None`` where nothing does.
        progress: Is told of every pass.
    """

    def __init__(
        self, processes: Processes, request: StopRequest | None = None, progress: Progress | None = None
    ) -> None:
        self.processes = processes
        self.request = request
        self.progress = progress

    def tick(self, place: str) -> None:
        """This rank has come to a place that every rank comes to, and may wait there for the others."""
        if self.progress is not None:
            self.progress.tick(place)

    def check(self, place: str, error: UserError | None = None) -> None:
        """Continue, or raise on every rank.

        Args:
            place: What comes next, for messages about a rank that does not come here.
            error: Why this rank cannot continue.

        Raises:
            Interrupted: If any rank has been asked to stop.
            DataFailure: If any rank cannot continue.
        """
        self.tick(place)
        mine = self.request.code if self.request is not None else 0
        code = self.processes.highest(_FAILED if error is not None else mine)
        if code == 0:
            return
        if self.request is not None:
            self.request.saving()
        if code < _FAILED:
            raise Interrupted(describe(code))
        messages = self.processes.gather(None if error is None else str(error))
        found = [f"rank {rank}: {message}" for rank, message in enumerate(messages) if message is not None]
        raise DataFailure("; ".join(found))
