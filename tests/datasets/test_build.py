import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from langpose_dist.config import UserError
from langpose_dist.data.manifest import Manifest, Skipped
from langpose_dist.data.sample import DataError, Sample, Span
from langpose_dist.datasets.build import LOCK, WORK, build_shards, count_reasons
from langpose_dist.datasets.clip import SharedFileError, reason_of
from langpose_dist.datasets.splits import SplitRule, assign_splits, to_words
from langpose_dist.datasets.verify import verify


@dataclass(frozen=True)
class MadeClip:
    key: str
    fields: Mapping[str, str] = field(default_factory=dict)
    problem: Exception | None = None
    num_frames: int = 4
    left_out: tuple[str, ...] = ()
    path: Path = Path("nowhere.bvh")
    split: str | None = None

    @property
    def source(self) -> str:
        return f"{self.key}.bvh"

    def load(self) -> Sample:
        if log := os.environ.get("MADE_CLIP_LOG"):
            with open(log, "a") as file:
                file.write(f"{self.key}\n")
        if self.problem:
            raise self.problem
        poses = np.full((self.num_frames, 17, 3), len(self.key), np.float32)
        spans = (Span("walk", 0, self.num_frames),) if self.num_frames else ()
        return Sample(self.key, poses, spans, {"dataset": "made", "fps": 30.0}, left_out=self.left_out)


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File that lists the clips that were read."""
    path = tmp_path / "reads.txt"
    path.write_text("")
    monkeypatch.setenv("MADE_CLIP_LOG", str(path))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def clips(*styles: str) -> list[MadeClip]:
    return [MadeClip(f"clip_{n}", {"style": style, "number": str(n)}) for n, style in enumerate(styles)]


def build(pairs: list[tuple[str, MadeClip]], out: Path, **options: Any) -> Manifest:
    settings = {"dataset": "made", "source": "test", "fps": 30.0, "options": {}, "shard_size": 2}
    return build_shards(pairs, out, **(settings | options))


PAIRS = [("train", MadeClip(f"clip_{number}")) for number in range(5)]


def splits(rules: list[str], found: list[MadeClip]) -> list[str]:
    return [split for split, _ in assign_splits(found, [SplitRule.parse(rule) for rule in rules])]


def test_a_clip_goes_where_its_data_set_puts_it_unless_a_rule_says_otherwise() -> None:
    found = [MadeClip("a", {"style": "old"}, split="test"), MadeClip("b", {"style": "sad"}, split="test")]
    assert splits([], found) == ["test", "test"]
    assert splits(["validation:style=old"], found) == ["validation", "test"]


def test_values_match_as_words_or_as_in_the_file_name() -> None:
    found = clips("old", "not confident", "tired")
    assert splits(["validation:style=not-confident,Old"], found) == ["validation", "validation", "train"]
    assert splits(["validation:style=not confident"], found) == ["train", "validation", "train"]
    assert splits([], found) == ["train"] * 3


def test_the_first_rule_that_matches_wins() -> None:
    found = clips("old", "tired", "old")
    assert splits(["test:number=0", "validation:style=old"], found) == ["test", "train", "validation"]


def test_a_fraction_is_stable_when_clips_are_added() -> None:
    rules = ["validation:fraction=0.2", "test:fraction=0.5"]
    first = splits(rules, clips(*["old"] * 1000))
    assert splits(rules, clips(*["old"] * 2000))[:1000] == first
    # Four standard deviations of a binomial draw.
    assert 149 < first.count("validation") < 251
    assert 336 < first.count("test") < 464  # half of what validation left
    assert splits(["test:fraction=1"], clips("old", "tired")) == ["test", "test"]


def test_a_fraction_keeps_a_recording_together_and_leaves_the_data_set_s_own_split() -> None:
    found = [
        MadeClip(f"{number}_{camera}", {"recording": str(number)}, split="test" if number > 89 else None)
        for number in range(100)
        for camera in "abcd"
    ]
    found_splits = splits(["validation:fraction=0.3"], found)
    assert all(len(set(found_splits[start : start + 4])) == 1 for start in range(0, 400, 4))
    assert set(found_splits[360:]) == {"test"}
    assert 10 < found_splits.count("validation") / 4 < 45


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("validation", "must have the form"),
        ("validation:style", "must have the form"),
        ("Validation:style=old", "must have the form"),
        ("../x:style=old", "must have the form"),
        ("validation:fraction=0", "above 0 and at most 1"),
        ("validation:fraction=1.5", "above 0 and at most 1"),
        ("validation:fraction=nan", "above 0 and at most 1"),
        ("validation:fraction=few", "above 0 and at most 1"),
        ("validation:style=odl", "no clip has style 'odl'; there are old, tired"),
        ("validation:mood=old", "no field 'mood'; there are fraction, number, style"),
        ("validation:fraction=1e-9", "'validation' would hold none of the 2 clips"),
    ],
)
def test_a_rule_that_selects_nothing_is_an_error(rule: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        splits([rule], clips("old", "tired"))


def test_words_of_file_names() -> None:
    assert to_words("walk-turn-left") == "walk turn left"
    assert to_words("Raise_Up--Hand ") == "raise up hand"


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    pairs = [
        ("train", MadeClip("good")),
        ("train", MadeClip("bad", problem=UserError("truncated motion: 3 of 4 frames"))),
        ("train", MadeClip("worse", problem=PermissionError(13, "Permission denied"))),
    ]
    manifest = build(
        pairs, tmp_path / "out", skipped=[Skipped(source="a.bvh", reason="name: a")], num_ignored=3
    )
    assert manifest == Manifest.load(tmp_path / "out")
    assert manifest.splits["train"].num_samples == 1
    assert [(item.source, item.reason) for item in manifest.skipped] == [
        ("a.bvh", "name: a"),
        ("bad.bvh", "truncated motion: 3 of 4 frames"),
        ("worse.bvh", "cannot be read: Permission denied"),
    ]
    assert manifest.num_ignored == 3
    assert count_reasons([*manifest.skipped, Skipped(source="b", reason="name: b")]) == {
        "name": 2,
        "truncated motion": 1,
        "cannot be read": 1,
    }


def test_a_mistake_in_the_reader_is_not_hidden_as_skipped_input(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        build([("train", MadeClip("clip", problem=ZeroDivisionError()))], tmp_path / "out")


def test_a_file_that_all_clips_need_ends_the_build(tmp_path: Path) -> None:
    pairs = [*PAIRS, ("train", MadeClip("bad", problem=SharedFileError("body.npz is missing")))]
    with pytest.raises(SharedFileError, match=r"body\.npz is missing"):
        build(pairs, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_nothing_left_is_an_error_and_touches_nothing(tmp_path: Path) -> None:
    pairs = [("train", MadeClip("bad", problem=UserError("no frames")))]
    with pytest.raises(DataError, match=r"no clip is left of 1: 1 no frames; first bad\.bvh: no frames"):
        build(pairs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    build(PAIRS, tmp_path / "out")
    with pytest.raises(DataError, match="no clip is left"):
        build(pairs, tmp_path / "out", overwrite=True)
    assert Manifest.load(tmp_path / "out").splits["train"].num_samples == 5


def test_only_data_lie_in_a_finished_folder(tmp_path: Path) -> None:
    build([*PAIRS, ("validation", MadeClip("held_out"))], tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "manifest.json",
        "train-000000.tar",
        "train-000001.tar",
        "train-000002.tar",
        "validation-000000.tar",
    ]


def test_a_complete_folder_is_replaced_only_on_request(tmp_path: Path) -> None:
    first = build(PAIRS, tmp_path / "out")
    with pytest.raises(DataError, match="add --overwrite"):
        build(PAIRS, tmp_path / "out")
    second = build(PAIRS[:3], tmp_path / "out", overwrite=True)
    assert Manifest.load(tmp_path / "out") == second != first
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.json", "train-000000.tar", "train-000001.tar"]


def test_only_what_the_old_manifest_lists_is_replaced(tmp_path: Path) -> None:
    build(PAIRS, tmp_path)
    (tmp_path / "backup-202401.tar").write_text("mine")
    (tmp_path / "train-000009.tar").write_text("mine")
    build(PAIRS[:2], tmp_path, overwrite=True)
    assert sorted(contents(tmp_path)) == [
        "backup-202401.tar",
        "manifest.json",
        "train-000000.tar",
        "train-000009.tar",
    ]


def test_a_build_killed_while_it_replaced_another_leaves_nothing_of_it(tmp_path: Path) -> None:
    build(PAIRS, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build(PAIRS[:2], tmp_path, overwrite=True, on_clips=interrupt_after(2))
    (tmp_path / "train-000002.tar").unlink()  # the first thing that is done once all shards are complete
    build(PAIRS[:2], tmp_path, overwrite=True)
    assert sorted(contents(tmp_path)) == ["manifest.json", "train-000000.tar"]
    assert not (tmp_path / WORK).exists()


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and holds no data of this package"):
        build(PAIRS, tmp_path)
    with pytest.raises(DataError, match="is a file"):
        build(PAIRS, tmp_path / "notes.txt")
    (tmp_path / "manifest.json").write_text('{"name": "a browser extension"}')
    with pytest.raises(DataError, match="of something else"):
        build(PAIRS, tmp_path, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "notes.txt"]


def interrupt_after(count: int) -> Callable[[int], None]:
    """Ctrl-C when so many clips are done."""
    remaining = [count]

    def on_clips(done: int) -> None:
        remaining[0] -= done
        if remaining[0] <= 0:
            raise KeyboardInterrupt

    return on_clips


def test_an_interrupted_build_goes_on_where_it_was(tmp_path: Path, reads: Path) -> None:
    expected = build(PAIRS, tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(PAIRS, out, on_clips=interrupt_after(3))
    with pytest.raises(DataError, match="did not finish"):
        Manifest.load(out)
    (out / WORK / "train-000002.tar.partial").write_text("stale")
    (out / WORK / "other-000000.tar").write_text("stale")
    reads.write_text("")
    assert build(PAIRS, out) == expected
    # The first shard, of two clips, was finished; the third clip's was not.
    assert reads.read_text().split() == ["clip_2", "clip_3", "clip_4"]
    assert contents(out) == contents(tmp_path / "whole")


def test_progress_counts_what_was_done_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(PAIRS, tmp_path, on_clips=interrupt_after(3))
    done: list[int] = []
    build(PAIRS, tmp_path, on_clips=done.append)
    assert done == [2, 1, 1, 1]


def change_nothing(out: Path) -> None:
    pass


def damage_the_shard(out: Path) -> None:
    path = out / WORK / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def damage_the_record(out: Path) -> None:
    path = out / WORK / "train-000000.tar.json"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("change", "options", "num_read"),
    [
        (change_nothing, {}, 3),
        (damage_the_shard, {}, 5),
        (damage_the_record, {}, 5),
        (change_nothing, {"options": {"label": "raw"}}, 5),
        (change_nothing, {"fps": 10.0}, 5),
        (change_nothing, {"shard_size": 3}, 5),
    ],
)
def test_only_shards_of_the_same_build_are_kept(
    tmp_path: Path, reads: Path, change: Callable[[Path], None], options: dict[str, Any], num_read: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(PAIRS, tmp_path / "out", on_clips=interrupt_after(3))
    change(tmp_path / "out")
    reads.write_text("")
    manifest = build(PAIRS, tmp_path / "out", **options)
    assert len(reads.read_text().split()) == num_read
    assert manifest.splits["train"].num_samples == 5


def test_a_source_file_that_changed_is_read_again(tmp_path: Path, reads: Path) -> None:
    source = tmp_path / "source.bvh"
    source.write_text("one")
    pairs = [("train", replace(clip, path=source)) for _, clip in PAIRS]
    with pytest.raises(KeyboardInterrupt):
        build(pairs, tmp_path / "out", on_clips=interrupt_after(3))
    source.write_text("three")
    reads.write_text("")
    build(pairs, tmp_path / "out")
    assert len(reads.read_text().split()) == 5


def test_a_build_killed_while_it_moved_its_shards_goes_on(tmp_path: Path, reads: Path) -> None:
    build(PAIRS, tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(PAIRS, out, on_clips=interrupt_after(5))
    (out / WORK / "train-000000.tar").rename(out / "train-000000.tar")
    reads.write_text("")
    build(PAIRS, out)
    assert reads.read_text().split() == ["clip_4"]
    assert contents(out) == contents(tmp_path / "whole")


def test_an_interrupted_overwrite_leaves_the_old_data_whole(tmp_path: Path) -> None:
    build(PAIRS, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        build(PAIRS[:2], tmp_path, overwrite=True, on_clips=interrupt_after(2))
    assert contents(tmp_path) == before
    assert verify(tmp_path, train_split="train") == []
    build(PAIRS[:2], tmp_path, overwrite=True)
    assert sorted(contents(tmp_path)) == ["manifest.json", "train-000000.tar"]


def test_two_builds_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    with FileLock(tmp_path / LOCK), pytest.raises(DataError, match="being built by another process"):
        build(PAIRS, tmp_path)
    assert build(PAIRS, tmp_path).splits["train"].num_samples == 5


def test_a_clip_that_breaks_the_contract_is_skipped_with_its_reason(tmp_path: Path) -> None:
    manifest = build([*PAIRS, ("train", MadeClip("empty", num_frames=0))], tmp_path)
    assert [(item.source, item.reason) for item in manifest.skipped] == [
        ("empty.bvh", "not a valid clip: empty: no frames")
    ]


def test_what_is_left_out_of_a_clip_is_in_the_manifest(tmp_path: Path) -> None:
    manifest = build(
        [("train", MadeClip("clip", left_out=("empty label: number 2", "empty label: 5")))], tmp_path
    )
    assert manifest.splits["train"].num_samples == 1
    assert [(item.source, item.reason) for item in manifest.skipped] == [
        ("clip.bvh", "empty label: number 2"),
        ("clip.bvh", "empty label: 5"),
    ]


def test_a_shard_without_a_readable_clip_is_left_out(tmp_path: Path) -> None:
    bad = [("train", MadeClip(f"bad_{number}", problem=UserError("no frames"))) for number in range(2)]
    manifest = build([*PAIRS[:2], *bad, *PAIRS[2:]], tmp_path)
    assert [shard.name for shard in manifest.shards] == [
        "train-000000.tar",
        "train-000002.tar",
        "train-000003.tar",
    ]
    assert verify(tmp_path, train_split="train") == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        build(PAIRS, tmp_path / "file" / "out")


def test_a_split_whose_clips_are_all_unreadable_is_refused(tmp_path: Path) -> None:
    pairs = [
        ("train", MadeClip("a")),
        ("validation", MadeClip("b", problem=DataError("truncated: 3 of 4 rows"))),
    ]
    with pytest.raises(DataError, match="split 'validation' lost all its clips"):
        build_shards(pairs, tmp_path / "out", dataset="x", source="x", fps=30.0, options={}, shard_size=4)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_reasons_that_name_their_file_are_counted_as_one_kind(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.pkl" for name in "ab"]
    reasons = [reason_of(DataError(f"{path} is no pickle; copy it again"), path) for path in paths]
    assert count_reasons(Skipped(source="", reason=reason) for reason in reasons) == {"unreadable file": 2}


def test_words_that_differ_in_form_alone_are_the_same() -> None:
    assert {to_words(text) for text in ("hand\u2010Wave", "hand-wave", "hand__wave\u200b")} == {"hand wave"}
