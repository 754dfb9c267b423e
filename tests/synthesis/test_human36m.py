"""Synthetic Human3.6M: both forms, read and built by the project's own path, counted by hand."""

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError, Sample
from langpose_dist.data.shards import ShardReader
from langpose_dist.datasets.build import build_shards
from langpose_dist.datasets.human36m.cameras import CAMERAS, find_camera
from langpose_dist.datasets.human36m.clips import find_clips
from langpose_dist.datasets.verify import verify
from langpose_dist.skeleton import H36M17
from langpose_dist.synthesis.human36m import DEFAULT_FRAMES, DEFAULT_SUBJECTS, plan_recordings, write_human36m

FILES = (
    "data_2d_h36m_cpn_ft_h36m_dbb.npz",
    "data_2d_h36m_gt.npz",
    "data_3d_h36m.npz",
    "h36m_sh_conf_cam_source_final.pkl",
    "synthesis.json",
)
PICKLE = FILES[3]
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting"),
    *("SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether"),
)

# With 20 frames as usual the n-th action, n from 0, has 20 + n frames in its first take and 20 - n // 2 in
# its second: 300 + 105 + 300 - 49 = 656 of a subject.
FRAMES = 20
# Of S9 223, 80, 465 and 478 more: 243, 100, 486 and 500 frames in place of 20, 20, 21 and 22.
S9_FRAMES = 656 + 223 + 80 + 465 + 478


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """S9 and S11, and of those for training S5, which has no recording of a special length."""
    folder = tmp_path_factory.mktemp("human36m") / "made"
    write_human36m(folder, seed=1, subjects=("S5", "S9", "S11"), frames=FRAMES)
    return folder


@pytest.fixture(scope="module")
def description(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "synthesis.json").read_text())


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, dict[str, Any]]:
    return pickle.loads((folder / PICKLE).read_bytes())  # noqa: S301


def load(folder: Path, name: str) -> dict[str, Any]:
    with np.load(folder / name, allow_pickle=True) as archive:
        return {key: archive[key].item() for key in archive.files}


@pytest.fixture(scope="module")
def views(folder: Path) -> dict[str, dict[str, Any]]:
    return {name: load(folder, f"data_2d_h36m_{name}.npz") for name in ("gt", "cpn_ft_h36m_dbb")}


