import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.config import UserError
from langpose_dist.detections import read_tracks
from langpose_dist.detections.recording import MAX_FRAMES, Detection, in_order, number_names
from langpose_dist.detections.results import number_pictures
from tests.detections import made


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["walk_000000000003_keypoints", "walk_000000000012_keypoints"], [3, 12]),
        (["cam01.0037", "cam01.0038"], [37, 38]),
        (["2024_take7_1", "2024_take7_20", "2024_take7_3"], [1, 20, 3]),
        (["9", "10"], [9, 10]),
        (["GOPR0012_000000000005_keypoints"], [5]),
        (["alone"], [0]),
    ],
)
def test_frames_are_numbered_by_the_one_number_that_changes(names: list[str], numbers: list[int]) -> None:
    assert number_names(names) == numbers


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["walk_1", "walk_2", "run_1"],
            "'walk_1' and 'run_1' differ in more than a number: several recordings",
        ),
        (
            ["cam1.1", "cam1.2", "cam2.1"],
            "'cam1.1' and 'cam2.1' differ in 2 numbers; frames are known by one",
        ),
        (["1", "1"], "'1' and '1' differ in 0 numbers"),
    ],
)
def test_two_recordings_in_one_folder_are_not_mixed(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        number_names(names)


@pytest.mark.parametrize(
    ("pictures", "numbers"),
    [
        (["2.jpg", "10.jpg"], [2, 10]),  # of a video, counted from 0
        (["frame_0002.jpg", "frame_0010.jpg"], [0, 8]),
        ([397133, 397135], [0, 2]),
    ],
)
def test_pictures_are_numbered(pictures: list[str | int], numbers: list[int]) -> None:
    assert number_pictures(pictures) == numbers


def test_frames_come_in_order_and_once() -> None:
    assert [frame.number for frame in in_order([(10, ()), (2, ())])] == [2, 10]
    with pytest.raises(UserError, match="frame 2 comes twice"):
        in_order([(2, ()), (2, ())])
    with pytest.raises(UserError, match=f"frames 0 to {MAX_FRAMES}; they are counted from 0 or 1"):
        in_order([(MAX_FRAMES, ()), (0, ())])


def test_other_files_beside_the_detections_are_left_alone(tmp_path: Path) -> None:
    frames = [made.openpose([person]) for person in made.figure("body25")]
    made.write_folder(tmp_path, frames, lambda number: f"{number:03d}.json")
    for name in (".DS_Store", "._001.json", "readme.md", "001.jpg"):
        (tmp_path / name).write_text("something else")
    assert read_tracks(tmp_path).num_frames == 8


def test_files_are_opened_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [made.openpose([person]) for person in made.figure("body25", 500)]
    made.write_folder(tmp_path, frames, lambda number: f"{number:03d}.json")
    opened: list[str] = []
    followed: list[int] = []
    read_bytes = Path.read_bytes

    def watch(path: Path) -> bytes:
        opened.append(path.name)
        return read_bytes(path)

    def add(_self: object, frame: int, _people: list[Detection]) -> None:
        followed.append(len(opened) - frame)

    monkeypatch.setattr(Path, "read_bytes", watch)
    monkeypatch.setattr("langpose_dist.detections.people.PeopleTracker.add", add)
    with pytest.raises(UserError):
        read_tracks(tmp_path)
    assert len(followed) == 500
    assert followed[-1] == 2  # the first one twice, for its kind


def test_kinds_are_not_mixed_in_a_folder(tmp_path: Path) -> None:
    person = made.figure("coco17")[0]
    made.write_json(tmp_path / "0.json", made.openpose([person]))
    made.write_json(tmp_path / "1.json", [made.mmpose_instance(person)])
    with pytest.raises(UserError, match=r"1.json is not OpenPose JSON, as the files before it"):
        read_tracks(tmp_path)


def test_whole_recordings_are_not_frames_of_a_folder(tmp_path: Path) -> None:
    for number in range(2):
        made.write_json(tmp_path / f"{number}.json", made.alphapose(made.figure("coco17")))
    with pytest.raises(UserError, match=r"0.json holds 8 frames; give the file alone"):
        read_tracks(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.json", "absent.json does not exist; expected a file or a folder of OpenPose"),
        ("empty", "empty holds no JSON and no txt file; expected a file or a folder"),
        ("walk.pkl", "walk.pkl is of no known kind; expected a file or a folder"),
        ("unknown", "unknown: 2 JSON files of no known kind; expected a file or a folder"),
        ("text.txt", "text.txt, line 1: not only numbers; a line of Ultralytics' save_txt is due"),
        ("short.txt", "short.txt, line 1: 6 numbers; one of a pose model with 17 keypoints has 39 to 41 or"),
        ("two.npz", "two.npz holds arrays first, second; one is needed, named keypoints"),
        ("flat.npy", r"flat.npy, frame 0: an array of \(3,\); due are T x K x 2"),
        ("ids.npz", r"keypoints are \(1, 26, 3\) and scores \(1, 26\); P x K x 2 and P x K are due"),
        ("objects.npy", "objects.npy: not a whole npy file of numbers: .*objects"),
        ("videos.npz", "videos.npz: holds a.mp4, b.mp4; one video is lifted at a time"),
        ("views.npz", "views.npz: S1 has 2 views; one is lifted at a time"),
        ("number.npz", "number.npz: videos.a.mp4.custom: Input should be a valid list"),
        ("mixed.json", "people with 17 and with 26 keypoints in one file"),
        ("far.json", r"far.json, frame 0: a coordinate of 1.15e\+06; more than 100000 are no pixels"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(name: str, message: str, tmp_path: Path) -> None:
    points = made.figure("coco17")
    (tmp_path / "empty").mkdir()
    (tmp_path / "walk.pkl").write_bytes(b"")
    made.write_folder(tmp_path / "unknown", [{}, {}], str)
    for number in range(2):
        (tmp_path / "unknown" / str(number)).rename(tmp_path / "unknown" / f"{number}.json")
    (tmp_path / "text.txt").write_text("walk\n")
    (tmp_path / "short.txt").write_text("0 0.5 0.5 0.1 0.1 0.9\n")
    np.savez(tmp_path / "two.npz", first=points, second=points)
    np.save(tmp_path / "flat.npy", np.ones((2, 3)))
    halpe = made.figure("halpe26")
    np.savez(tmp_path / "ids.npz", keypoints=halpe, scores=halpe[..., 2])
    np.save(tmp_path / "objects.npy", np.array([None, {}]))
    videos = {"a.mp4": {"custom": [points]}, "b.mp4": {"custom": [points]}}
    np.savez(tmp_path / "videos.npz", positions_2d=videos)  # pyright: ignore[reportArgumentType]
    views = {"S1": {"Walking": [points, points]}}
    np.savez(tmp_path / "views.npz", positions_2d=views)  # pyright: ignore[reportArgumentType]
    np.savez(tmp_path / "number.npz", positions_2d={"a.mp4": {"custom": 1.0}})  # pyright: ignore[reportArgumentType]
    mixed = made.alphapose(points) + made.alphapose(halpe)
    made.write_json(tmp_path / "mixed.json", mixed)
    made.write_json(tmp_path / "far.json", made.openpose([points[0] * [1e4, 1, 1] / 2]))
    with pytest.raises(UserError, match=message):
        read_tracks(tmp_path / name)


def test_a_cut_off_file_in_a_folder_is_named(tmp_path: Path) -> None:
    frames = [made.openpose([person]) for person in made.figure("body25")]
    made.write_folder(tmp_path, frames, lambda number: f"{number}.json")
    (tmp_path / "5.json").write_text(json.dumps(frames[5])[:100])
    with pytest.raises(UserError, match=r"5.json is no whole JSON file: EOF .*; copy it again"):
        read_tracks(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold=1.5 is no confidence; 0..1"),
        ({"max_gap": -1}, "max_gap=-1 frames; 0 or more"),
        ({"size": (0, 5)}, "size=0x5 is no picture's"),
        ({"layout": "coco"}, "layout 'coco' is not one of coco17, .* did you mean"),
    ],
)
def test_options_are_checked(options: dict, message: str, tmp_path: Path) -> None:
    path = made.write_json(tmp_path / "r.json", made.alphapose(made.figure("coco17")))
    with pytest.raises(UserError, match=message):
        read_tracks(path, **options)


def test_reading_needs_no_torch() -> None:
    code = "import sys, langpose_dist.detections; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
