"""Synthetic MPI-INF-3DHP: read and built by the project's own path, counted by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.build import build_shards
from langpose_dist.datasets.mpi_inf_3dhp.clips import find_clips
from langpose_dist.datasets.verify import verify
from langpose_dist.synthesis.mpi_inf_3dhp import TEST_VIEWS, TRAIN_VIEWS, View, write_mpi_inf_3dhp

FILES = ("data_train_3dhp.npz", "data_test_3dhp.npz", "synthesis.json")
CAMERAS = ("0", "1", "2", "4", "5", "6", "7", "8")
TESTS = tuple(f"TS{number}" for number in range(1, 7))
FRAMES = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("3dhp") / "made"
    write_mpi_inf_3dhp(folder, seed=1, subjects=("S1", *TESTS), frames=FRAMES)
    return folder


def load(folder: Path, name: str) -> dict[str, Any]:
    with np.load(folder / name, allow_pickle=True) as archive:
        return archive["data"].item()


def test_the_training_file_has_the_real_one_s_structure(folder: Path) -> None:
    data = load(folder, FILES[0])
    assert list(data) == ["S1 Seq1", "S1 Seq2"]
    for name, fps, num_frames in (("S1 Seq1", 25, 80), ("S1 Seq2", 50, 160)):
        cameras, rate = data[name]
        assert rate == fps
        assert tuple(cameras) == CAMERAS
        for arrays in cameras.values():
            assert {key: values.shape for key, values in arrays.items()} == {
                "data_2d": (num_frames, 17, 2),
                "data_3d": (num_frames, 17, 3),
            }
            assert 1500 < np.median(arrays["data_3d"][..., 2]) < 6500  # millimetres before the camera
            assert 0 < np.median(arrays["data_2d"]) < 2048


def test_the_protocol_s_frames_are_flagged(folder: Path) -> None:
    data = load(folder, FILES[1])
    assert tuple(data) == TESTS
    for number, name in enumerate(TESTS[:4], 1):
        assert data[name]["valid"].shape == (80 + number,)
        # 5, 15, ... 75, but for the seventh, 65.
        assert np.flatnonzero(data[name]["valid"]).tolist() == [5, 15, 25, 35, 45, 55, 75]
    for number, name in enumerate(TESTS[4:], 5):
        num_frames = 40 + number  # 45 and 46
        valid = np.flatnonzero(data[name]["valid"]).tolist()
        first_lost = 22 if number == 5 else 23
        assert valid == [*range(4, first_lost), *range(first_lost + 2, num_frames)]


def test_the_builder_reads_it(folder: Path, tmp_path: Path) -> None:
    found = find_clips(folder, fps=25.0)
    assert (len(found.clips), found.skipped) == (2 * 8 + 6, ())
    pairs = [(str(clip.split), clip) for clip in found.clips]
    build_shards(pairs, tmp_path, dataset="mpi-inf-3dhp", source="x", fps=25.0, options={}, shard_size=50)
    manifest = Manifest.load(tmp_path)
    assert manifest.skipped == ()
    # Both sequences last 80 frames at 25 Hz; the one of 160 at 50 Hz ends half a frame later.
    frames = {split: entry.num_frames for split, entry in manifest.splits.items()}
    assert frames == {"train": 8 * (80 + 80), "test": 81 + 82 + 83 + 84 + 45 + 46}
    assert manifest.group_counts("train", "camera") == dict.fromkeys(CAMERAS, 2)
    entries = {entry.key: entry for shard in manifest.shards for entry in shard.samples}
    assert entries["TS2"].valid_frames == tuple((t, t + 1) for t in (5, 15, 25, 35, 45, 55, 75))
    assert entries["TS5"].valid_frames == ((4, 22), (24, 45))
    assert entries["TS6"].valid_frames == ((4, 23), (25, 46))
    assert verify(tmp_path, train_split="train") == []


def test_the_true_person_projects_onto_the_2d_and_the_universal_one_nearly(folder: Path) -> None:
    rows = {row["name"]: row for row in json.loads((folder / "synthesis.json").read_text())["recordings"]}
    views = [(name, TEST_VIEWS[name], arrays) for name, arrays in load(folder, FILES[1]).items()]
    for name, (cameras, _) in load(folder, FILES[0]).items():
        views += [(name, TRAIN_VIEWS[camera], arrays) for camera, arrays in cameras.items()]
    assert len(views) == 6 + 16
    for name, view, arrays in views:
        points = arrays["data_3d"].astype(np.float64)
        root = points[:, 14:15]

        def seen(points: np.ndarray, view: View = view) -> np.ndarray:
            width, height = view.size
            x, y, z = np.moveaxis(points, -1, 0)
            return np.stack(
                (view.focal_length * x / z + width / 2, view.focal_length * y / z + height / 2), axis=-1
            )

        own = root + (points - root) * rows[name]["size"]
        np.testing.assert_allclose(seen(own), arrays["data_2d"], atol=2e-3)
        assert 0.1 < np.abs(seen(points) - arrays["data_2d"]).max() < 150
        assert view.size == ((1920, 1080) if name in ("TS5", "TS6") else (2048, 2048))


def test_all_people_have_one_size(folder: Path) -> None:
    # Thigh and shin: 0.395 m and 0.405 m of the unshaped figure, 0.8 m together.
    for arrays in load(folder, FILES[1]).values():
        hip, knee, ankle = (arrays["data_3d"][:, index].astype(np.float64) for index in (11, 12, 13))
        leg = np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)
        np.testing.assert_allclose(leg, 800, atol=1)


@pytest.mark.parametrize("view", [*TRAIN_VIEWS.values(), *TEST_VIEWS.values()])
def test_cameras_stand_upright_and_look_at_the_middle(view: View) -> None:
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.rotation) == pytest.approx(1)
    assert view.rotation[1, 2] < -0.9, "down is down"
    middle = view.to_camera(np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(middle[:2], 0, atol=1e-12)
    assert middle[2] > 4


def test_bytes_by_seed_and_files_by_subjects(tmp_path: Path) -> None:
    contents = []
    for number, seed in enumerate((3, 3, 4)):
        write_mpi_inf_3dhp(tmp_path / str(number), seed=seed, subjects=("S2", "TS6"), frames=20)
        contents.append({name: (tmp_path / str(number) / name).read_bytes() for name in FILES})
    assert contents[0] == contents[1]
    assert all(contents[0][name] != contents[2][name] for name in FILES)
    write_mpi_inf_3dhp(tmp_path / "one", subjects=("TS5",), frames=100)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "data_test_3dhp.npz",
        "synthesis.json",
    ]


def test_subjects_that_there_are_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"subjects S9: choose some of S1, .*TS6, each once"):
        write_mpi_inf_3dhp(tmp_path / "out", subjects=("S9",))
