from pathlib import Path

import pytest

from langpose_dist.analysis.clips import ClipSet
from langpose_dist.analysis.mmd_table import MmdOptions, compare_sets
from langpose_dist.analysis.text import mmd_text
from langpose_dist.config import UserError
from tests.analysis.motions import build_motions, perform, seen_by
from tests.corpus import build_samples


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_motions(tmp_path_factory.mktemp("motions"))


def test_equal_motions_are_close_and_others_far(motions: str) -> None:
    tested, trained = ClipSet.open(motions, "validation"), ClipSet.open(motions, "train")
    same = compare_sets(tested, trained, MmdOptions(by="action"))
    every = compare_sets(tested, trained, MmdOptions(by="action", against="all"))
    assert list(same["rows"]) == ["run", "walk"]
    for action in ("run", "walk"):
        assert same["rows"][action]["mmd2"] < same["rows"][action]["floor"]
        assert same["rows"][action]["p"] > 0.5
        assert every["rows"][action]["mmd2"] > 0.1
        assert every["rows"][action]["num_clips"] == [6, 12]
    assert same["rows"]["run"]["num_frames"] == [6 * 58, 6 * 58]
    assert {row["sigma"] for row in same["rows"].values()} == {same["sigma"]}


def test_one_row_without_a_field_and_one_bandwidth_per_row(motions: str) -> None:
    tested, trained = ClipSet.open(motions, "validation"), ClipSet.open(motions, "train")
    assert list(compare_sets(tested, trained, MmdOptions())["rows"]) == ["all"]
    rows = compare_sets(tested, trained, MmdOptions(by="action", sigma="row"))["rows"]
    assert rows["run"]["sigma"] != rows["walk"]["sigma"]


def test_persons_as_units(motions: str) -> None:
    tested, trained = ClipSet.open(motions, "validation"), ClipSet.open(motions, "train")
    report = compare_sets(tested, trained, MmdOptions(by="action", unit="subject"))
    assert report["rows"]["run"]["num_units"] == [3, 3]
    assert "999 permutations of subjects" in mmd_text(report)


def test_a_cap_takes_whole_clips_and_is_said(motions: str) -> None:
    tested, trained = ClipSet.open(motions, "validation"), ClipSet.open(motions, "train")
    report = compare_sets(tested, trained, MmdOptions(by="action", max_frames=200))
    assert report["rows"]["run"]["num_frames"] == [174, 174]  # 3 clips of 58
    text = mmd_text(report)
    assert "3 of 6 / 3 of 6" in text
    assert "cap: 200 frames of a set and row, whole clips drawn with a fixed seed" in text


def test_text_says_rate_scales_bandwidth_and_data(motions: str) -> None:
    tested, trained = ClipSet.open(motions, "validation"), ClipSet.open(motions, "train")
    report = compare_sets(tested, trained, MmdOptions(by="action"))
    text = mmd_text(report)
    assert f"all rows {report['sigma']:.4g}" in text
    assert f"speed mean {report['features']['speed mean']['mean']:.3g} +- " in text
    assert (
        "rate 30 Hz for both, derivatives per second; coordinates z-scored per clip, std at least 1 cm"
        in text
    )
    assert (
        f"first: made-up, split validation, 12 clips stored at 30 Hz ({tested.manifest.fingerprint[:16]})"
        in text
    )


def test_one_rate_for_both_and_the_rate_is_no_difference(motions: str, tmp_path: Path) -> None:
    slow = ClipSet.open(build_motions(tmp_path, fps=15.0), "train")
    report = compare_sets(ClipSet.open(motions, "train"), slow, MmdOptions(by="action"))
    assert report["fps"] == 15
    for row in report["rows"].values():
        assert abs(row["mmd2"]) < row["floor"]
        assert row["num_frames"] == [6 * 28, 6 * 28]


def test_each_recording_counts_once_whatever_the_number_of_cameras(tmp_path: Path) -> None:
    samples = [
        seen_by(camera, perform(f"walk{n}", "walk", subject="s1", recording=f"s1 walk {n}"), 0.9)
        for n in range(3)
        for camera in ("front", "left")
    ]
    build_samples(tmp_path, samples)
    one = ClipSet.open(str(tmp_path), "train")
    assert [clip.entry.key for clip in one.clips] == [f"train-walk{n}_front" for n in range(3)]
    report = compare_sets(one, ClipSet.open(str(tmp_path), "validation"), MmdOptions())
    assert "3 clips stored at 30 Hz" in mmd_text(report)
    assert "3 clips of further cameras left out" in mmd_text(report)


def test_actions_of_one_set_only_and_short_clips_are_left_out(motions: str, tmp_path: Path) -> None:
    samples = [perform(f"run{n}", "run", seconds=2 if n else 0.1) for n in range(3)]  # 3 frames
    build_samples(tmp_path, samples)
    report = compare_sets(
        ClipSet.open(motions, "train"), ClipSet.open(str(tmp_path), "train"), MmdOptions(by="action")
    )
    assert report["rows"]["run"]["num_clips"] == [6, 2]
    assert report["left_out"] == {"walk": [6, 0]}
    assert "left out: walk, 6 against 0 clips; two clips on either side are needed" in mmd_text(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (MmdOptions(fps=50.0), "--fps 50 is above the lower rate of the data, 30"),
        (MmdOptions(by="action", max_frames=60), "no action has two clips on either side with at most 60"),
    ],
)
def test_what_the_data_lack_is_said(motions: str, options: MmdOptions, message: str) -> None:
    one = ClipSet.open(motions, "train")
    with pytest.raises(UserError, match=message):
        compare_sets(one, one, options)


def test_persons_without_names_are_no_units(tmp_path: Path) -> None:
    build_samples(tmp_path, [perform("run", "run"), perform("walk", "walk")])
    one = ClipSet.open(str(tmp_path), "train")
    with pytest.raises(UserError, match="needs each clip's person, which train-run does not name"):
        compare_sets(one, one, MmdOptions(unit="subject"))
