from pathlib import Path

import pytest

from langpose_dist.host.paths import expand_home, make_folder


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("~", "/home/me"),
        ("~/run", "/home/me/run"),
        ("~root/run", "/root/run"),
        ("sqlite:///~/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("file:~/mlruns", "file:/home/me/mlruns"),
        ("file://~/mlruns", "file:///home/me/mlruns"),
        *((same, same) for same in ("run", "./~/run", "a~b", "/~/x", "s3://~/x", "http://h/~me", "")),
    ],
)
def test_a_leading_tilde_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, place: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(place) == expected


def test_a_user_without_a_home_folder_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"~nobody-here has no home folder here; write \./~nobody-here/run"):
        expand_home("~nobody-here/run")


def test_what_stands_in_a_folders_place_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / "new/run")
    make_folder(tmp_path / "new/run")
    (tmp_path / "link").symlink_to("/nowhere/at-all")
    (tmp_path / "file").touch()
    for place, what in (
        ("link", "a link to /nowhere/at-all, which does not exist"),
        ("file", "not a folder"),
    ):
        with pytest.raises(OSError, match=f"{place} is {what}"):
            make_folder(tmp_path / place)
    with pytest.raises(OSError, match="link is a link to /nowhere/at-all, which does not exist"):
        make_folder(tmp_path / "link/run")
