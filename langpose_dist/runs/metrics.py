"""``metrics.jsonl``: one line per logged step, readable while the run goes on."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from langpose_dist.host.atomic import replace_text
from langpose_dist.host.console import say


class MetricsFile:
    """Appends a run's metrics; opening it at a step forgets what lies beyond.

    Args:
        path: The file.
        step: Lines of later steps belong to work that is about to be done again, and are dropped.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= step]
        self._known = {(line["step"], *sorted(line)) for line in kept}
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._size = os.path.getsize(path)
        self._waiting: list[str] = []

    def append(self, metrics: Mapping[str, float], step: int) -> None:
        """Add one line, unless the same values of the same step are there from before.

        On a full disk lines wait in memory, and are written with the next line for which there is space.
        """
        if (step, *sorted([*metrics, "step"])) in self._known:
            return
        self._waiting.append(json.dumps({"step": step, **metrics}) + "\n")
        try:
            with self.path.open("r+b") as file:
                file.truncate(self._size)  # what an earlier failure left of a line
                file.seek(self._size)
                file.write("".join(self._waiting).encode())
                file.flush()
                self._size = file.tell()
        except OSError as error:
            if len(self._waiting) == 1:
                say(f"error: {self.path} cannot be written: {error.strerror}; its lines wait in memory")
        else:
            self._waiting.clear()


def read_metrics(path: Path) -> list[dict[str, float | int]]:
    """The lines of a metrics file, oldest first; a last line cut off by a crash is left out."""
    if not path.is_file():
        return []
    lines: list[dict[str, float | int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
