"""OpenPose's layout, one JSON object per frame; AlphaPose (``open``, ``cmu``) and Pose2Sim write it too."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from langpose_dist.config import UserError
from langpose_dist.detections.kind import Kind, first_record, validate
from langpose_dist.detections.recording import Detection, Detector, flat_detection
from langpose_dist.detections.results import number_pictures

DETECTOR = Detector("OpenPose JSON", threshold=0.05)
"""``--render_threshold`` is 0.05."""


class _Person(BaseModel):
    person_id: list[int] | int = -1
    keypoints: list[float] = Field(
        default=[], validation_alias=AliasChoices("pose_keypoints_2d", "pose_keypoints", "joints")
    )
    pose_keypoints_3d: list[float] = []


class _Picture(BaseModel):
    people: list[_Person] = Field(validation_alias=AliasChoices("people", "bodies"))


def _is_picture(content: Any) -> bool:
    return isinstance(content, Mapping) and ("people" in content or "bodies" in content)


def _read(content: Any, where: str) -> Iterator[tuple[None, list[Detection]]]:
    for number, picture in enumerate([content] if _is_picture(content) else content):
        yield None, _people(picture, f"{where}, frame {number}")


def _read_by_name(content: Mapping[str, Any], where: str) -> Iterator[tuple[str, list[Detection]]]:
    for name, picture in content.items():
        yield name, _people(picture, f"{where}, {name}")


def _people(picture: Any, where: str) -> list[Detection]:
    people = []
    for person in validate(_Picture, picture, where).people:
        if person.pose_keypoints_3d and not person.keypoints:
            raise UserError(f"{where}: already 3D (pose_keypoints_3d); 2D keypoints in pixels are lifted")
        ids = person.person_id if isinstance(person.person_id, list) else [person.person_id]
        identity = str(ids[0]) if ids and ids[0] >= 0 else None
        if person.keypoints:  # else only a face or a hand
            people.append(flat_detection(person.keypoints, where, identity))
    return people


OPENPOSE = Kind(DETECTOR, lambda content: _is_picture(content) or _is_picture(first_record(content)), _read)
"""One frame, or a list of them."""

OPENPOSE_BY_NAME = Kind(
    DETECTOR,
    lambda content: isinstance(content, Mapping) and _is_picture(next(iter(content.values()), None)),
    _read_by_name,
    number_pictures,
)
"""AlphaPose's ``--format open`` and ``cmu``: frames by the name of the picture."""
