"""MMPose's JSON: of its inferencer, and of its demo scripts, which name the keypoints."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from langpose_dist.config import UserError
from langpose_dist.detections.kind import Kind, first_record, validate
from langpose_dist.detections.recording import Detection, Detector, detection

DETECTOR = Detector("MMPose JSON", threshold=0.3)
"""``--kpt-thr`` is 0.3."""


class _Instance(BaseModel):
    keypoints: list[list[float]]
    keypoint_scores: list[float] | None = None


class _Picture(BaseModel):
    frame_id: int | None = None
    instances: list[_Instance]


class _Meta(BaseModel):
    keypoint_id2name: dict[int, str] = {}


class _Demo(BaseModel):
    meta_info: _Meta = _Meta()
    instance_info: list[Any]


def _read(content: Sequence[Any], where: str) -> Iterator[tuple[int | None, list[Detection]]]:
    """Frames of a video, or people of a picture."""
    if not any(isinstance(item, Mapping) and "instances" in item for item in content):
        yield None, _people(validate(_Picture, {"instances": content}, where), where)
        return
    for number, item in enumerate(content):
        picture = validate(_Picture, item, f"{where}, frame {number}")
        yield picture.frame_id, _people(picture, f"{where}, frame {number}")


def _read_demo(content: Any, where: str) -> Iterator[tuple[int | None, list[Detection]]]:
    yield from _read(validate(_Demo, content, where).instance_info, where)


def _names_of(content: Any, where: str) -> tuple[str, ...] | None:
    names = validate(_Demo, content, where).meta_info.keypoint_id2name
    return tuple(names[number] for number in sorted(names)) or None


def _number(keys: Sequence[int | None]) -> list[int]:
    """The inferencer counts from 0, the demo scripts from 1; both write every frame."""
    numbers = [number if key is None else key for number, key in enumerate(keys)]
    return [number - min(numbers) for number in numbers]


def _matches(content: Any) -> bool:
    record = first_record(content)
    is_person = isinstance(record.get("keypoints"), list) and "image_id" not in record
    return "instances" in record or is_person


def _people(picture: _Picture, where: str) -> list[Detection]:
    return [_person(instance, where) for instance in picture.instances]


def _person(instance: _Instance, where: str) -> Detection:
    lengths = {len(point) for point in instance.keypoints}
    if lengths == {3}:
        raise UserError(f"{where}: keypoints of 3 numbers are already 3D; 2D keypoints in pixels are lifted")
    if lengths != {2}:
        raise UserError(f"{where}: keypoints are no pairs of x and y")
    scores = instance.keypoint_scores
    if scores is None:
        scores = [1.0] * len(instance.keypoints)
    if len(scores) != len(instance.keypoints):
        raise UserError(f"{where}: {len(instance.keypoints)} keypoints and {len(scores)} scores")
    return detection(np.column_stack((instance.keypoints, scores)), where)


MMPOSE = Kind(DETECTOR, _matches, _read, _number)
"""Of the inferencer: a list."""

MMPOSE_DEMO = Kind(
    DETECTOR,
    lambda content: isinstance(content, Mapping) and "instance_info" in content,
    _read_demo,
    _number,
    _names_of,
)
"""Of the demo scripts: an object."""
