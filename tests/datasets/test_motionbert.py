"""MotionBERT's windows, written as its tools write them; expected poses are those before that."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.sample import DataError, decode_sample, encode_sample
from langpose_dist.datasets.clip import Clip
from langpose_dist.datasets.motionbert.clips import find_clips
from langpose_dist.skeleton import H36M17

# Metres, z up, facing -y: left is +x. Limbs as long as the nominal person's, arms hanging.
PERSON = np.array(
    [
        [0, 0, 0.95],
        *([-0.13, 0, 0.95], [-0.13, 0, 0.507], [-0.13, 0, 0.053]),
        *([0.13, 0, 0.95], [0.13, 0, 0.507], [0.13, 0, 0.053]),
        *([0, 0, 1.2], [0, 0, 1.45], [0, -0.05, 1.55], [0, 0, 1.68]),
        *([0.16, 0, 1.42], [0.16, 0, 1.141], [0.16, 0, 0.889]),
        *([-0.16, 0, 1.42], [-0.16, 0, 1.141], [-0.16, 0, 0.889]),
    ]
)


def walk(num_frames: int, velocity: tuple[float, float, float]) -> np.ndarray:
    return PERSON + np.arange(num_frames)[:, None, None] * np.array(velocity)


def convert_amass(world: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(world, 2, 0)
    return (np.stack([x, -z, y], axis=2) * 0.298).astype(np.float32)


FOCAL, WIDTH = 1145.0, 1000.0


def convert_h36m(world: np.ndarray, distance: float, height: float = 1.0) -> np.ndarray:
    """A level camera that looks along +y: pixels, depth relative to the pelvis, over half the width."""
    x, y, z = world[..., 0], world[..., 1] + distance, world[..., 2] - height
    pixels_per_metre = FOCAL / y[:, :1]
    label = np.stack([FOCAL * x / y, -FOCAL * z / y, pixels_per_metre * (y - y[:, :1])], axis=2)
    return (label * 2 / WIDTH).astype(np.float32)


def write(path: Path, label: Any, detected: Any = None, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"data_input": detected, "data_label": label, **more}))
    return path


def make_root(folder: Path, name: str = "MB3D_f243s81") -> Path:
    root = folder / name
    write(root / "AMASS" / "train" / "00000000.pkl", convert_amass(walk(4, (0.01, 0, 0))))
    label = convert_h36m(walk(4, (0, 0, 0)), 4.0)
    for split in ("train", "test"):
        detected = np.concatenate([label[..., :2], np.full((4, 17, 1), 0.75, np.float32)], axis=2)
        write(root / "H36M-SH" / split / "00000000.pkl", label, detected)
    return root


def load_one(folder: Path, fps: float) -> Any:
    (clip,) = find_clips(folder, fps=fps).clips
    return clip.load()


def test_amass_comes_back_in_its_metres_and_world(tmp_path: Path) -> None:
    world = walk(243, (0.01, -0.02, 0.001))
    write(tmp_path / "MB3D_f243s81/AMASS/train/00000007.pkl", convert_amass(world))
    sample = load_one(tmp_path, 60.0)
    np.testing.assert_allclose(sample.poses_3d, world, atol=1e-5)
    assert sample.keypoints_2d is None
    assert "camera" not in sample.meta
    assert sample.meta["scale"] == "0.298 per metre, undone"


def test_human36m_comes_back_upright_and_in_about_the_right_size(tmp_path: Path) -> None:
    # Walking 2 m towards the camera and 1 m aside in 243 frames.
    world = walk(243, (1 / 242, -2 / 242, 0))
    write(tmp_path / "MB3D_f243s81/H36M-SH/train/00000000.pkl", convert_h36m(world, 6.0))
    sample = load_one(tmp_path, 50.0)
    relative = sample.poses_3d - sample.poses_3d[:, :1]
    np.testing.assert_allclose(relative, world - world[:, :1], atol=0.03)
    # Beside the camera's axis and above the camera (1 m) the place is right, but not the distance.
    np.testing.assert_allclose(sample.poses_3d[:, 0, 0], world[:, 0, 0], atol=0.03)
    np.testing.assert_allclose(sample.poses_3d[:, 0, 2], world[:, 0, 2] - 1.0, atol=0.03)
    np.testing.assert_allclose(sample.poses_3d[:, 0, 1], 0, atol=1e-6)
    assert sample.meta["scale"] == "estimated from bone lengths"


def test_limbs_keep_the_nominal_length_in_every_frame(tmp_path: Path) -> None:
    label = convert_h36m(walk(50, (0, -0.05, 0)), 6.0)
    write(tmp_path / "MB3D_f243s81/H36M-SH/train/00000000.pkl", label)
    poses = load_one(tmp_path, 50.0).poses_3d
    bones = [(1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16)]
    total = sum(np.linalg.norm(poses[:, child] - poses[:, parent], axis=1) for parent, child in bones)
    np.testing.assert_allclose(total, 2 * (0.443 + 0.454 + 0.279 + 0.252), rtol=1e-5)


@pytest.mark.parametrize("subset", ["AMASS", "H36M-SH"])
def test_a_raised_right_hand_is_the_right_wrist_and_up_is_up(tmp_path: Path, subset: str) -> None:
    world = walk(2, (0, 0, 0))
    world[1, 15] = (-0.16 - 0.279, 0, 1.42)
    world[1, 16] = (-0.16 - 0.279, 0, 1.42 + 0.252)
    label = convert_amass(world) if subset == "AMASS" else convert_h36m(world, 8.0)
    write(tmp_path / f"MB3D_f243s81/{subset}/train/00000000.pkl", label)
    poses = load_one(tmp_path, 60.0 if subset == "AMASS" else 50.0).poses_3d
    move = np.linalg.norm(poses[1] - poses[0], axis=1)
    assert np.flatnonzero(move > 0.2).tolist() == [
        H36M17.index("right_elbow"),
        H36M17.index("right_wrist"),
    ]
    assert poses[1, H36M17.index("right_wrist"), 2] - poses[1, H36M17.index("right_shoulder"), 2] > 0.2
    # Front is where the nose points; up x front must be the person's left.
    front = poses[0, H36M17.index("neck")] - poses[0, H36M17.index("thorax")]
    left = poses[0, H36M17.index("left_hip")] - poses[0, H36M17.index("right_hip")]
    assert np.dot(np.cross((0, 0, 1), front), left) > 0


def test_detections_are_the_keypoints(tmp_path: Path) -> None:
    detected = np.random.default_rng(0).uniform(-1, 1, (3, 17, 3))
    detected[..., 2] = 0.5
    detected[0, 0, 2], detected[0, 1, 2] = 1.02, -0.01  # heights of heat maps, not quite within 0..1
    label = convert_h36m(walk(3, (0, 0, 0)), 4.0)
    write(tmp_path / "MB3D_f243s81/H36M-SH/train/00000000.pkl", label, detected)
    sample = load_one(tmp_path, 50.0)
    assert sample.keypoints_2d.dtype == np.float32
    np.testing.assert_allclose(sample.keypoints_2d[..., :2], detected[..., :2], atol=1e-6)
    assert sample.keypoints_2d[0, :3, 2].tolist() == [1.0, 0.0, 0.5]


def test_rates_are_those_of_the_subsets(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    lengths = {clip.key: len(clip.load().poses_3d) for clip in find_clips(root, fps=30.0).clips}
    assert lengths == {"AMASS/train/00000000": 2, "H36M-SH/test/00000000": 2, "H36M-SH/train/00000000": 2}


def test_poses_and_keypoints_keep_time(tmp_path: Path) -> None:
    world = walk(11, (0.1, 0, 0))  # 0.1 m per frame of 1/60 s
    detected = np.zeros((11, 17, 3))
    detected[..., 0] = np.linspace(-1, 1, 11)[:, None]
    write(tmp_path / "MB3D_f243s81/AMASS/train/00000000.pkl", convert_amass(world), detected)
    (clip,) = find_clips(tmp_path, fps=30.0).clips
    sample = clip.load()
    np.testing.assert_allclose(sample.poses_3d[:, 0, 0], [0, 0.2, 0.4, 0.6, 0.8, 1.0], atol=1e-6)
    assert sample.keypoints_2d is not None
    np.testing.assert_allclose(sample.keypoints_2d[:, 0, 0], [-1, -0.6, -0.2, 0.2, 0.6, 1.0], atol=1e-6)


def test_meta_says_what_the_windows_do_not(tmp_path: Path) -> None:
    label = np.repeat(convert_amass(walk(3, (0.1, 0, 0))), [1, 3, 2], axis=0)  # stretched from 3 frames to 6
    write(tmp_path / "MB3D_f6s2/AMASS/train/00000000.pkl", label)
    assert load_one(tmp_path / "MB3D_f6s2", 60.0).meta == {
        "subset": "amass",
        "dataset": "motionbert",
        "source": "AMASS/train/00000000.pkl",
        "fps": 60.0,
        "original_fps": 60.0,
        "windows": "MB3D_f6s2",
        "overlapping": True,
        "num_repeated_frames": 3,
        "scale": "0.298 per metre, undone",
    }


def test_windows_overlap_in_training_alone(tmp_path: Path) -> None:
    samples = [clip.load() for clip in find_clips(make_root(tmp_path), fps=30.0).clips]
    assert {sample.key: sample.meta["overlapping"] for sample in samples} == {
        "AMASS/train/00000000": True,
        "H36M-SH/test/00000000": False,
        "H36M-SH/train/00000000": True,
    }


@pytest.mark.parametrize("name", ["MB3D_f243s81", "MB3D_f81s27"])
@pytest.mark.parametrize(
    ("inner", "keys"),
    [
        ("..", ["AMASS/train/00000000", "H36M-SH/test/00000000", "H36M-SH/train/00000000"]),
        (".", ["AMASS/train/00000000", "H36M-SH/test/00000000", "H36M-SH/train/00000000"]),
        ("H36M-SH", ["H36M-SH/test/00000000", "H36M-SH/train/00000000"]),
        ("H36M-SH/test", ["H36M-SH/test/00000000"]),
    ],
)
def test_a_clip_has_one_name_whichever_folder_is_given(
    tmp_path: Path, name: str, inner: str, keys: list[str]
) -> None:
    root = make_root(tmp_path / "motion3d", name)
    (root / "readme.txt").write_text("")
    found = find_clips(root / inner, fps=30.0)
    assert [clip.key for clip in found.clips] == keys
    assert [clip.split for clip in found.clips] == [key.split("/")[1] for key in keys]
    assert all(isinstance(clip, Clip) for clip in found.clips)
    assert found.num_ignored == (1 if inner in ("..", ".") else 0)


def test_two_preparations_of_the_same_motions_are_refused(tmp_path: Path) -> None:
    make_root(tmp_path)
    make_root(tmp_path, "MB3D_f81s27")
    with pytest.raises(DataError, match="choose one of MB3D_f243s81, MB3D_f81s27"):
        find_clips(tmp_path, fps=30.0)


def test_a_folder_without_windows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_clips(tmp_path / "none", fps=30.0)
    (tmp_path / "h36m.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match=r"no MotionBERT windows .*1 \.pkl files elsewhere.*MB3D_f243s81"):
        find_clips(tmp_path, fps=30.0)


def test_windows_elsewhere_are_named(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    write(root / "AMASS" / "old" / "00000000.pkl", None)
    write(root / "PW3D" / "train" / "00000000.pkl", None)
    found = find_clips(root, fps=30.0)
    assert [(item.source, item.reason.partition(":")[0]) for item in found.skipped] == [
        ("AMASS/old/00000000.pkl", "unknown split"),
        ("PW3D/train/00000000.pkl", "no frame rate"),
    ]
    assert len(found.clips) == 3


def test_the_search_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
    assert len(find_clips(root, fps=30.0).clips) == 3


GOOD = convert_amass(walk(3, (0, 0, 0)))
BROKEN = GOOD.copy()
BROKEN[1, 3, 1] = np.nan


@pytest.mark.parametrize(
    ("label", "detected", "reason"),
    [
        (GOOD[:0], None, r"wrong shape: data_label is \(0, 17, 3\)"),
        (GOOD[:, :16], None, r"wrong shape: data_label is \(3, 16, 3\)"),
        (GOOD[..., :2], None, r"wrong shape: data_label is \(3, 17, 2\)"),
        (BROKEN, None, "NaN or infinity: in data_label"),
        (
            np.full((3, 17, 3), 1e300),
            None,
            "NaN or infinity: in data_label, or numbers too large for float32",
        ),
        (None, None, "array missing: no numbers under 'data_label'"),
        ([[1.0]], None, "array missing: no numbers under 'data_label'"),
        (GOOD, GOOD[:2], "different lengths: 3 frames in 3D and 2 in 2D"),
        (GOOD, GOOD[..., :2], r"wrong shape: data_input is \(3, 17, 2\)"),
        (GOOD, np.full((3, 17, 3), np.inf), "NaN or infinity: in data_input"),
    ],
)
def test_a_bad_window_is_skipped_with_its_reason(
    tmp_path: Path, label: Any, detected: Any, reason: str
) -> None:
    write(tmp_path / "MB3D_f243s81/AMASS/train/00000000.pkl", label, detected)
    with pytest.raises(DataError, match=reason) as caught:
        load_one(tmp_path, 60.0)
    assert "\n" not in str(caught.value)


def test_a_frame_without_a_person_has_no_size(tmp_path: Path) -> None:
    label = convert_h36m(walk(3, (0, 0, 0)), 4.0)
    label[1] = 0
    write(tmp_path / "MB3D_f243s81/H36M-SH/train/00000000.pkl", label)
    with pytest.raises(DataError, match="no person: frame 1 "):
        load_one(tmp_path, 50.0)


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1]), pickle.dumps({"data_input": None})])
def test_another_file_is_no_window(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "MB3D_f243s81/AMASS/train/00000000.pkl", GOOD).write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_one(tmp_path, 60.0)
    assert "\n" not in str(caught.value)


def test_numbers_of_other_kinds_become_float32(tmp_path: Path) -> None:
    write(tmp_path / "MB3D_f243s81/AMASS/train/00000000.pkl", GOOD.astype(np.float64))
    sample = load_one(tmp_path, 60.0)
    assert sample.poses_3d.dtype == np.float32
    again = decode_sample(sample.key, encode_sample(sample))
    assert again.meta == sample.meta
    assert (again.poses_3d == sample.poses_3d).all()


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    path = write(tmp_path / "MB3D_f243s81/AMASS/train/00000000.pkl", GOOD, None, more=Payload(target))
    with pytest.raises(DataError, match="nothing in it was executed"):
        load_one(tmp_path, 60.0)
    assert not target.exists()
    pickle.loads(path.read_bytes())  # noqa: S301
    assert target.exists()  # the payload is a real one
