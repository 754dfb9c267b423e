"""``read_tracks`` on every kind of file; made by hand, except where the files of real detectors are named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.config import UserError
from langpose_dist.detections import Tracks, read_tracks
from langpose_dist.skeleton import H36M17
from tests.detections import made

FILES = Path(__file__).parent / "files"


def check_walk(tracks: Tracks, *, num_frames: int = 8, first_frame: int = 0, confidence: float = 0.9) -> None:
    """The one person of ``made.figure``, joint by joint."""
    (track,) = tracks.people
    assert (track.first_frame, tracks.num_frames) == (first_frame, first_frame + num_frames)
    assert track.keypoints.shape == (num_frames, 17, 3)
    assert track.seen.all()
    np.testing.assert_allclose(track.keypoints[..., 2], confidence, atol=1e-6)
    expected = made.joints(num_frames)
    known = np.isfinite(expected)
    np.testing.assert_allclose(track.keypoints[..., :2][known], expected[known], atol=1e-2)
    assert track.keypoints[0, H36M17.index("head"), 1] < 100


Write = Callable[[np.ndarray, Path], Path]


def openpose_folder(points: np.ndarray, folder: Path) -> Path:
    frames = [made.openpose([person]) for person in points]
    return made.write_folder(folder / "json", frames, lambda number: f"walk_{number:012d}_keypoints.json")


def openpose_list(points: np.ndarray, folder: Path) -> Path:
    return made.write_json(folder / "all.json", [made.openpose([person]) for person in points])


def openpose_by_picture(points: np.ndarray, folder: Path) -> Path:
    frames = {f"{number}.jpg": made.openpose([person]) for number, person in enumerate(points)}
    return made.write_json(folder / "all.json", frames)


def alphapose(points: np.ndarray, folder: Path) -> Path:
    return made.write_json(folder / "alphapose-results.json", made.alphapose(points))


def coco(points: np.ndarray, folder: Path) -> Path:
    return made.write_json(folder / "results.json", made.coco_results(points))


def mmpose(points: np.ndarray, folder: Path) -> Path:
    return made.write_json(folder / "walk.json", made.mmpose_inferencer(points))


def mmpose_pictures(points: np.ndarray, folder: Path) -> Path:
    frames = [[made.mmpose_instance(person)] for person in points]
    return made.write_folder(folder / "predictions", frames, lambda number: f"{number:06d}.json")


def ultralytics(points: np.ndarray, folder: Path) -> Path:
    return made.write_json(folder / "results.json", made.ultralytics(points))


def ultralytics_folder(points: np.ndarray, folder: Path) -> Path:
    return made.write_folder(folder / "json", made.ultralytics(points), lambda number: f"walk_{number}.json")


def detectron2(points: np.ndarray, folder: Path) -> Path:
    made.detectron2(points, folder / "walk.mp4.npz")
    return folder / "walk.mp4.npz"


def npy(points: np.ndarray, folder: Path) -> Path:
    np.save(folder / "walk.npy", points)
    return folder / "walk.npy"


def npz_of_rtmlib(points: np.ndarray, folder: Path) -> Path:
    np.savez(folder / "walk.npz", keypoints=points[:, None, :, :2], scores=points[:, None, :, 2])
    return folder / "walk.npz"


@pytest.mark.parametrize(
    ("write", "layout", "detector"),
    [
        *((openpose_folder, layout, "OpenPose JSON") for layout in ("body25", "body25b", "coco18", "coco17")),
        *((openpose_folder, layout, "OpenPose JSON") for layout in ("halpe26", "wholebody133", "halpe136")),
        (openpose_list, "body25", "OpenPose JSON"),
        (openpose_by_picture, "coco18", "OpenPose JSON"),
        *((alphapose, layout, "AlphaPose JSON") for layout in ("coco17", "halpe26", "halpe136")),
        (coco, "coco17", "COCO results JSON"),
        *((mmpose, layout, "MMPose JSON") for layout in ("coco17", "halpe26", "wholebody133")),
        (mmpose_pictures, "coco17", "MMPose JSON"),
        (ultralytics, "coco17", "Ultralytics JSON"),
        (ultralytics_folder, "coco17", "Ultralytics JSON"),
        (detectron2, "coco17", "Detectron2 npz"),
        (npy, "halpe26", "NumPy array"),
        (npz_of_rtmlib, "wholebody133", "NumPy array"),
    ],
)
def test_a_file_is_recognised_and_read(write: Write, layout: str, detector: str, tmp_path: Path) -> None:
    tracks = read_tracks(write(made.figure(layout), tmp_path))
    assert (tracks.detector, tracks.layout) == (detector, layout)
    check_walk(tracks)
    json.dumps(tracks.facts)


@pytest.mark.parametrize("write", [npy, npz_of_rtmlib])
@pytest.mark.parametrize("layout", ["coco17", "h36m17"])
def test_an_array_of_17_keypoints_needs_its_layout(write: Write, layout: str, tmp_path: Path) -> None:
    path = write(made.figure(layout), tmp_path)
    with pytest.raises(UserError, match=r"17 keypoints may be coco17 or h36m17.* --layout"):
        read_tracks(path)
    check_walk(read_tracks(path, layout=layout))


def test_a_users_layout_overrules_what_the_faces_say(tmp_path: Path) -> None:
    path = openpose_folder(made.figure("body25b"), tmp_path)
    assert read_tracks(path).layout == "body25b"
    assert read_tracks(path, layout="body25").layout == "body25"


# Real files.


@pytest.fixture(scope="module")
def two_people() -> Tracks:
    return read_tracks(FILES / "openpose_body25b", person="all")


def test_openposes_two_people_keep_their_ids_over_60_frames(two_people: Tracks) -> None:
    assert (two_people.detector, two_people.layout, two_people.num_frames) == ("OpenPose JSON", "body25b", 60)
    assert [(track.person, len(track.keypoints)) for track in two_people.people] == [("0", 60), ("1", 60)]
    # By the files: the first person's shoulders are near x = 668 in frame 36, the other's near x = 116.
    for track, (low, high) in zip(two_people.people, ((500, 1000), (0, 300)), strict=True):
        shoulder = track.keypoints[track.seen[:, 11], 11, 0]
        assert low < shoulder.min() < shoulder.max() < high


def test_a_body_that_is_split_over_two_entries_is_one_person(two_people: Tracks) -> None:
    """Frame 37: the first entry ends at the right wrist, the last but one begins there."""
    content = json.loads((FILES / "openpose_body25b" / "cam01.0037.json").read_text())
    upper, lower, _ = (np.reshape(person["pose_keypoints_2d"], (25, 3)) for person in content["people"])
    body = two_people.people[0].keypoints[37]
    np.testing.assert_allclose(body[H36M17.index("right_shoulder")], upper[6], rtol=1e-6)
    np.testing.assert_allclose(body[H36M17.index("left_ankle")], lower[15], rtol=1e-6)
    assert two_people.people[0].seen[37].all()
    steps = np.linalg.norm(np.diff(two_people.people[0].keypoints[35:40, :, :2], axis=0), axis=-1)
    assert steps.max() < 60  # pixels; the figure is 900 tall
    assert two_people.facts["merged_bodies"] == 1


def test_the_largest_person_is_the_default(two_people: Tracks) -> None:
    (track,) = read_tracks(FILES / "openpose_body25b").people
    assert track.person == "0"
    np.testing.assert_array_equal(track.keypoints, two_people.people[0].keypoints)


def test_rtmposes_halpe_in_openposes_layout_is_known_by_its_number() -> None:
    tracks = read_tracks(FILES / "rtmpose_halpe26_openpose_json")
    assert (tracks.layout, tracks.num_frames, len(tracks.people)) == ("halpe26", 5, 1)
    assert tracks.people[0].first_frame == 0  # the first file is frame_00001
    assert tracks.people[0].seen.all()


def test_alphaposes_pictures_are_sorted_by_number() -> None:
    tracks = read_tracks(FILES / "alphapose_halpe26")
    (track,) = tracks.people
    assert (tracks.detector, tracks.layout, tracks.num_frames) == ("AlphaPose JSON", "halpe26", 149)
    assert (track.first_frame, len(track.keypoints)) == (0, 149)
    entries = json.loads((FILES / "alphapose_halpe26" / "one_person_numbered.json").read_text())
    tenth = next(
        np.reshape(entry["keypoints"], (26, 3)) for entry in entries if entry["image_id"] == "10.jpg"
    )
    np.testing.assert_allclose(track.keypoints[10, H36M17.index("left_knee"), :2], tenth[13, :2], rtol=1e-6)
    assert track.keypoints[..., 2].max() == 1  # 1.069 in the file


def test_alphaposes_absent_frames_keep_their_time(tmp_path: Path) -> None:
    entries = json.loads((FILES / "alphapose_halpe26" / "one_person_numbered.json").read_text())
    absent = {f"{number}.jpg" for number in (*range(20, 26), *range(60, 100))}
    kept = [entry for entry in entries if entry["image_id"] not in absent]
    whole = read_tracks(FILES / "alphapose_halpe26").people[0]
    tracks = read_tracks(made.write_json(tmp_path / "results.json", kept))
    assert [(t.person, t.first_frame, len(t.keypoints)) for t in tracks.people] == [
        ("0", 0, 60),
        ("0", 100, 49),
    ]
    first, second = tracks.people
    np.testing.assert_array_equal(first.keypoints[26:], whole.keypoints[26:60])
    np.testing.assert_array_equal(second.keypoints, whole.keypoints[100:])
    assert not first.seen[20:26].any()
    assert (first.keypoints[20:26, :, 2] == 0).all()
    middle = first.keypoints[22, 0, :2]
    expected = whole.keypoints[19, 0, :2] + 3 / 7 * (whole.keypoints[26, 0, :2] - whole.keypoints[19, 0, :2])
    np.testing.assert_allclose(middle, expected, rtol=1e-5)
    facts = tracks.facts
    assert (facts["filled_frames"], facts["split_gaps"], tracks.num_frames) == (6, 1, 149)


def test_mmposes_3d_output_is_refused() -> None:
    with pytest.raises(UserError, match="keypoints of 3 numbers are already 3D"):
        read_tracks(FILES / "mmpose_3d_output")


# People.


def with_ids(points: np.ndarray, other: np.ndarray) -> list[dict[str, Any]]:
    return made.alphapose(points, idx=7) + made.alphapose(other, idx=3)


def test_a_detectors_ids_are_kept(tmp_path: Path) -> None:
    near, far = made.figure("halpe26"), made.figure("halpe26", x=400)
    path = made.write_json(tmp_path / "results.json", with_ids(near, far * [1, 0.5, 1]))
    assert [track.person for track in read_tracks(path).people] == ["7"]
    assert [track.person for track in read_tracks(path, person="all").people] == ["7", "3"]
    (track,) = read_tracks(path, person="3").people
    assert track.keypoints[0, 0, 0] == pytest.approx(400)
    with pytest.raises(UserError, match="person '4' is not in the file; largest, all, or one of 7, 3"):
        read_tracks(path, person="4")


def test_ids_win_over_places(tmp_path: Path) -> None:
    """The detector says that two people changed places at once."""
    here, there = made.figure("halpe26", 20), made.figure("halpe26", 20, x=400)
    first = np.concatenate((here[:10], there[10:]))
    second = np.concatenate((there[:10], here[10:]))
    tracks = read_tracks(made.write_json(tmp_path / "r.json", with_ids(first, second)), person="7")
    np.testing.assert_allclose(np.diff(tracks.people[0].keypoints[9:11, 0, 0]), 202)


def test_an_id_that_two_people_of_a_frame_share_is_none(tmp_path: Path) -> None:
    entries = made.alphapose(made.figure("halpe26"), idx=0) + made.alphapose(
        made.figure("halpe26", x=500), idx=0
    )
    tracks = read_tracks(made.write_json(tmp_path / "r.json", entries), person="all")
    assert [(track.person, len(track.keypoints)) for track in tracks.people] == [("0", 8), ("1", 8)]


def test_a_person_of_a_few_frames_is_no_one_of_all(tmp_path: Path) -> None:
    frames = [made.openpose([person]) for person in made.figure("body25")]
    frames[3]["people"] += made.openpose([made.figure("body25", 1, x=900)[0]])["people"]
    path = made.write_json(tmp_path / "all.json", frames)
    tracks = read_tracks(path, person="all")
    assert [track.person for track in tracks.people] == ["0"]
    assert tracks.facts["people"][1] == {"person": "1", "first_frame": 3, "last_frame": 3, "seen": 1}
    assert tracks.facts["frames_by_number_of_people"] == {"0": 0, "1": 7, "2": 1}
    assert read_tracks(path, person="1").people[0].first_frame == 3


def test_one_picture_is_one_frame(tmp_path: Path) -> None:
    path = made.write_json(tmp_path / "one.json", made.openpose([made.figure("body25")[0]]))
    check_walk(read_tracks(path), num_frames=1)


# Time.


def test_empty_frames_at_both_ends_are_part_of_the_video(tmp_path: Path) -> None:
    frames = [made.openpose([])] * 3 + [made.openpose([person]) for person in made.figure("body25")]
    frames += [made.openpose([])] * 2
    tracks = read_tracks(made.write_folder(tmp_path / "json", frames, lambda number: f"{number + 100}.json"))
    assert tracks.num_frames == 13
    check_walk(Tracks(tracks.people, 11, None, None, "", "", {}), first_frame=3)


def test_a_joint_that_is_missing_for_long_is_zero_and_a_short_gap_is_filled(tmp_path: Path) -> None:
    points = made.figure("coco17", 40)
    points[5:8, 9] = 0  # left wrist
    points[10:39, 10] = 0  # right wrist
    points[:4, 15] = 0  # left ankle
    (track,) = read_tracks(made.write_json(tmp_path / "r.json", made.alphapose(points))).people
    left, right, ankle = (H36M17.index(name) for name in ("left_wrist", "right_wrist", "left_ankle"))
    np.testing.assert_allclose(track.keypoints[5:8, left], [[240, 270, 0], [242, 270, 0], [244, 270, 0]])
    assert (track.keypoints[10:39, right] == 0).all()
    assert (track.keypoints[:4, ankle] == 0).all()
    assert [int((~track.seen[:, joint]).sum()) for joint in (left, right, ankle)] == [3, 29, 4]
    assert track.seen.sum() == 40 * 17 - 36


@pytest.mark.parametrize(("max_gap", "lengths"), [(0, [4, 12]), (3, [4, 12]), (4, [20])])
def test_a_gap_is_filled_up_to_the_limit(max_gap: int, lengths: list[int], tmp_path: Path) -> None:
    entries = [
        entry for number, entry in enumerate(made.alphapose(made.figure("coco17", 20))) if not 4 <= number < 8
    ]
    tracks = read_tracks(made.write_json(tmp_path / "r.json", entries), max_gap=max_gap)
    assert [len(track.keypoints) for track in tracks.people] == lengths


def test_mmposes_empty_frames_and_numbers_from_1(tmp_path: Path) -> None:
    content = made.mmpose_demo(made.figure("coco17"), made.LAYOUTS["coco17"].keypoints)
    content["instance_info"].insert(0, {"frame_id": 0, "instances": []})
    tracks = read_tracks(made.write_json(tmp_path / "demo.json", content))
    assert tracks.facts["layout_by"] == "names"
    check_walk(tracks, first_frame=1)


def test_mmposes_names_are_used(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(26)
    names = [made.LAYOUTS["halpe26"].keypoints[number] for number in order]
    content = made.mmpose_demo(made.figure("halpe26")[:, order], names)
    tracks = read_tracks(made.write_json(tmp_path / "demo.json", content))
    assert tracks.layout == "halpe26"
    check_walk(tracks)


# Numbers.


def test_the_share_below_the_threshold_is_reported(tmp_path: Path) -> None:
    points = made.figure("coco17", 10)
    points[:5, 9, 2] = 0.3  # left wrist: 5 of 170 keypoints
    points[0, 10] = 0  # not detected at all
    path = made.write_json(tmp_path / "r.json", made.alphapose(points))
    tracks = read_tracks(path)
    assert tracks.facts["threshold"] == 0.4
    # 15 of COCO's keypoints make joints: all but the ears.
    assert tracks.facts["share_dropped"] == pytest.approx(5 / 149)
    assert (~tracks.people[0].seen).sum() == 6
    assert read_tracks(path, threshold=0.2).facts["share_dropped"] == 0
    with pytest.raises(UserError, match=r"no keypoint has a confidence of 0.95 or more; lower --threshold"):
        read_tracks(path, threshold=0.95)


def test_half_a_body_is_marked_and_not_invented(tmp_path: Path) -> None:
    points = made.figure("body25")
    points[:, 8:15] = 0
    (track,) = read_tracks(openpose_folder(points, tmp_path)).people
    unseen = {H36M17.joints[joint] for joint in np.flatnonzero(~track.seen.any(axis=0))}
    legs = {f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle")}
    assert unseen == legs | {"pelvis", "spine"}
    assert (track.keypoints[~track.seen] == 0).all()


def test_frames_that_show_no_joint_are_no_part_of_a_track(tmp_path: Path) -> None:
    points = made.figure("coco17", 10)
    points[[0, 1, 9], :1] = points[[0, 1, 9], 2:] = 0  # one eye, of which no joint is made
    tracks = read_tracks(made.write_json(tmp_path / "r.json", made.alphapose(points)))
    assert [(track.first_frame, len(track.keypoints)) for track in tracks.people] == [(2, 7)]
    path = made.write_json(tmp_path / "eye.json", made.alphapose(points[:2]))
    with pytest.raises(UserError, match="person 1 has no joint that is seen"):
        read_tracks(path)


def test_ultralytics_parts_of_the_picture_need_its_size(tmp_path: Path) -> None:
    points = made.figure("coco17") / [640, 480, 1]
    path = ultralytics(points, tmp_path)
    with pytest.raises(UserError, match="coordinates are parts of width and height; give the picture's size"):
        read_tracks(path)
    tracks = read_tracks(path, size=(640, 480))
    assert tracks.size == (640, 480)
    check_walk(tracks)


def test_ultralytics_track_ids_are_people(tmp_path: Path) -> None:
    near, far = made.figure("coco17"), made.figure("coco17", x=500)
    frames = [
        one + other for one, other in zip(made.ultralytics(near, 4), made.ultralytics(far, 9), strict=True)
    ]
    tracks = read_tracks(made.write_json(tmp_path / "r.json", frames), person="9")
    assert tracks.people[0].keypoints[0, 0, 0] == 500


@pytest.mark.parametrize("rest", [(), (0.75,), (3,), (0.75, 3)])
@pytest.mark.parametrize("num_columns", [2, 3])
def test_ultralytics_text_files(rest: tuple[float, ...], num_columns: int, tmp_path: Path) -> None:
    points = made.figure("coco17", 12) / [640, 480, 1]
    for number in (*range(5), *range(7, 12)):
        line = made.ultralytics_line(points[number][:, :num_columns], *rest)
        (tmp_path / f"walk_{number + 1}.txt").write_text(line + "\n")
    tracks = read_tracks(tmp_path, size=(640, 480))
    assert (tracks.detector, tracks.num_frames) == ("Ultralytics text", 12)
    (track,) = tracks.people
    assert track.person == ("3" if 3 in rest else "0")
    assert (~track.seen).sum() == 2 * 17
    known = np.isfinite(made.joints(12))
    np.testing.assert_allclose(track.keypoints[..., :2][known], made.joints(12)[known], atol=2e-2)
    assert track.keypoints[0, 0, 2] == pytest.approx(0.9 if num_columns == 3 else 1)


def test_a_confidence_that_is_printed_as_1_is_no_track(tmp_path: Path) -> None:
    points = made.figure("coco17") / [640, 480, 1]
    for number, confidence in enumerate((1, 1, 0.97, 1, 0.98, 1, 1, 1)):
        (tmp_path / f"walk_{number + 1}.txt").write_text(made.ultralytics_line(points[number], confidence))
    check_walk(read_tracks(tmp_path, size=(640, 480)))
    for number in range(8):
        (tmp_path / f"walk_{number + 1}.txt").write_text(made.ultralytics_line(points[number], 1))
    assert read_tracks(tmp_path, size=(640, 480)).people[0].person == "0"


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = coco(made.figure("coco17"), tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    check_walk(read_tracks(path))


def test_pixels_are_due_where_a_program_writes_none_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are no pixels; write pixels .OpenPose: --keypoint_scale 0"):
        read_tracks(openpose_folder(made.figure("body25") / [1000, 1000, 1], tmp_path))


def test_mediapipes_landmarks_are_parts_of_width_and_height(tmp_path: Path) -> None:
    points = made.figure("mediapipe33") / [640, 480, 1]
    landmarks = np.zeros((8, 33, 5))
    landmarks[..., :2], landmarks[..., 2], landmarks[..., 3:] = points[..., :2], -0.3, points[..., 2:]
    np.save(tmp_path / "walk.npy", landmarks)
    with pytest.raises(UserError, match="MediaPipe array: coordinates are parts of width and height"):
        read_tracks(tmp_path / "walk.npy")
    tracks = read_tracks(tmp_path / "walk.npy", size=(640, 480))
    assert tracks.layout == "mediapipe33"
    check_walk(tracks)


def test_mediapipes_z_is_no_confidence(tmp_path: Path) -> None:
    np.save(tmp_path / "walk.npy", made.figure("mediapipe33", confidence=3.9))
    with pytest.raises(UserError, match=r"a confidence of 3.9, at most 1 is one; .* give x, y, confidence"):
        read_tracks(tmp_path / "walk.npy")


def test_mediapipes_x_y_z_is_refused(tmp_path: Path) -> None:
    points = made.figure("mediapipe33")
    points[:, 3, 2] = -0.25
    np.save(tmp_path / "walk.npy", points)
    with pytest.raises(
        UserError, match=r"frame 0: the third .* down to -0.25: MediaPipe's z.* x, y, visibility"
    ):
        read_tracks(tmp_path / "walk.npy")


def test_landmarks_in_metres_are_no_parts_of_a_picture(tmp_path: Path) -> None:
    points = (made.figure("mediapipe33") - [200, 280, 0]) / [300, 300, 1]  # about the hips
    np.save(tmp_path / "walk.npy", points)
    with pytest.raises(UserError, match=r"5\d% of the coordinates lie outside .* these look like metres"):
        read_tracks(tmp_path / "walk.npy", size=(640, 480))
    hidden = made.figure("mediapipe33") / [640, 300, 1]  # legs below the picture, and not visible
    hidden[..., 2] = np.where(hidden[..., 1] > 1, 0.1, 0.9)
    np.save(tmp_path / "walk.npy", hidden)
    assert read_tracks(tmp_path / "walk.npy", size=(640, 300)).layout == "mediapipe33"


def test_videopose3d_gives_the_pictures_size(tmp_path: Path) -> None:
    made.videopose3d(made.figure("coco17"), tmp_path / "data_2d_custom_walk.npz")
    tracks = read_tracks(tmp_path / "data_2d_custom_walk.npz")
    assert (tracks.detector, tracks.size, tracks.fps) == ("VideoPose3D npz", (640, 480), None)
    check_walk(tracks, confidence=1)
    assert read_tracks(tmp_path / "data_2d_custom_walk.npz", size=(320, 240)).size == (320, 240)


def test_detectron2_gives_the_pictures_size_and_gaps(tmp_path: Path) -> None:
    made.detectron2(made.figure("coco17"), tmp_path / "walk.npz")
    assert read_tracks(tmp_path / "walk.npz").size == (640, 480)


def test_an_archive_gives_rate_and_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=made.figure("halpe26"), fps=25.0, size=[640, 480])
    tracks = read_tracks(tmp_path / "a.npz")
    assert (tracks.fps, tracks.size) == (25.0, (640, 480))


def test_people_of_an_array_are_followed_and_absent_ones_left_out(tmp_path: Path) -> None:
    people = np.stack((made.figure("halpe26"), made.figure("halpe26", x=500)), axis=1)
    people[3:5] = people[3:5, ::-1]  # their order is free
    people[6:, 1] = np.nan
    np.save(tmp_path / "a.npy", people)
    tracks = read_tracks(tmp_path / "a.npy", person="all")
    assert [len(track.keypoints) for track in tracks.people] == [8, 6]
    check_walk(Tracks(tracks.people[:1], 8, None, None, "", "", {}))


def test_an_array_of_objects_with_as_many_people_as_each_frame_has(tmp_path: Path) -> None:
    points = made.figure("halpe26")
    keypoints, scores = np.empty(8, object), np.empty(8, object)
    for number, person in enumerate(points):
        num_people = 0 if number == 4 else 1
        keypoints[number], scores[number] = person[None, :, :2][:num_people], person[None, :, 2][:num_people]
    np.savez(tmp_path / "a.npz", keypoints=keypoints, scores=scores)
    (track,) = read_tracks(tmp_path / "a.npz").people
    assert np.flatnonzero(~track.seen.any(axis=1)).tolist() == [4]
    np.testing.assert_allclose(track.keypoints[4, 0], [208, 280, 0], rtol=1e-6)
