"""Tune's state is whole or not there, whenever its driver ends."""

import os
from pathlib import Path

import pytest

from tuning.state import KeptState


def write(folder: Path, content: str) -> None:
    """What Tune writes at one moment."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("experiment_state-1.json", "basic-variant-state-1.json", "searcher-1.pkl"):
        (folder / name).write_text(content)


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    folder = tmp_path / "search"
    write(folder, "old")
    (folder / "tuner.pkl").write_text("tuner")
    (folder / "trial").mkdir()
    return folder


def test_the_newest_whole_state_is_brought_back(tmp_path: Path, experiment: Path) -> None:
    staging = tmp_path / "staging"
    state = KeptState(experiment)
    for content in ("first", "second"):
        write(staging, content)
        state.keep(staging)
    (experiment / "experiment_state-1.json").write_text("ha")
    (experiment / "experiment_state-2.json").write_text("lf")
    assert KeptState(experiment).bring_back()
    assert set(read(experiment).values()) == {"second", "tuner"}
    assert len(read(experiment)) == 4
    assert (experiment / "trial").is_dir()
    assert len(list((tmp_path / "search-state").iterdir())) == 1


def test_a_copy_that_was_broken_off_does_not_count(
    tmp_path: Path, experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = tmp_path / "staging"
    state = KeptState(experiment)
    write(staging, "first")
    state.keep(staging)
    write(staging, "second")
    monkeypatch.setattr("shutil.copyfile", _fail_at_second())
    with pytest.raises(OSError, match="full"):
        state.keep(staging)
    monkeypatch.undo()
    again = KeptState(experiment)
    assert again.bring_back()
    assert set(read(experiment).values()) == {"first", "tuner"}
    again.keep(staging)
    assert again.bring_back()
    assert set(read(experiment).values()) == {"second", "tuner"}


def test_without_a_copy_nothing_has_begun(experiment: Path) -> None:
    assert not KeptState(experiment).bring_back()
    assert not experiment.exists()
    assert not KeptState(experiment).bring_back()


def test_what_has_not_changed_is_not_copied_again(tmp_path: Path, experiment: Path) -> None:
    staging = tmp_path / "staging"
    state = KeptState(experiment)
    state.keep(staging)
    assert not (tmp_path / "search-state").exists()
    write(staging, "first")
    state.keep(staging)
    before = list((tmp_path / "search-state").iterdir())
    state.keep(staging)
    assert list((tmp_path / "search-state").iterdir()) == before


def test_a_clock_that_goes_back_brings_no_older_state_back(tmp_path: Path, experiment: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    names = ["experiment_state-{}.json", "searcher-state-{}.pkl"]
    sessions = ("2026-10-25_02-59-00", "2026-10-25_02-10-00")  # the second began when summer time had ended
    for second, session in enumerate(sessions):
        for name in names:
            path = staging / name.format(session)
            path.write_text(session)
            os.utime(path, (1000 + second, 1000 + second))
    (staging / "population.json").write_text("population")
    KeptState(experiment).keep(staging)
    assert KeptState(experiment).bring_back()
    assert set(read(experiment).values()) == {sessions[1], "population", "tuner"}


def _fail_at_second():
    import shutil

    copy, count = shutil.copyfile, []

    def fail(source: Path, target: Path) -> None:
        count.append(source)
        if len(count) == 2:
            raise OSError("full")
        copy(source, target)

    return fail
