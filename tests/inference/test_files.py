"""Result files."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.inference.files import name_of, write_csv, write_json, write_npz, write_results, write_trc
from langpose_dist.inference.result import LiftedClip
from langpose_dist.skeleton import H36M17


def clip_of(*, with_root: bool = True) -> LiftedClip:
    """Three frames from frame 10, in which the left wrist is not seen in the last."""
    rng = np.random.default_rng(0)
    seen = np.ones((3, 17), bool)
    seen[2, H36M17.index("left_wrist")] = False
    poses = rng.normal(size=(3, 17, 3)).astype(np.float32)
    poses[:, 0] = 0
    return LiftedClip(
        person="7/../b",
        first_frame=10,
        fps=25.0,
        poses_3d=poses,
        keypoints_2d=rng.uniform(0, 900, (3, 17, 3)).astype(np.float32),
        seen=seen,
        root=np.array([[0, 0, 4], [1, 0, 4], [2, 0, 4]], np.float32) if with_root else None,
        size=(1000, 800),
        labels={"walk": np.array([0.25, 0.5, 1], np.float32), "run": np.array([0.75, 0.5, 0], np.float32)},
        facts={"scale_source": "stated", "unit": "metre"},
    )


def test_npz_needs_no_pickle(tmp_path: Path) -> None:
    clip = clip_of()
    write_npz(tmp_path / "a.npz", clip)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["poses_3d"], clip.poses_3d)
        np.testing.assert_array_equal(file["seen"], clip.seen)
        np.testing.assert_array_equal(file["labels"][:, 0], clip.labels["walk"])
        meta = json.loads(str(file["meta"]))
    assert meta["joints"] == list(H36M17.joints)
    assert (meta["fps"], meta["first_frame"], meta["num_frames"]) == (25.0, 10, 3)
    assert meta["facts"]["scale_source"] == "stated"


def test_json_holds_the_same(tmp_path: Path) -> None:
    clip = clip_of()
    write_json(tmp_path / "a.json", clip)
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [frame["frame"] for frame in content["frames"]] == [10, 11, 12]
    found = np.array([frame["poses_3d"] for frame in content["frames"]])
    np.testing.assert_allclose(found, clip.poses_3d, atol=1e-5)
    assert content["frames"][2]["seen"][H36M17.index("left_wrist")] is False
    assert content["frames"][1]["root"] == [1.0, 0.0, 4.0]
    assert content["labels"] == ["walk", "run"]
    assert content["frames"][0]["labels"] == [0.25, 0.75]


def test_csv_has_a_row_for_each_frame(tmp_path: Path) -> None:
    clip = clip_of()
    write_csv(tmp_path / "a.csv", clip)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["frame"], rows[0]["time_s"]) == ("10", "0.400000")
    assert float(rows[1]["head_y"]) == pytest.approx(clip.poses_3d[1, 10, 1], abs=1e-5)
    assert [row["left_wrist_seen"] for row in rows] == ["1", "1", "0"]
    assert [float(row["root_x"]) for row in rows] == [0, 1, 2]


def test_trc_has_y_up_and_leaves_unseen_markers_empty(tmp_path: Path) -> None:
    clip = clip_of()
    write_trc(tmp_path / "a.trc", clip)
    lines = (tmp_path / "a.trc").read_text().split("\n")
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", "a.trc"]
    assert dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True)) == {
        "DataRate": "25",
        "CameraRate": "25",
        "NumFrames": "3",
        "NumMarkers": "17",
        "Units": "m",
        "OrigDataRate": "25",
        "OrigDataStartFrame": "11",
        "OrigNumFrames": "3",
    }
    assert [name for name in lines[3].split("\t")[2:] if name] == list(H36M17.joints)
    first, last = lines[6].split("\t"), lines[8].split("\t")
    assert first[:5] == ["11", "0.400000", "0.00000", "-0.00000", "-4.00000"]
    head = 2 + 3 * H36M17.index("head")
    x, y, z = clip.poses_3d[0, H36M17.index("head")] + clip.root[0]  # pyright: ignore[reportOptionalSubscript]
    assert [float(cell) for cell in first[head : head + 3]] == pytest.approx([x, -y, -z], abs=1e-5)
    wrist = 2 + 3 * H36M17.index("left_wrist")
    assert last[wrist : wrist + 3] == ["", "", ""]


def test_names_hold_no_path(tmp_path: Path) -> None:
    assert name_of(clip_of()) == "person-7_.._b-frame-000010"
    written = list(write_results(tmp_path, [clip_of(with_root=False)], ["npz", "trc"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
