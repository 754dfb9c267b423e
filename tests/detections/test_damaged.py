"""A thousand damaged files of every kind: each is either read or refused in one line, without a traceback."""

import copy
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.config import UserError
from langpose_dist.detections import Tracks, read_tracks
from tests.detections import made


@pytest.fixture(params=[100, pytest.param(1000, marks=pytest.mark.slow)])
def num_files(request: pytest.FixtureRequest) -> int:
    """Damaged files of each kind."""
    return request.param


JUNK: tuple[Any, ...] = (
    *(None, True, "", "seven", "7", -1, 0, 3, 0.5, 1e5, 1e308, -1e308, 10**25, 10**400),
    *(float("nan"), float("inf"), -float("inf"), [], {}, [[]], [{}], [[[]]], {"": {}}, [0.0] * 5, [1.0] * 51),
    *([0.0] * 75, ["x"] * 17, list(range(1000)), {"people": []}, {"keypoints": []}, [[1, 2, 3]] * 17),
)


def damage(content: Any, generator: np.random.Generator) -> Any:
    """One or two changes anywhere: something else in the place, left out, twice, or one level deeper."""
    content = copy.deepcopy(content)
    for _ in range(generator.integers(1, 3)):
        places = [*walk([content])]
        parent, key = places[generator.integers(len(places))]
        match generator.integers(8):
            case 0 | 1 | 2 | 3 if isinstance(parent[key], float):
                parent[key] = float(generator.choice([0.0, np.nan, -1.0, generator.normal(), 300.0]))
            case 0 | 1:
                parent[key] = copy.deepcopy(JUNK[generator.integers(len(JUNK))])
            case 2 | 3 | 4:
                del parent[key]
            case 5:
                parent[key] = [parent[key]]
            case _ if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
        if len(places[0][0]) == 0:
            return []
        content = places[0][0][0]
    return content


