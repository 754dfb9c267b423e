"""Metrics of a run as lines of JSON, one per logged step, readable while the run is training."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langpose_dist.host.atomic import write_text
from langpose_dist.host.console import say

TIME = "time"
"""Key of the time of a line, milliseconds since 1970; the last of its line."""


class MetricsFile:
    """Appends a run's metrics; opening it at a step forgets what lies beyond.

    Args:
        path: The file.
        step: Lines of later steps belong to work that is about to be done again, and are dropped.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        kept = [line for line, _ in follow_metrics(path, 0) if line["step"] <= step]
        self._known = {_identity(line) for line in kept}
        text = "".join(json.dumps(line) + "\n" for line in kept)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
        self._size = os.path.getsize(path)
        self._waiting: list[str] = []

    def append(self, metrics: Mapping[str, float], step: int) -> None:
        """Add one line, unless the same values of the same step are there from before.

        On a full disk lines wait in memory, and are written when there is space again.
        """
        line = {"step": step, **metrics, TIME: time.time_ns() // 1_000_000}
        if _identity(line) in self._known:
            return
        self._waiting.append(json.dumps(line) + "\n")
        if (error := self._write()) and len(self._waiting) == 1:
            say(f"error: {self.path} cannot be written: {error.strerror}; its lines wait in memory")

    def flush(self) -> bool:
        """Write the lines that wait for space; whether none is left."""
        if self._waiting:
            self._write()
        return not self._waiting

    def _write(self) -> OSError | None:
        try:
            with self.path.open("r+b") as file:
                file.truncate(self._size)  # what an earlier failure left of a line
                file.seek(self._size)
                file.write("".join(self._waiting).encode())
                file.flush()
                self._size = file.tell()
        except OSError as error:
            return error
        self._waiting.clear()
        return None


def read_metrics(path: Path) -> list[dict[str, float | int]]:
    """The lines of a metrics file without times, oldest first; a line cut off by a crash is left out."""
    lines = [line for line, _ in follow_metrics(path, 0)]
    return [{name: value for name, value in line.items() if name != TIME} for line in lines]


def follow_metrics(path: Path, start: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Whole lines from a byte on, each with the offset of the byte behind it.

    A last line without its end is left for later, a damaged one is left out.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(start)
        end = start
        for text in file:
            if not text.endswith(b"\n"):
                return
            end += len(text)
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                yield line, end


def _identity(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["step"], *sorted(name for name in line if name != TIME)
