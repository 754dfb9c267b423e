"""Files to poses; expected positions are worked out by hand from the figure in conftest.py."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from langpose_dist.data.sample import DataError, Span
from langpose_dist.datasets.bvh.clips import PRESETS, BvhClip, find_clips, frame_rate, load_skeleton
from langpose_dist.datasets.bvh.parse import BvhError
from langpose_dist.skeleton import BANDAI_NAMCO, H36M17

PRESET = PRESETS["bandai-namco"]
NAME = "dataset-1_walk_old_001"


def load(folder: Path, text: str, fps: float = 30.0) -> tuple[BvhClip, np.ndarray]:
    folder.mkdir(exist_ok=True)
    (folder / f"{NAME}.bvh").write_text(text)
    (clip,) = find_clips(folder, PRESET, label="action", fps=fps).clips
    return clip, clip.load().poses_3d


def test_the_map_names_every_joint_once_with_weights_that_sum_to_one() -> None:
    assert tuple(BANDAI_NAMCO) == H36M17.joints
    for joint, weights in BANDAI_NAMCO.items():
        assert sum(weights.values()) == pytest.approx(1)
        for source in weights:
            side = {"L": "left", "R": "right"}.get(source.rpartition("_")[2])
            assert side is None or joint == "pelvis" or joint.startswith(side)


def test_a_figure_in_t_pose_stands_upright_in_metres(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    _, poses = load(tmp_path, make_bvh(1))
    expected = {
        "pelvis": (0, 0, 0.9),
        "right_hip": (-0.1, 0, 0.9),
        "right_ankle": (-0.1, 0, 0.1),
        "left_knee": (0.1, 0, 0.5),
        "spine": (0, 0, 1.09),  # 0.6 of 1.05 and 0.4 of 1.15
        "thorax": (0, 0, 1.3),
        "left_shoulder": (0.15, 0, 1.25),
        "left_wrist": (0.6, 0, 1.25),
        "right_wrist": (-0.6, 0, 1.25),
        # The preset's points are for heads whose x is up and y forward; here x is left and y up.
        "neck": (0.05, 0, 1.4),
        "head": (0.175, 0, 1.35),
    }
    for joint, position in expected.items():
        np.testing.assert_allclose(poses[0, H36M17.index(joint)], position, atol=1e-6, err_msg=joint)


def test_only_the_right_wrist_moves_when_the_right_elbow_bends(
    make_bvh: Callable[..., str], tmp_path: Path
) -> None:
    # Turning about z by 90 degrees takes the forearm from (-20, 0, 0) to (0, -20, 0): the hand hangs down.
    _, poses = load(tmp_path, make_bvh(10, {"LowerArm_R": (90, 0, 0)}))
    moved = np.abs(poses - poses[:1]).max(axis=(0, 2)) > 1e-6
    assert np.flatnonzero(moved).tolist() == [16] == [H36M17.index("right_wrist")]
    np.testing.assert_allclose(poses[-1, 16], (-0.4, 0, 1.05), atol=1e-6)


def test_axes_are_rotated_and_not_mirrored(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    # Both thighs turn about x by -90 degrees: knees forward, and forward is left x up.
    _, poses = load(tmp_path, make_bvh(2, {"UpperLeg_L": (0, -90, 0), "UpperLeg_R": (0, -90, 0)}))
    left = poses[-1, H36M17.index("left_hip")] - poses[-1, H36M17.index("right_hip")]
    thigh = poses[-1, H36M17.index("left_knee")] - poses[-1, H36M17.index("left_hip")]
    forward = np.cross(left, (0, 0, 1))
    np.testing.assert_allclose(thigh, 0.4 * forward / np.linalg.norm(forward), atol=1e-6)


def test_the_crown_follows_a_nod(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    # The crown lies along the head's x, which points left here; z turns it up.
    _, poses = load(tmp_path, make_bvh(2, {"Head": (90, 0, 0)}))
    crown = poses[:, H36M17.index("head")] - (0, 0, 1.35)
    np.testing.assert_allclose(crown, [(0.175, 0, 0), (0, 0, 0.175)], atol=1e-6)


@pytest.mark.parametrize("frame_time", ["0.0333333", "0.033333", "0.0333"])
def test_a_rate_near_the_target_keeps_its_frames(
    make_bvh: Callable[..., str], tmp_path: Path, frame_time: str
) -> None:
    clip, poses = load(tmp_path, make_bvh(31, frame_time=frame_time))
    assert len(poses) == 31
    assert clip.load().spans == (Span("walk", 0, 31),)


def test_frame_times_were_rounded_when_they_were_written() -> None:
    assert [frame_rate(seconds) for seconds in (0.0083333, 0.016667, 0.04, 0.5)] == [120, 60, 25, 2]
    assert frame_rate(1 / 59.94) == pytest.approx(59.94)


def test_meta_says_where_a_clip_comes_from(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    clip, poses = load(tmp_path, make_bvh(41, frame_time="0.0083333"))
    assert len(poses) == 11
    assert clip.load().meta == {
        "set": "dataset 1",
        "action": "walk",
        "style": "old",
        "number": "001",
        "dataset": "bandai-namco",
        "source": f"{NAME}.bvh",
        "fps": 30.0,
        "original_fps": 120.0,
    }


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("action", ["walk", "wave left hand", "wave right hand"]),
        ("style", ["normal", "not confident", "old"]),
        ("a {style} {action}", ["a normal walk", "a normal wave left hand"]),
    ],
)
def test_labels_are_words_of_the_file_names(mocap: Path, label: str, expected: list[str]) -> None:
    clips = find_clips(mocap, PRESET, label=label, fps=30.0).clips
    assert set(expected) <= {clip.label for clip in clips}


def test_captions_are_templates_beside_the_label(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.bvh").write_text(make_bvh(3))
    templates = ("someone does {action} in a {style} way", "{style} {action}")
    (clip,) = find_clips(tmp_path, PRESET, label="action", fps=30.0, captions=templates).clips
    sample = clip.load()
    assert sample.spans == (Span("walk", 0, 3),)
    assert sample.captions == (Span("someone does walk in a old way", 0, 3), Span("old walk", 0, 3))
    with pytest.raises(DataError, match="is no field"):
        find_clips(tmp_path, PRESET, label="action", fps=30.0, captions=("someone moves",))


@pytest.mark.parametrize("label", ["mood", "{mood}", "walking {}", "{action.__class__}"])
def test_a_label_must_name_a_field(mocap: Path, label: str) -> None:
    with pytest.raises(DataError, match="there are set, action, style, number"):
        find_clips(mocap, PRESET, label=label, fps=30.0)


def test_files_are_found_at_any_depth_and_in_order(mocap: Path) -> None:
    (mocap / "deep" / "er").mkdir(parents=True)
    text = (mocap / "dataset-1_walk_old_001.bvh").read_text()
    (mocap / "deep" / "er" / "dataset-1_run_old_001.BVH").write_text(text)
    (mocap / "deep" / "dataset-1_walk_old_001.bvh").write_text(text)
    (mocap / "nameless.bvh").write_text(text)
    (mocap / "readme.txt").write_text("")
    found = find_clips(mocap, PRESET, label="action", fps=30.0)
    sources = [clip.source for clip in found.clips]
    assert sources == sorted(sources)
    assert "deep/er/dataset-1_run_old_001.BVH" in sources
    # Sorted by path, the deeper file of the same name comes last or first, never twice.
    assert [(item.source, item.reason.partition(":")[0]) for item in found.skipped] == [
        ("deep/dataset-1_walk_old_001.bvh", "duplicate clip"),
        ("nameless.bvh", "name does not match the pattern"),
    ]
    assert found.num_ignored == 1


def test_an_input_without_bvh_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_clips(tmp_path / "none", PRESET, label="action", fps=30.0)
    (tmp_path / "clip.fbx").write_text("")
    with pytest.raises(DataError, match=r"has no \.bvh file \(1 files of other endings\)"):
        find_clips(tmp_path, PRESET, label="action", fps=30.0)


def test_a_joint_missing_from_the_file_is_named(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(BvhError, match="joint missing from the file: Hand_R"):
        load(tmp_path, make_bvh(3, without="Hand_R"))
    with pytest.raises(BvhError, match="joint missing from the file: Head"):
        load(tmp_path, make_bvh(3, without="Head"))


def test_absurd_numbers_are_refused_without_a_warning(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(BvhError, match="beyond float32"):
        load(tmp_path, make_bvh(3).replace("OFFSET 0 90 0", "OFFSET 0 1e300 0"))


def test_a_skeleton_file_is_the_same_as_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PRESET.model_dump(mode="json")))
    assert load_skeleton(str(path)) == PRESET == load_skeleton("bandai-namco")


def test_z_up_files_keep_their_axes(make_bvh: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.bvh").write_text(make_bvh(1))
    skeleton = PRESET.model_copy(update={"up": "z"})
    (clip,) = find_clips(tmp_path, skeleton, label="action", fps=30.0).clips
    np.testing.assert_allclose(clip.load().poses_3d[0, 0], (0, 0.9, 0), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"unit_scale": 0}, "unit_scale"),
        ({"up": "x"}, "up"),
        ({"colour": "red"}, "colour"),
        ({"pattern": "(?P<action>"}, "not a regular expression"),
        ({"pattern": ".*"}, "needs a named group"),
        ({"joints": {"pelvis": {"Hips": 1}}}, "joints lacks right_hip"),
        ({"joints": {**PRESET.joints, "tail": {"Hips": 1}}}, "unknown tail"),
        ({"joints": {**PRESET.joints, "head": {"Head": 0.9}}}, "weights of head sum to 0.9"),
        ({"points": {"Nose": {"joint": "Head", "offset": [1, 2]}}}, r"points\.Nose\.offset"),
    ],
)
def test_a_wrong_skeleton_file_is_one_line(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(PRESET.model_dump(mode="json") | changes))
    with pytest.raises(DataError, match=problem) as caught:
        load_skeleton(str(path))
    assert "\n" not in str(caught.value)


BOMB = "\n".join(
    [
        "pattern: &a [x, x, x, x, x, x, x, x, x]",
        *(
            f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]"
            for name, below in zip("bcdefgh", "abcdefg", strict=True)
        ),
        "dataset: *h",
    ]
)
"""A short file that stands for nine to the eighth texts."""


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("bandai", None, "neither a .yaml file nor one of bandai-namco"),
        ("none.yaml", None, "does not exist"),
        ("bad.yaml", "a: [", "is not YAML"),
        ("list.yaml", "- 1", "valid dictionary"),
        ("bomb.yaml", BOMB, "bomb.yaml: dataset: Input should be a valid string$"),
        ("deep.yaml", "[" * 5000, "recursion"),
        ("twice.yaml", "dataset: a\ndataset: b", "'dataset' stands there twice"),
        ("large.yaml", "#" * 100_001, "has more than 100000 bytes"),
    ],
)
def test_a_skeleton_must_exist(tmp_path: Path, name: str, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=problem) as caught:
        load_skeleton(str(tmp_path / name) if "." in name else name)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_people_who_walk_go_the_way_that_their_hips_and_noses_say() -> None:
    folder = Path(os.environ["LANGPOSE_BVH_DIR"])
    clips = find_clips(folder, PRESET, label="action", fps=30.0).clips
    walks = [clip for clip in clips if clip.label == "walk"][:10]
    assert walks
    for clip in walks:
        poses = clip.load().poses_3d
        left = poses[:, H36M17.index("left_hip")] - poses[:, H36M17.index("right_hip")]
        forward = np.cross(left, (0, 0, 1))[:-1]
        steps = np.diff(poses[:, 0], axis=0)
        moving = np.linalg.norm(steps[:, :2], axis=1) > 0.01
        assert ((steps * forward).sum(axis=1)[moving] > 0).all(), clip.source
        nose = (poses[:, H36M17.index("neck")] - poses[:, H36M17.index("thorax")])[:-1]
        assert ((nose * forward).sum(axis=1) > 0).mean() > 0.9, clip.source
        crown = poses[:, H36M17.index("head"), 2]
        assert ((crown > 1.2) & (crown < 1.8)).all(), clip.source
