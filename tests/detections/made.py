"""Files of detectors, made by hand from their documentation: a figure that walks to the right."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.detections import LAYOUTS
from langpose_dist.skeleton import H36M17

SIDE = {"left": 30, "right": -30}
"""The person faces the camera: the left is on the picture's right."""
HEIGHTS = {"eye": 95, "ear": 100, "shoulder": 160, "elbow": 220, "wrist": 270, "hip": 280, "knee": 370}
HEIGHTS |= {"ankle": 460, "toe": 475, "heel": 470}
MIDDLE = {"nose": 105, "head": 70, "neck": 160, "hip": 280, "pelvis": 280, "spine": 220, "thorax": 160}
STEP = 2.0
"""Pixels to the right in each frame."""

# By hand: height of each joint of the figure above.
JOINTS = {"pelvis": 280, "spine": 220, "thorax": 160, "neck": 105}
JOINTS |= {f"{side}_{part}": HEIGHTS[part] for side in SIDE for part in ("hip", "knee", "ankle")}
JOINTS |= {f"{side}_{part}": HEIGHTS[part] for side in SIDE for part in ("shoulder", "elbow", "wrist")}


def figure(layout: str, num_frames: int = 8, x: float = 200, confidence: float = 0.9) -> np.ndarray:
    """T x K x 3; keypoints of face, hands and feet that no joint is made of stand far away."""
    names = LAYOUTS[layout].keypoints
    points = np.empty((num_frames, len(names), 3))
    for number, name in enumerate(names):
        side, _, part = name.partition("_")
        is_paired = side in SIDE and part in HEIGHTS
        middle = MIDDLE | {"neck": 105} if layout == "h36m17" else MIDDLE
        height = HEIGHTS[part] if is_paired else middle.get(name, 900)
        points[:, number] = (x + (SIDE[side] if is_paired else 0), height, confidence)
    points[:, :, 0] += STEP * np.arange(num_frames)[:, None]
    return points


def joints(num_frames: int = 8, x: float = 200) -> np.ndarray:
    """T x 17 x 2, without the head's height, which differs between layouts."""
    places = [
        (x + SIDE.get(joint.partition("_")[0], 0), JOINTS.get(joint, np.nan)) for joint in H36M17.joints
    ]
    moved = np.repeat(np.array(places)[None], num_frames, axis=0)
    moved[:, :, 0] += STEP * np.arange(num_frames)[:, None]
    return moved


def flat(points: np.ndarray) -> list[float]:
    return points.ravel().tolist()


def openpose(people: Sequence[np.ndarray]) -> dict[str, Any]:
    persons = [{"person_id": [-1], "pose_keypoints_2d": flat(person)} for person in people]
    return {"version": 1.3, "people": persons}


def alphapose(points: np.ndarray, idx: Any = 1) -> list[dict[str, Any]]:
    return [
        {
            "image_id": f"{number}.jpg",
            "category_id": 1,
            "keypoints": flat(person),
            "score": 3.0,
            "box": [1.0, 2.0, 3.0, 4.0],
            "idx": idx,
        }
        for number, person in enumerate(points)
    ]


def coco_results(points: np.ndarray, first: int = 1) -> list[dict[str, Any]]:
    return [
        {"image_id": number, "category_id": 1, "keypoints": flat(person), "score": 0.9}
        for number, person in enumerate(points, start=first)
    ]


def mmpose_instance(person: np.ndarray) -> dict[str, Any]:
    return {
        "keypoints": person[:, :2].tolist(),
        "keypoint_scores": person[:, 2].tolist(),
        "bbox": [[1.0, 2.0, 3.0, 4.0]],
        "bbox_score": 0.9,
    }


def mmpose_inferencer(points: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"frame_id": number, "instances": [mmpose_instance(person)]} for number, person in enumerate(points)
    ]


def mmpose_demo(points: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    meta = {
        "dataset_name": "made",
        "num_keypoints": len(names),
        "keypoint_id2name": {str(number): name for number, name in enumerate(names)},
        "keypoint_colors": {"__ndarray__": [[51, 153, 255]], "dtype": "uint8", "shape": [1, 3]},
    }
    frames = mmpose_inferencer(points)
    return {
        "meta_info": meta,
        "instance_info": [{**frame, "frame_id": frame["frame_id"] + 1} for frame in frames],
    }


def ultralytics(points: np.ndarray, track_id: int | None = None) -> list[list[dict[str, Any]]]:
    return [
        [
            {
                "name": "person",
                "class": 0,
                "confidence": 0.9,
                "box": {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0},
                **({} if track_id is None else {"track_id": track_id}),
                "keypoints": {
                    "x": person[:, 0].tolist(),
                    "y": person[:, 1].tolist(),
                    "visible": person[:, 2].tolist(),
                },
            }
        ]
        for person in points
    ]


def ultralytics_line(person: np.ndarray, *rest: float) -> str:
    return " ".join(f"{number:g}" for number in (0, 0.5, 0.5, 0.2, 0.4, *person.ravel(), *rest))


def detectron2(points: np.ndarray, path: Path) -> None:
    """As ``infer_video_d2.py``: object arrays of frame x class."""
    keypoints = np.empty((len(points), 2), object)
    boxes = np.empty((len(points), 2), object)
    for number, person in enumerate(points):
        rows = np.stack((person[:, 0], person[:, 1], np.zeros(len(person)), person[:, 2]))
        keypoints[number] = [[], rows[None]]
        boxes[number] = [[], np.ones((1, 5))]
    metadata = {"w": 640, "h": 480}
    np.savez(path, boxes=boxes, segments=None, keypoints=keypoints, metadata=metadata)  # pyright: ignore[reportArgumentType]


def videopose3d(points: np.ndarray, path: Path) -> None:
    """As ``prepare_data_2d_custom.py``."""
    positions = {"walk.mp4": {"custom": [points[:, :, :2].astype(np.float32)]}}
    metadata = {
        "layout_name": "coco",
        "num_joints": 17,
        "keypoints_symmetry": [[1, 3], [2, 4]],
        "video_metadata": {"walk.mp4": {"w": 640, "h": 480}},
    }
    np.savez(path, positions_2d=positions, metadata=metadata)  # pyright: ignore[reportArgumentType]


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_folder(folder: Path, contents: Sequence[Any], name: Callable[[int], str]) -> Path:
    for number, content in enumerate(contents):
        write_json(folder / name(number), content)
    return folder
