"""MPI-INF-3DHP's two npz files; the person stands before a level camera and looks into it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.sample import DataError, decode_sample, encode_sample
from langpose_dist.datasets.clip import Clip
from langpose_dist.datasets.mpi_inf_3dhp.clips import FILES, FRAME_RATES, JOINTS, find_clips
from langpose_dist.skeleton import H36M17, MPI_INF_3DHP, swap_sides

TRAIN, TEST = FILES

# Camera axes, millimetres: x right, y down, z forward. The person's right is on the image's left. In the
# files' order: crown, neck, right arm, left arm, right leg, left leg, pelvis, spine, head.
PERSON = np.array(
    [
        [0, -700, 3000],
        [0, -450, 3000],
        *([-180, -450, 3000], [-200, -150, 3010], [-210, 100, 2980]),
        *([180, -450, 3000], [200, -150, 3010], [210, 100, 2980]),
        *([-120, 100, 3000], [-130, 550, 3000], [-140, 1000, 3020]),
        *([120, 100, 3000], [130, 550, 3000], [140, 1000, 3020]),
        [0, 90, 3000],
        [0, -180, 3010],
        [0, -560, 2990],
    ],
    dtype=np.float64,
)


def project(points: np.ndarray, width: int, height: int) -> np.ndarray:
    return points[..., :2] / points[..., 2:] * 1500 + (width / 2, height / 2)


def record(num_frames: int, width: int = 2048, height: int = 2048) -> dict[str, Any]:
    points = np.repeat(PERSON[None], num_frames, axis=0)
    points[:, :, 0] += 10 * np.arange(num_frames)[:, None]  # 1 cm to the image's right per frame
    return {"data_3d": points, "data_2d": project(points, width, height)}


def write(path: Path, data: dict[str, Any]) -> Path:
    np.savez_compressed(path, data=np.array(data, dtype=object))
    return path


def write_train(folder: Path, **changes: Any) -> Path:
    cameras = {str(camera): record(6) for camera in (8, 0)}
    return write(folder / TRAIN, {"S1 Seq1": [cameras, 25], "S1 Seq2": [{"0": record(6)}, 50]} | changes)


def write_test(folder: Path, valid: list[int], name: str = "TS1") -> Path:
    size = (1920, 1080) if name in ("TS5", "TS6") else (2048, 2048)
    flags = np.array(valid, dtype=np.float64)
    return write(folder / TEST, {name: record(len(valid), *size) | {"valid": flags}})


def test_the_map_uses_every_joint_once_and_keeps_the_sides() -> None:
    assert tuple(MPI_INF_3DHP) == H36M17.joints
    assert sorted(source for weights in MPI_INF_3DHP.values() for source in weights) == sorted(JOINTS)
    for joint, weights in MPI_INF_3DHP.items():
        assert sum(weights.values()) == 1, joint
        assert MPI_INF_3DHP[swap_sides(joint)] == {swap_sides(source): 1.0 for source in weights}, joint


def test_every_joint_is_where_its_name_says_in_metres_with_z_up(tmp_path: Path) -> None:
    write_train(tmp_path)
    poses = find_clips(tmp_path, fps=25.0).clips[0].load().poses_3d
    expected = {
        "pelvis": (0, 3, -0.09),
        "right_hip": (-0.12, 3, -0.1),
        "right_knee": (-0.13, 3, -0.55),
        "right_ankle": (-0.14, 3.02, -1),
        "left_hip": (0.12, 3, -0.1),
        "left_knee": (0.13, 3, -0.55),
        "left_ankle": (0.14, 3.02, -1),
        "spine": (0, 3.01, 0.18),
        "thorax": (0, 3, 0.45),
        "neck": (0, 2.99, 0.56),
        "head": (0, 3, 0.7),
        "left_shoulder": (0.18, 3, 0.45),
        "left_elbow": (0.2, 3.01, 0.15),
        "left_wrist": (0.21, 2.98, -0.1),
        "right_shoulder": (-0.18, 3, 0.45),
        "right_elbow": (-0.2, 3.01, 0.15),
        "right_wrist": (-0.21, 2.98, -0.1),
    }
    assert tuple(expected) == H36M17.joints
    np.testing.assert_allclose(poses[0], list(expected.values()), atol=1e-6)


def test_left_and_front_fit_together(tmp_path: Path) -> None:
    # Hands and nose are nearer to the camera than the body: the front. Up x front must point to the left.
    write_train(tmp_path)
    pose = find_clips(tmp_path, fps=25.0).clips[0].load().poses_3d[0]
    front = pose[H36M17.index("neck")] - pose[H36M17.index("thorax")]
    left = pose[H36M17.index("left_hip")] - pose[H36M17.index("right_hip")]
    assert np.dot(np.cross((0, 0, 1), front), left) > 0


def test_a_raised_right_hand_is_the_right_wrist(tmp_path: Path) -> None:
    recording = record(2)
    recording["data_3d"][1] = recording["data_3d"][0]
    recording["data_3d"][1, 4] = (-210, -800, 3000)
    write(tmp_path / TRAIN, {"S2 Seq1": [{"0": recording}, 25]})
    poses = find_clips(tmp_path, fps=25.0).clips[0].load().poses_3d
    moved = np.abs(poses[1] - poses[0]).max(axis=1) > 0
    assert np.flatnonzero(moved).tolist() == [H36M17.index("right_wrist")]
    np.testing.assert_allclose(poses[1, H36M17.index("right_wrist")], (-0.21, 3, 0.8), atol=1e-6)


@pytest.mark.parametrize(("name", "size"), [("TS4", (2048, 2048)), ("TS5", (1920, 1080))])
def test_keypoints_and_poses_show_one_picture(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    write_test(tmp_path, [1] * 4, name)
    sample = find_clips(tmp_path, fps=25.0).clips[0].load()
    camera = sample.meta["camera"]
    assert camera["image_size"] == list(size)
    seen = (sample.poses_3d - camera["translation"]) @ np.array(camera["rotation"]).T
    pixels = project(seen, *size)
    assert sample.keypoints_2d is not None
    x, y, confidence = np.moveaxis(sample.keypoints_2d, 2, 0)
    np.testing.assert_allclose(x * size[0] / 2 + size[0] / 2, pixels[..., 0], atol=1e-3)
    np.testing.assert_allclose(y * size[0] / 2 + size[1] / 2, pixels[..., 1], atol=1e-3)
    assert (confidence == 1).all()


def test_the_training_file_gives_one_clip_per_camera(tmp_path: Path) -> None:
    write_train(tmp_path)
    clips = find_clips(tmp_path, fps=25.0).clips
    assert [(clip.key, clip.source, clip.split) for clip in clips] == [
        ("S1_Seq1_0", f"{TRAIN}#S1 Seq1/0", "train"),
        ("S1_Seq1_8", f"{TRAIN}#S1 Seq1/8", "train"),
        ("S1_Seq2_0", f"{TRAIN}#S1 Seq2/0", "train"),
    ]
    assert clips[1].fields == {
        "subject": "s1",
        "sequence": "seq1",
        "camera": "8",
        "recording": "s1 seq1",
    }
    assert all(isinstance(clip, Clip) for clip in clips)


def test_recordings_have_rates_of_their_own(tmp_path: Path) -> None:
    write_train(tmp_path)
    slow, _, fast = find_clips(tmp_path, fps=25.0).clips
    assert slow.load().poses_3d[:, 0, 0] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04, 0.05])
    assert fast.load().poses_3d[:, 0, 0] == pytest.approx([0, 0.02, 0.04])
    assert (fast.load().meta["original_fps"], fast.load().meta["fps"]) == (50.0, 25.0)


@pytest.mark.parametrize("rest", [[], [None], [float("nan")], [0], [-25]])
def test_a_rate_that_the_file_lacks_comes_from_the_table(tmp_path: Path, rest: list[Any]) -> None:
    camera = {"0": record(2)}
    write(tmp_path / TRAIN, {"S5 Seq2": [camera, *rest], "S9 Seq1": [camera, *rest], "S9 Seq2": [camera, 30]})
    found = find_clips(tmp_path, fps=25.0)
    assert [(clip.key, clip.original_fps) for clip in found.clips] == [("S5_Seq2_0", 50), ("S9_Seq2_0", 30)]
    assert [(item.source, item.reason.partition(":")[0]) for item in found.skipped] == [
        (f"{TRAIN}#S9 Seq1/0", "no frame rate")
    ]


def test_a_rate_of_the_file_goes_before_the_table(tmp_path: Path) -> None:
    write(tmp_path / TRAIN, {"S5 Seq2": [{"0": record(2)}, 30]})  # 50 in the table
    assert [clip.original_fps for clip in find_clips(tmp_path, fps=25.0).clips] == [30]


def test_the_table_agrees_with_the_length_of_the_official_recordings() -> None:
    # Frames by mpii_get_sequence_info; each recording lasts about four minutes.
    frames = {"S1": (6416, 12430), "S2": (6502, 6081), "S3": (12488, 12283), "S4": (6171, 6675)}
    frames |= {"S5": (12820, 12312), "S6": (6188, 6145), "S7": (6239, 6320), "S8": (6468, 6054)}
    lasts = {
        f"{subject} Seq{number + 1}": count
        for subject, counts in frames.items()
        for number, count in enumerate(counts)
    }
    assert FRAME_RATES.keys() == lasts.keys()
    assert all(240 < count / FRAME_RATES[name] < 270 for name, count in lasts.items())


def test_frames_that_are_not_valid_stay_and_are_named(tmp_path: Path) -> None:
    write_test(tmp_path, [1, 0, 0, 1, 1, 1, 0, 1])
    (clip,) = find_clips(tmp_path, fps=25.0).clips
    sample = clip.load()
    assert (clip.key, clip.split, clip.fields) == ("TS1", "test", {"subject": "ts1", "sequence": "ts1"})
    assert len(sample.poses_3d) == 8
    assert sample.meta["valid_frames"] == [[0, 1], [3, 6], [7, 8]]
    assert sample.meta["original_fps_is"] == "assumed"


def test_a_resampled_frame_is_valid_if_those_around_it_are(tmp_path: Path) -> None:
    # 25 to 50 Hz: frames lie on 0, 0.5, 1, ... of the flags 1 1 0 1 1.
    write_test(tmp_path, [1, 1, 0, 1, 1])
    sample = find_clips(tmp_path, fps=50.0).clips[0].load()
    assert len(sample.poses_3d) == 9
    assert sample.meta["valid_frames"] == [[0, 3], [6, 9]]


def test_every_training_frame_is_valid_and_says_nothing(tmp_path: Path) -> None:
    write_train(tmp_path)
    assert "valid_frames" not in find_clips(tmp_path, fps=25.0).clips[0].load().meta


def test_samples_go_into_shards_and_back(tmp_path: Path) -> None:
    write_test(tmp_path, [1, 0, 1])
    sample = find_clips(tmp_path, fps=30.0).clips[0].load()
    again = decode_sample(sample.key, encode_sample(sample))
    assert again.meta == sample.meta
    assert again.spans == ()


def test_both_files_or_either_by_folder_or_by_name(tmp_path: Path) -> None:
    train = write_train(tmp_path)
    test = write_test(tmp_path, [1, 1])
    (tmp_path / "notes.txt").write_text("")
    found = find_clips(tmp_path, fps=25.0)
    assert [clip.key for clip in found.clips] == ["S1_Seq1_0", "S1_Seq1_8", "S1_Seq2_0", "TS1"]
    assert found.num_ignored == 1
    assert [clip.load().key for clip in reversed(found.clips)] == [clip.key for clip in reversed(found.clips)]
    renamed = test.rename(tmp_path / "mine.npz")
    assert [clip.key for clip in find_clips(renamed, fps=25.0).clips] == ["TS1"]
    train.unlink()
    with pytest.raises(DataError, match=f"holds neither {TRAIN} nor {TEST}"):
        find_clips(tmp_path, fps=25.0)
    with pytest.raises(DataError, match="does not exist"):
        find_clips(tmp_path / "none", fps=25.0)


def test_one_bad_file_leaves_the_other(tmp_path: Path) -> None:
    (tmp_path / TRAIN).write_bytes(b"not an npz")
    with pytest.raises(DataError, match=TRAIN):
        find_clips(tmp_path, fps=25.0)
    write_test(tmp_path, [1, 1])
    found = find_clips(tmp_path, fps=25.0)
    assert [clip.key for clip in found.clips] == ["TS1"]
    assert [(item.source, item.reason.partition(":")[0]) for item in found.skipped] == [
        (TRAIN, "unreadable file")
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"other": np.zeros(3)},
        {"data": np.zeros(3)},
        {"data": np.array({}, dtype=object)},
        {"data": np.array({"S1 Seq1": "text"}, dtype=object)},
        {"data": np.array({"S1 Seq1": [{"0": None}]}, dtype=object)},
    ],
)
def test_another_npz_is_an_error_in_one_line(tmp_path: Path, content: dict[str, Any]) -> None:
    np.savez(tmp_path / TRAIN, **content)
    with pytest.raises(DataError, match=TRAIN) as caught:
        find_clips(tmp_path, fps=25.0)
    assert "\n" not in str(caught.value)


def cut_frames(recording: dict[str, Any]) -> None:
    recording["data_2d"] = recording["data_2d"][:-1]


def drop_joint(recording: dict[str, Any]) -> None:
    recording["data_3d"] = recording["data_3d"][:, :16]


def lose_all(recording: dict[str, Any]) -> None:
    recording["data_3d"] = recording["data_3d"][:0]


def break_number(recording: dict[str, Any]) -> None:
    recording["data_3d"][1, 2, 0] = np.nan


def inflate(recording: dict[str, Any]) -> None:
    recording["data_2d"][0, 0, 0] = 1e300


def leave_out_2d(recording: dict[str, Any]) -> None:
    del recording["data_2d"]


def cut_flags(recording: dict[str, Any]) -> None:
    recording["valid"] = recording["valid"][:-1]


def clear_flags(recording: dict[str, Any]) -> None:
    recording["valid"][:] = 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_frames, "different lengths: 4 frames in 3D and 3 in 2D"),
        (drop_joint, r"wrong shape: data_3d is \(4, 16, 3\)"),
        (lose_all, r"wrong shape: data_3d is \(0, 17, 3\)"),
        (break_number, "NaN or infinity: in data_3d"),
        (inflate, "NaN or infinity: in data_2d, or numbers too large"),
        (leave_out_2d, "array missing: no numbers under 'data_2d'"),
        (cut_flags, r"wrong shape: valid is \(3,\), not 4 flags"),
        (clear_flags, "no valid frame: none of 4"),
    ],
)
def test_a_damaged_recording_is_skipped_with_its_reason(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], reason: str
) -> None:
    recording = record(4) | {"valid": np.ones(4)}
    damage(recording)
    write(tmp_path / TEST, {"TS1": recording})
    (clip,) = find_clips(tmp_path, fps=25.0).clips
    with pytest.raises(DataError, match=reason):
        clip.load()


def test_an_unknown_recording_is_named(tmp_path: Path) -> None:
    write_train(tmp_path, walk=[{"0": record(2)}, 25])
    (item,) = find_clips(tmp_path, fps=25.0).skipped
    assert item.source == f"{TRAIN}#walk/0"
    assert item.reason.startswith("unknown name: ")


def test_a_file_that_changed_after_the_search_is_noticed(tmp_path: Path) -> None:
    write_train(tmp_path)
    clip = find_clips(tmp_path, fps=25.0).clips[0]
    write(tmp_path / TRAIN, {"S7 Seq1": [{"0": record(3)}, 25]})
    with pytest.raises(DataError, match=r"recording missing: .* no longer holds S1 Seq1 0"):
        clip.load()


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    write(tmp_path / TRAIN, {"S1 Seq1": [{"0": Payload(target)}, 25]})
    with pytest.raises(DataError, match="nothing in it was executed"):
        find_clips(tmp_path, fps=25.0)
    assert not target.exists()
    np.load(tmp_path / TRAIN, allow_pickle=True)["data"]
    assert target.exists()  # the payload is a real one