@pytest.fixture(scope="module")
def positions(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    return load(folder, "data_3d_h36m.npz")["positions_3d"]


def test_the_default_set_counted_by_hand() -> None:
    plans = plan_recordings(DEFAULT_SUBJECTS, DEFAULT_FRAMES)
    assert len(plans) == 3 * 15 * 2
    # The n-th action: 160 + 8 n and 160 - 4 n; 30 * 160 + 4 * 105 = 5220 of a subject. Then the special ones.
    frames = {
        subject: sum(plan.num_frames for plan in plans if plan.subject == subject)
        for subject in DEFAULT_SUBJECTS
    }
    assert frames == {
        "S1": 5220 + (250 - 160) + (324 - 168),
        "S9": 5220 + (243 - 160) + (100 - 160) + (486 - 168) + (500 - 176),
        "S11": 5220 + (242 - 256) + (90 - 104),
    }
    assert sum(frames.values()) == 16543
    assert (plans[-1].recording, plans[-1].num_frames) == ("s_11_act_16_subact_02", 90)


def test_the_description_names_what_is_awkward(folder: Path, description: dict[str, Any]) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (description["layout"], description["seed"], description["num_recordings"]) == ("human36m", 1, 90)
    rows = {row["motionbert"]: row for row in description["recordings"]}
    assert {name: row["videopose3d"] for name, row in rows.items() if row["drifts"]} == {
        "s_09_act_05_subact_02": "Greeting",
        "s_09_act_10_subact_02": "SittingDown 1",
        "s_09_act_13_subact_01": "Waiting 1",
    }
    lengths = {"s_09_act_02_subact_01": 243, "s_09_act_02_subact_02": 100, "s_09_act_03_subact_01": 486}
    lengths |= {"s_09_act_04_subact_01": 500, "s_11_act_14_subact_01": 242, "s_11_act_16_subact_02": 90}
    assert {name: rows[name]["num_frames"] for name in lengths} == lengths
    notes = {name: " ".join(row["notes"]) for name, row in rows.items() if row["notes"]}
    assert len(notes) == 6 + 3 + 1 + 6  # lengths, drift, a video missing, videos of sitting
    assert "3 of its videos" in notes["s_11_act_02_subact_02"]
    assert "tail of 14" in notes["s_09_act_04_subact_01"]


def test_rows_come_in_runs_of_one_source_as_in_the_real_pickle(tables: dict[str, dict[str, Any]]) -> None:
    assert list(tables) == ["train", "test"]
    for part, num_rows in (("train", 4 * 656), ("test", 4 * (S9_FRAMES + 656 + 242 - 32 + 90 - 13))):
        table = tables[part]
        assert {name: len(column) for name, column in table.items()} == dict.fromkeys(table, num_rows)
        shapes = {"joint_2d": (17, 2), "confidence": (17, 1), "joint3d_image": (17, 3)}
        assert {name: table[name].shape[1:] for name in shapes} == shapes
        runs = [
            name for row, name in enumerate(table["source"]) if row == 0 or table["source"][row - 1] != name
        ]
        assert len(runs) == {"train": 1, "test": 2}[part] * 15 * 2 * 4
        if part == "train":
            assert runs[:9] == [*(f"s_05_act_02_cam_0{slot}" for slot in (1, 2, 3, 4))] * 2 + [
                "s_05_act_03_cam_01"
            ]
        else:
            assert runs[0] == "s_09_act_02_subact_01_ca_01"
            assert runs[5] == "s_09_act_02_subact_02_ca_02"
        names = dict(zip(table["source"], table["camera_name"], strict=True))
        assert all(CAMERAS[int(source[-2:]) - 1] == camera for source, camera in names.items())
        assert set(table["action"]) == set(ACTIONS)
    assert set(tables["test"]) - set(tables["train"]) == {"2.5d_factor", "joints_2.5d_image"}
    test = tables["test"]
    expected = test["joint3d_image"] * test["2.5d_factor"][:, None, None]
    np.testing.assert_allclose(test["joints_2.5d_image"], expected, rtol=1e-5, atol=1e-2)
    assert 2 < test["2.5d_factor"].min() < test["2.5d_factor"].max() < 7


def test_videopose3d_s_files_have_its_names_and_shapes(
    positions: dict[str, dict[str, np.ndarray]], views: dict[str, dict[str, Any]]
) -> None:
    assert list(positions) == ["S5", "S9", "S11"]
    for subject, takes in positions.items():
        assert set(takes) == {name for action in ACTIONS for name in (action, f"{action} 1")}
        assert {poses.shape[1:] for poses in takes.values()} == {(32, 3)}
        for name, poses in takes.items():
            seen = {kind: arrays["positions_2d"][subject][name] for kind, arrays in views.items()}
            num_videos = 3 if (subject, name) == ("S11", "Directions") else 4
            assert [len(videos) for videos in seen.values()] == [num_videos, num_videos]
            extra = 5 if name in ("Sitting", "Sitting 1") else 0
            assert {len(video) for video in seen["gt"]} == {len(poses)}
            assert {len(video) for video in seen["cpn_ft_h36m_dbb"]} == {len(poses) + extra}
    for arrays in views.values():
        assert arrays["metadata"] == {
            "layout_name": "h36m",
            "num_joints": 17,
            "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
        }


def test_both_forms_build_and_say_the_same(folder: Path, tmp_path: Path, description: dict[str, Any]) -> None:
    samples: dict[str, dict[tuple[str, str, str], Sample]] = {}
    names = {
        (row["subject"].lower(), row["videopose3d"].lower()): str(row["take"])
        for row in description["recordings"]
    }
    for form, file in (("motionbert", PICKLE), ("videopose3d", "data_3d_h36m.npz")):
        detections = "cpn_ft_h36m_dbb" if form == "videopose3d" else None
        found = find_clips(folder / file, fps=50.0, detections=detections)
        pairs = [(clip.split, clip) for clip in found.clips]
        out = tmp_path / form
        build_shards(pairs, out, dataset="human3.6m", source="x", fps=50.0, options={}, shard_size=500)
        manifest = Manifest.load(out)
        assert manifest.skipped == ()
        # S11's second take of Directions lasts 20 frames and lacks a video in VideoPose3D's files.
        lost = 20 if form == "videopose3d" else 0
        skipped = [(item.source, item.reason.partition(":")[0]) for item in found.skipped]
        assert skipped == ([("data_3d_h36m.npz#S11/Directions", "cameras missing")] if lost else [])
        assert {split: (entry.num_samples, entry.num_frames) for split, entry in manifest.splits.items()} == {
            "train": (120, 4 * 656),
            "test": (240 - (4 if lost else 0), 4 * (S9_FRAMES + 656 + 242 - 32 + 90 - 13 - lost)),
        }
        assert manifest.group_counts("test", "remark") == {"drifting": 3 * 4}
        assert manifest.group_counts("train", "remark") == {}
        assert manifest.group_counts("train", "camera") == dict.fromkeys(sorted(CAMERAS), 30)
        assert verify(out, train_split="train") == []
        samples[form] = {}
        reader = ShardReader(manifest, out)
        for sample in itertools.chain(*map(reader.iter_samples, range(len(manifest.shards)))):
            meta = sample.meta
            take = names.get((meta["subject"], meta["take"]), meta["take"])
            samples[form][meta["subject"], f"{meta['action']} {take}", meta["camera"]["name"]] = sample
    assert samples["motionbert"].keys() - samples["videopose3d"].keys() == {
        ("s11", "directions 2", camera) for camera in CAMERAS
    }
    for key, sample in samples["videopose3d"].items():
        other = samples["motionbert"][key]
        np.testing.assert_allclose(sample.poses_3d, other.poses_3d, atol=1e-3, err_msg=str(key))
        assert sample.meta.get("remark") == other.meta.get("remark")


def project(points: np.ndarray, subject: str, name: str) -> np.ndarray:
    """Points of the world in a picture: pinhole, then the lens, by the published formula, written out."""
    camera = find_camera(subject, name)
    seen = (points - np.array(camera.position) / 1000) @ camera.rotation.T
    x, y = seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2]
    (k1, k2, k3), (p1, p2) = camera.radial_distortion, camera.tangential_distortion
    squared = x * x + y * y
    scale = 1 + k1 * squared + k2 * squared**2 + k3 * squared**3 + p1 * x + p2 * y
    u = camera.focal_length[0] * (x * scale + p1 * squared) + camera.center[0]
    v = camera.focal_length[1] * (y * scale + p2 * squared) + camera.center[1]
    return np.stack((u, v), axis=-1)


JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)


def test_the_cameras_project_the_3d_onto_the_true_2d(
    positions: dict[str, dict[str, np.ndarray]], views: dict[str, dict[str, Any]]
) -> None:
    for subject, takes in positions.items():
        for name, poses in takes.items():
            videos = views["gt"]["positions_2d"][subject][name]
            for camera, pixels in zip(CAMERAS[4 - len(videos) :], videos, strict=True):
                expected = project(poses[:, JOINTS].astype(np.float64), subject, camera)
                np.testing.assert_allclose(pixels, expected, atol=2e-3)


def test_detections_follow_the_person_where_the_3d_drifts(
    views: dict[str, dict[str, Any]], tables: dict[str, dict[str, Any]]
) -> None:
    truth, detected = (views[name]["positions_2d"]["S9"] for name in ("gt", "cpn_ft_h36m_dbb"))

    def error(name: str) -> np.ndarray:
        distance = np.linalg.norm(detected[name][0][: len(truth[name][0])] - truth[name][0], axis=-1)
        return np.median(distance, axis=1)

    for name in ("Greeting", "SittingDown 1", "Waiting 1"):
        assert error(name)[-1] > 25
        assert error(name)[0] < 10
    assert max(error(name).max() for name in ("Greeting 1", "Waiting", "Discussion 1")) < 15
    confidence = tables["test"]["confidence"]
    assert 0 < confidence.min() < 0.5
    assert 1 < confidence.max() <= np.float32(1.07)


def test_the_32_joints_have_both_sides_and_none_at_the_origin(
    positions: dict[str, dict[str, np.ndarray]],
) -> None:
    poses = positions["S5"]["Directions"]
    assert np.linalg.norm(poses, axis=-1).min() > 0.01
    left, right = poses[:, [6, 7, 8, 17, 18, 19]], poses[:, [1, 2, 3, 25, 26, 27]]
    assert np.linalg.norm(left - right, axis=-1).min() > 0.05
    assert H36M17.index("left_hip") == 4
    np.testing.assert_allclose((poses[:, 6] + poses[:, 1]) / 2, poses[:, 0], atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_whoever_else_is_recorded(
    tmp_path: Path, positions: dict[str, dict[str, np.ndarray]]
) -> None:
    contents = []
    for name in ("one", "two"):
        write_human36m(tmp_path / name, seed=1, subjects=("S5",), frames=FRAMES)
        contents.append({file: (tmp_path / name / file).read_bytes() for file in FILES})
    assert contents[0] == contents[1]
    alone = load(tmp_path / "one", "data_3d_h36m.npz")["positions_3d"]["S5"]
    assert alone.keys() == positions["S5"].keys()
    for name, poses in alone.items():
        np.testing.assert_array_equal(poses, positions["S5"][name])
    # There is no one to test on, and the pickle still has its table.
    assert len(find_clips(tmp_path / "one" / PICKLE, fps=50.0).clips) == 120


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"subjects": ("S2",)}, r"subjects S2: choose some of S1, S5, S6, S7, S8, S9, S11, each once"),
        ({"subjects": ()}, "subjects none: choose some of"),
        ({"subjects": ("S1", "S1")}, "each once"),
        ({"frames": 19}, "frames 19 must be at least 20"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        write_human36m(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