def walk(parent: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """Every place as (container, key), those near the top more often, for most are numbers."""
    items = [*parent.items()] if isinstance(parent, dict) else [*enumerate(parent)]
    found: list[tuple[Any, Any]] = []
    for key, value in items:
        found += [(parent, key)] * max(1, 8 // 2**depth)
        if isinstance(value, (dict, list)) and len(value) < 200:
            found += walk(value, depth + 1)
    return found


def cut_or_flip(content: bytes, generator: np.random.Generator) -> bytes:
    """Bytes cut off at either end, or a few of them changed."""
    place = int(generator.integers(len(content)))
    match generator.integers(4):
        case 0:
            return content[:place]
        case 1:
            return content[place:]
        case _:
            changed = bytearray(content)
            for position in generator.integers(len(content), size=generator.integers(1, 6)):
                changed[position] = generator.integers(256)
            return bytes(changed)


def read_or_refuse(path: Path) -> bool:
    """True if the file was read."""
    try:
        tracks = read_tracks(path, size=(640, 480), person="all")
    except UserError as error:
        message = str(error)
    else:
        check(tracks)
        return True
    assert message
    assert "\n" not in message
    return False


def check(tracks: Tracks) -> None:
    for track in tracks.people:
        assert np.isfinite(track.keypoints).all()
        assert 0 <= track.keypoints[..., 2].min() <= track.keypoints[..., 2].max() <= 1
        assert track.first_frame + len(track.keypoints) <= tracks.num_frames
    json.dumps(tracks.facts, allow_nan=False)


def figure(layout: str = "coco17") -> np.ndarray:
    return made.figure(layout, num_frames=2)


CONTENTS = {
    "openpose": lambda: [made.openpose([*figure("body25")]), made.openpose([figure("body25")[1]])],
    "openpose_by_name": lambda: {f"{n}.jpg": made.openpose([*figure("coco18")]) for n in range(2)},
    "alphapose": lambda: made.alphapose(figure("halpe26"), idx=[[0.0], [0.0]]),
    "coco": lambda: made.coco_results(figure()),
    "mmpose": lambda: made.mmpose_inferencer(figure()),
    "mmpose_picture": lambda: [made.mmpose_instance(person) for person in figure()],
    "mmpose_demo": lambda: made.mmpose_demo(figure(), made.LAYOUTS["coco17"].keypoints),
    "ultralytics": lambda: made.ultralytics(figure(), track_id=1),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_damaged_json(kind: str, num_files: int, tmp_path: Path) -> None:
    content = CONTENTS[kind]()
    assert read_or_refuse(made.write_json(tmp_path / "whole.json", content))
    generator = np.random.default_rng(0)
    path = tmp_path / "file.json"
    num_read = 0
    for number in range(num_files):
        if number % 4 == 0:
            path.write_bytes(cut_or_flip(json.dumps(content).encode(), generator))
        else:
            path.write_text(json.dumps(damage(content, generator)))
        num_read += read_or_refuse(path)
    assert 0.08 < num_read / num_files < 0.9


def test_damaged_folders(num_files: int, tmp_path: Path) -> None:
    frames = [made.openpose([person]) for person in figure("body25")]
    made.write_folder(tmp_path, frames, lambda number: f"{number}.json")
    generator = np.random.default_rng(0)
    for number in range(num_files):
        place = tmp_path / f"{number % 2}.json"
        if number % 4 == 0:
            place.write_bytes(cut_or_flip(json.dumps(frames[0]).encode(), generator))
        else:
            place.write_text(json.dumps(damage(frames[number % 2], generator)))
        read_or_refuse(tmp_path)
        place.write_text(json.dumps(frames[number % 2]))


def test_damaged_text(num_files: int, tmp_path: Path) -> None:
    person = figure()[0] / [640, 480, 1]
    words = f"{made.ultralytics_line(person, 0.9, 3)}\n{made.ultralytics_line(person)}\n".split(" ")
    generator = np.random.default_rng(0)
    junk = ["", "nan", "inf", "-1e308", "1e400", "x", "\n", "9" * 400, "\0", "1_0", "²"]
    for _ in range(num_files):
        changed = [*words]
        for position in generator.integers(len(changed), size=generator.integers(1, 4)):
            changed[position] = junk[generator.integers(len(junk))]
        text = " ".join(changed).encode()
        path = tmp_path / "walk_1.txt"
        path.write_bytes(cut_or_flip(text, generator) if generator.random() < 0.5 else text)
        read_or_refuse(path)


def archive(kind: str, path: Path) -> None:
    match kind:
        case "detectron2":
            made.detectron2(figure(), path)
        case "videopose3d":
            made.videopose3d(figure(), path)
        case _:
            np.savez(path, keypoints=figure("halpe26"), fps=25.0, size=[640, 480])


@pytest.mark.parametrize("kind", ["detectron2", "videopose3d", "plain"])
def test_damaged_archives(kind: str, num_files: int, tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    archive(kind, path)
    content = path.read_bytes()
    assert read_or_refuse(path)
    with np.load(path, allow_pickle=True) as whole:  # made above
        arrays = dict(whole)
    generator = np.random.default_rng(0)
    for number in range(num_files):
        if number % 2:
            path.write_bytes(cut_or_flip(content, generator))
        else:
            np.savez(path, **other_arrays(arrays, generator))
        read_or_refuse(path)


def test_damaged_arrays(num_files: int, tmp_path: Path) -> None:
    path = tmp_path / "walk.npy"
    np.save(path, figure("halpe26"))
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for number in range(num_files):
        if number % 2:
            path.write_bytes(cut_or_flip(content, generator))
        else:
            np.save(path, other_array(figure("halpe26"), generator))
        read_or_refuse(path)


def other_arrays(arrays: dict[str, np.ndarray], generator: np.random.Generator) -> dict[str, Any]:
    changed = dict(arrays)
    name = [*changed][generator.integers(len(changed))]
    if generator.random() < 0.2:
        del changed[name]
    elif changed[name].dtype == object and changed[name].shape == ():
        changed[name] = wrapped(damage(as_lists(changed[name].item()), generator))
    else:
        changed[name] = other_array(changed[name], generator)
    return changed


def other_array(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Another shape, type or content."""
    match generator.integers(8):
        case 0:
            return np.zeros(tuple(generator.integers(0, 5, size=generator.integers(0, 6))))
        case 1:
            return values[..., None]
        case 2:
            return values.reshape(-1)[:0]
        case 3:
            return np.array(["text"] * 5)
        case 4:
            return np.ones(3, [("a", "f4"), ("b", "i2")])
        case 5:
            return wrapped(JUNK[generator.integers(len(JUNK))])
        case 6 if values.dtype != object:
            return np.where(
                generator.random(values.shape) < 0.2,
                [np.nan, np.inf, 1e300, -1.0][generator.integers(4)],
                values,
            )
        case _:
            changed = values.astype(object)
            flat = changed.reshape(-1)
            if flat.size:
                flat[generator.integers(flat.size)] = JUNK[generator.integers(len(JUNK))]
            return changed


def wrapped(value: Any) -> np.ndarray:
    array = np.empty((), object)
    array[()] = value
    return array


def as_lists(value: Any) -> Any:
    """The same with lists in place of arrays."""
    if isinstance(value, dict):
        return {key: as_lists(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_lists(inner) for inner in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    harmful = np.empty((), object)
    harmful[()] = Harmful()
    np.savez(tmp_path / "walk.npz", positions_2d=harmful)
    with pytest.raises(
        UserError, match="holds more than arrays and plain containers, and nothing in it was executed"
    ):
        read_tracks(tmp_path / "walk.npz")
    (tmp_path / "walk.npy").write_bytes(io.BytesIO(pickle.dumps(Harmful())).getvalue())
    with pytest.raises(UserError, match="not a whole npy file of numbers"):
        read_tracks(tmp_path / "walk.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no whole JSON file: EOF"),
        ("{", "is no whole JSON file: EOF"),
        ("[" * 100_000, "is no whole JSON file: recursion limit"),
        ("{}", "expected a file or a folder of OpenPose"),
        ("[]", "expected a file or a folder of OpenPose"),
        ("7", "expected a file or a folder of OpenPose"),
        ('{"people": []}', "nobody was detected in any frame"),
        ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "2 numbers of a person are no triples"),
        ('{"people": [{"pose_keypoints_3d": [1, 2]}]}', "already 3D"),
        ('{"images": [], "annotations": []}', "COCO annotations hold visibility flags"),
        ('[[{"name": "person", "class": 0, "box": {}}]]', "keypoints: Field required"),
        ('[{"image_id": "a.jpg", "keypoints": null}]', "entry 0: keypoints: Input should be a valid list"),
        (
            '[{"frame_id": 0, "instances": [{"keypoints": [[1, 2], [3]]}]}]',
            "keypoints are no pairs of x and y",
        ),
        ('[{"keypoints": [[1, 2]], "keypoint_scores": [1, 1]}]', "1 keypoints and 2 scores"),
    ],
)
def test_what_is_wrong_is_said(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_tracks(tmp_path / "file.json")
