"""Ultralytics' results: ``to_json`` or ``summary`` of each frame, and the text files of ``save_txt``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from langpose_dist.config import UserError
from langpose_dist.detections.kind import Kind, first_record, validate
from langpose_dist.detections.recording import Detection, Detector, detection

ULTRALYTICS_TXT = Detector("Ultralytics text", threshold=0.5, is_relative=True)
"""It sets keypoints below 0.5 to 0, 0 (``engine/results.py``)."""

NUM_KEYPOINTS = 17
NUM_BOX = 5
"""Class, x, y, width and height before the keypoints of a line."""


class _Keypoints(BaseModel):
    x: list[float]
    y: list[float]
    visible: list[float] | None = None


class _Result(BaseModel):
    keypoints: _Keypoints
    track_id: int | None = None


def _read(content: Sequence[Any], where: str) -> Iterator[tuple[None, list[Detection]]]:
    """A list of results for every frame, or the list of one."""
    frames = content if all(isinstance(item, list) for item in content) else [content]
    for number, results in enumerate(frames):
        yield None, [_person(item, f"{where}, frame {number}") for item in results]


def _person(item: Any, where: str) -> Detection:
    result = validate(_Result, item, where)
    x, y, visible = result.keypoints.x, result.keypoints.y, result.keypoints.visible
    if not len(x) == len(y) == len(visible or x) > 0:
        raise UserError(f"{where}: x, y and visible of the keypoints have different lengths, or none")
    identity = None if result.track_id is None else str(result.track_id)
    return detection(np.column_stack((x, y, visible or np.ones(len(x)))), where, identity)


def _matches(content: Any) -> bool:
    record = first_record(content)
    return isinstance(record.get("keypoints"), Mapping) or {"name", "class", "box"} <= {*record}


ULTRALYTICS = Kind(Detector("Ultralytics JSON", threshold=0.5, is_relative=True), _matches, _read)


def read_text(text: str, where: str) -> list[Detection]:
    """People of one frame's text file: a line each of class, box, keypoints, and perhaps confidence and id.

    Raises:
        UserError: If it is something else.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [_line(line, f"{where}, line {number}") for number, line in enumerate(lines, start=1)]


def _line(words: Sequence[str], where: str) -> Detection:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise UserError(f"{where}: not only numbers; a line of Ultralytics' save_txt is due") from None
    for width in (3, 2):
        end = NUM_BOX + width * NUM_KEYPOINTS
        if end <= len(numbers) <= end + 2:
            points = np.array(numbers[NUM_BOX:end]).reshape(NUM_KEYPOINTS, width)
            if width == 2:
                points = np.column_stack((points, np.ones(NUM_KEYPOINTS)))
            return detection(points, where, _identity(numbers[end:]))
    raise UserError(
        f"{where}: {len(numbers)} numbers; one of a pose model with 17 keypoints has 39 to 41 or 56 to 58"
    )


def _identity(rest: Sequence[float]) -> str | None:
    """One number more is the confidence of the box, or the track's id, which is whole."""
    return f"{rest[-1]:.0f}" if rest and rest[-1].is_integer() else None
