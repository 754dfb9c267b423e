from collections.abc import Callable
from pathlib import Path

import pytest

from langpose_dist.datasets.build import build_shards, count_reasons
from langpose_dist.datasets.bvh.clips import PRESETS, find_clips
from langpose_dist.datasets.doctor import examine
from langpose_dist.datasets.files import list_files


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "s01").mkdir(parents=True)
    (elsewhere / "s01" / "a.npz").touch()
    (elsewhere / "s01" / "back").symlink_to(elsewhere)
    folder = tmp_path / "folder"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "b.npz").touch()
    (folder / "KIT").symlink_to(elsewhere)
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    files, num_system, broken = list_files(folder)
    assert files == [folder / "KIT" / "s01" / "a.npz", folder / "real" / "b.npz"]
    assert num_system == 0
    assert [(item.source, item.reason) for item in broken] == [
        ("gone", f"broken link: to {tmp_path}/nowhere")
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("._a.bvh", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/a.bvh", ".a.bvh.swp", "a.bvh~"),
        *(
            "#a.bvh#",
            "#recycle/a.bvh",
            ".#a.bvh",
            "~$a.bvh",
            "@eaDir/a.bvh",
            "$RECYCLE.BIN/a.bvh",
            ".Trash-0/a.bvh",
        ),
        *("a.sync-conflict-20250101-010101-A.bvh", "a (x's conflicted copy 2020-01-01).bvh"),
    ],
)
def test_system_files_are_no_input_and_counted_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / "a.bvh").touch()
    assert list_files(tmp_path) == ([tmp_path / "a.bvh"], 1, [])
    assert list_files(tmp_path, deep=False)[0] == [tmp_path / "a.bvh"]


@pytest.mark.parametrize("name", ["#12 walk.bvh", "#.bvh", "#", "walk #1#.bvh"])
def test_a_number_sign_alone_makes_no_system_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert list_files(tmp_path) == ([tmp_path / name], 0, [])


@pytest.mark.parametrize("target", ["nowhere.bvh", "walk_001.bvh"])  # a link to itself, too
def test_a_broken_link_is_a_skipped_source(make_bvh: Callable[..., str], tmp_path: Path, target: str) -> None:
    (tmp_path / "dataset-1_walk_normal_001.bvh").write_text(make_bvh(3))
    (tmp_path / "walk_001.bvh").symlink_to(target)
    found = find_clips(tmp_path, PRESETS["bandai-namco"], label="action", fps=30.0)
    assert count_reasons(found.skipped) == {"broken link": 1}
    assert (len(found.clips), found.num_ignored) == (1, 0)
    assert examine(tmp_path).endings == {".bvh": 1, "(broken link)": 1}


def test_a_file_of_no_use_gives_way_to_another_of_its_name(
    make_bvh: Callable[..., str], tmp_path: Path
) -> None:
    name = "dataset-1_walk_normal_001.bvh"
    contents = {"a": "", "b": make_bvh(3).replace("OFFSET", "OFFSET 1e9"), "c": make_bvh(3)}
    for folder, text in contents.items():
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / name).write_text(text)
    found = find_clips(tmp_path / "in", PRESETS["bandai-namco"], label="action", fps=30.0)
    pairs = [("train", clip) for clip in found.clips]
    options = {"dataset": "d", "source": "bvh", "fps": 30.0, "options": {}, "shard_size": 1}
    manifest = build_shards(pairs, tmp_path / "out", skipped=found.skipped, **options)
    assert [sample.key for shard in manifest.shards for sample in shard.samples] == [name[:-4]]
    reasons = [item.reason for item in manifest.skipped if item.source == f"a/{name}"]
    assert any(reason.startswith("not BVH") for reason in reasons)
    assert any(reason.endswith(f"c/{name} is used in its place") for reason in reasons)
