"""``launch/train.py`` with a fault at a chosen place, for what cannot be timed from outside.

python faulty_train.py --fault NAME [words of langpose train]
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from langpose_dist.cli.main import main


def install(fault: str) -> None:
    """Replace a method by one that does the fault once, and then what it did before."""
    from langpose_dist.train.evaluate import Evaluator
    from langpose_dist.train.trainer import Trainer

    take_batch, condition = Trainer._next, Evaluator._condition
    asked: list[int] = []

    def _next(self: Trainer, batches: Iterator[Any]) -> Any:
        asked.append(self.step)
        if fault == f"term-at-step-{self.step}" and self.processes.rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            while self.gate.request is not None and not self.gate.request.code:
                pass  # this rank hears of it in front of this step, and not of the next
        is_last = self.processes.rank == self.processes.world_size - 1
        if fault == f"hold-at-step-{self.step}" and is_last:
            while self.gate.request is not None and not self.gate.request.code:
                time.sleep(0.01)  # until it is asked to stop, or killed
        filler = self.run_dir / "filler"
        if fault.startswith("full-disk") and is_last:
            if self.step == 21 and not filler.exists():
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while True:
                        file.write(b"0" * 1024)
            while fault == "full-disk-for-a-while" and self.step == 35 and filler.exists():
                time.sleep(0.01)
        if fault == "term-in-micro-step" and self.step == 11 and asked.count(11) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        windows = take_batch(self, batches)
        if fault == "nan" and self.step == 35 and self.processes.rank == 1:
            windows = dataclasses.replace(windows, camera=windows.camera * float("nan"))
        with (self.run_dir.parent / f"seen-{self.processes.rank}.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, "keys": windows.keys}) + "\n")
        return windows

    def _condition(self: Evaluator, *arguments: Any) -> Any:
        if fault == "term-in-evaluation" and self.processes.rank == 1 and arguments[1] == "noisy":
            os.kill(os.getpid(), signal.SIGTERM)
        return condition(self, *arguments)

    Trainer._next = _next
    setattr(Evaluator, "_condition", _condition)  # noqa: B010


if __name__ == "__main__":
    words = sys.argv[1:]
    if "--fault" in words:
        place = words.index("--fault")
        install(words[place + 1])
        del words[place : place + 2]
    status = main(["train", *words])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
