"""Lists of results, one per person and picture: AlphaPose's, and COCO's."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from langpose_dist.detections.kind import Kind, first_record, validate
from langpose_dist.detections.recording import Detection, Detector, flat_detection, number_names


class _Result(BaseModel):
    image_id: int | str
    keypoints: list[float]
    idx: Any = None


def _read(content: Sequence[Any], where: str) -> Iterator[tuple[str | int, list[Detection]]]:
    pictures: dict[str | int, list[Detection]] = {}
    for number, item in enumerate(content):
        result = validate(_Result, item, f"{where}, entry {number}")
        person = flat_detection(result.keypoints, f"{where}, entry {number}", _identity(result.idx))
        pictures.setdefault(result.image_id, []).append(person)
    yield from pictures.items()


def _identity(idx: Any) -> str | None:
    """A number is a track's id; in lists stand numbers of boxes, which say nothing."""
    if isinstance(idx, bool) or not isinstance(idx, (int, float)) or not 0 <= idx < 1e15 or idx % 1:
        return None
    return str(int(idx))


def number_pictures(keys: Sequence[str | int]) -> list[int]:
    """Frames of pictures: ``12.jpg`` of a video is frame 12; others are counted from the first.

    Raises:
        UserError: If the names do not differ in just one number.
    """
    numbers = [key for key in keys if isinstance(key, int)]
    if len(numbers) < len(keys):
        numbers = number_names([str(key) for key in keys])
        if str(keys[0]).partition(".")[0].isdecimal():
            return numbers
    return [number - min(numbers) for number in numbers]


def _is_alphapose(content: Any) -> bool:
    record = first_record(content)
    return isinstance(record.get("image_id"), str) or {"idx", "box"} & {*record} != set()


ALPHAPOSE = Kind(
    Detector("AlphaPose JSON", threshold=0.4),
    lambda content: "image_id" in first_record(content) and _is_alphapose(content),
    _read,
    number_pictures,
)
"""It draws keypoints of heat maps from 0.4 on (``vis_thres``)."""

COCO = Kind(
    Detector("COCO results JSON", threshold=0.2),
    lambda content: "image_id" in first_record(content) and not _is_alphapose(content),
    _read,
    number_pictures,
)
"""``in_vis_thre`` of HRNet's and SimpleBaseline's evaluation is 0.2."""
