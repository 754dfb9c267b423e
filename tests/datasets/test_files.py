from pathlib import Path

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
    assert list_files(folder)[0] == [folder / "KIT" / "s01" / "a.npz", folder / "real" / "b.npz"]
