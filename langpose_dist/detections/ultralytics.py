"""Ultralytics' results: ``to_json`` or ``summary`` of each frame, and the text files of ``save_txt``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
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


class Line(NamedTuple):
    """One person of one frame's text file."""

    points: Float64[np.ndarray, "17 3"]
    rest: tuple[float, ...]
    """Confidence of the box and id of the track, of which either may be left out."""
    where: str


def read_text(text: str, where: str) -> list[Line]:
    """People of one frame's text file: a line each of class, box, keypoints, and perhaps confidence and id.

    Raises:
        UserError: If it is something else.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [_line(line, f"{where}, line {number}") for number, line in enumerate(lines, start=1)]


def identify(frames: Sequence[Sequence[Line]]) -> list[list[Detection]]:
    """People of a recording with their ids, if it holds any.

    The last of two more numbers is an id. A single one may be either: it is an id if it is whole in every
    line and not 1 in all, as a confidence may be printed.

    Raises:
        UserError: If they are no parts of a picture and confidences.
    """
    single = [line.rest[0] for lines in frames for line in lines if len(line.rest) == 1]
    has_single = all(value.is_integer() for value in single) and max(single, default=0) > 1
    min_rest = 1 if has_single else 2
    return [
        [
            detection(line.points, line.where, _identity(line.rest) if len(line.rest) >= min_rest else None)
            for line in lines
        ]
        for lines in frames
    ]


def _line(words: Sequence[str], where: str) -> Line:
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
            return Line(points, tuple(numbers[end:]), where)
    raise UserError(
        f"{where}: {len(numbers)} numbers; one of a pose model with 17 keypoints has 39 to 41 or 56 to 58"
    )


def _identity(rest: Sequence[float]) -> str | None:
    return f"{rest[-1]:.0f}" if rest[-1].is_integer() else None
