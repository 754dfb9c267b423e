"""BABEL's json files, as small ones in its layout."""

import json
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.babel import Annotation, Label, load_annotations


def segment(raw: str | None, proc: str | None, categories: list[str] | None, *times: Any) -> dict[str, Any]:
    """A label; with times one of frames."""
    timed = dict(zip(("start_t", "end_t"), times, strict=False))
    return {"raw_label": raw, "proc_label": proc, "act_cat": categories, "seg_id": "0d8f", **timed}


def entry(
    frame: list[dict[str, Any]] | None = None, sequence: list[dict[str, Any]] | None = None, **changes: Any
) -> dict[str, Any]:
    """A motion of the first three files."""

    def annotator(labels: list[dict[str, Any]] | None) -> dict[str, Any] | None:
        if labels is None:
            return None
        return {"babel_lid": "59ad", "anntr_id": "eab5", "mul_act": True, "labels": labels}

    motion = {"babel_sid": 7692, "url": "https://example.org/007692.mp4", "dur": 3.83}
    motion |= {"feat_p": "CMU/CMU/141/141_05_poses.npz"}
    return motion | {"frame_ann": annotator(frame), "seq_ann": annotator(sequence)} | changes


HOPS = entry(
    # Not in the order of time, numbers without a fraction: as in the release.
    frame=[
        segment("hopping left", "hop left", ["hop"], 1, 2),
        segment("Hopping  Right", "hop right", ["hop"], 2, 3),
        segment("standing", "stand", ["stand"], 0, 1),
        segment("standing", "stand", ["stand"], 3, 3.834),
    ],
    sequence=[segment("jump", "jump", ["jump"])],
)


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def read_one(folder: Path, motion: dict[str, Any], field: Any = "proc_label") -> Annotation:
    (annotation,), skipped = load_annotations(write(folder, train={"7": motion}), field)
    assert skipped == ()
    return annotation


def texts(annotation: Annotation) -> list[str]:
    return [label.text for label in annotation.labels]


def test_frame_labels_come_in_the_order_of_time_and_before_sequence_labels(tmp_path: Path) -> None:
    assert read_one(tmp_path, HOPS) == Annotation(
        file="train",
        sid="7",
        path="CMU/CMU/141/141_05_poses.npz",
        duration=3.83,
        kind="frame",
        labels=(
            Label("stand", 0.0, 1.0, ("stand",)),
            Label("hop left", 1.0, 2.0, ("hop",)),
            Label("hop right", 2.0, 3.0, ("hop",)),
            Label("stand", 3.0, 3.834, ("stand",)),
        ),
    )


def test_sequence_labels_describe_the_whole_where_no_frame_label_is_usable(tmp_path: Path) -> None:
    sequence = [segment("jump", "jump", ["jump"]), segment("Jump ", "jump", ["jump"])]
    only_transition = [segment("transition", "transition", ["transition"], 0, 1)]
    for frame in (None, [], only_transition):
        annotation = read_one(tmp_path, entry(frame=frame, sequence=sequence))
        assert annotation.kind == "sequence"
        assert annotation.labels == (Label("jump", None, None, ("jump",)),)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("raw_label", ["standing", "hopping left", "hopping right", "standing"]),
        ("act_cat", ["stand", "hop", "hop", "stand"]),
    ],
)
def test_the_text_is_of_the_chosen_field(tmp_path: Path, field: str, expected: list[str]) -> None:
    assert texts(read_one(tmp_path, HOPS, field)) == expected


def test_several_categories_become_a_label_each(tmp_path: Path) -> None:
    motion = entry(frame=[segment("x", "x", ["lift something", "bend", "bend", "transition"], 1, 2)])
    assert read_one(tmp_path, motion, "act_cat").labels == (
        Label("bend", 1.0, 2.0, ("bend",)),
        Label("lift something", 1.0, 2.0, ("lift something",)),
    )


def test_a_label_keeps_its_categories_beside_its_text(tmp_path: Path) -> None:
    frame = [
        segment("x", "pick up", ["Lift  something", "bend", "bend", "transition"], 1, 2),
        segment("x", "Pick up", ["grasp object", "bend"], 1, 2),
        segment("x", "stand", None, 2, 3),
    ]
    assert read_one(tmp_path, entry(frame=frame)).labels == (
        Label("pick up", 1.0, 2.0, ("lift something", "bend", "grasp object")),
        Label("stand", 2.0, 3.0),
    )


def test_transitions_and_labels_without_a_text_are_left_out(tmp_path: Path) -> None:
    frame = [
        segment("transition", "transition", ["transition"], 0, 1),
        segment("going over", "go over", ["transition"], 1, 2),
        segment("Transition", "Transition", None, 2, 3),
        segment("walking", "walk", None, 3, 3.8),
        segment(None, None, ["run"], 3, 3.5),
        segment("  ", "", [], 3, 3.5),
    ]
    motion = entry(frame=frame)
    assert texts(read_one(tmp_path, motion)) == ["walk"]
    assert texts(read_one(tmp_path, motion, "raw_label")) == ["walking"]
    assert texts(read_one(tmp_path, motion, "act_cat")) == ["run"]


def test_what_several_annotators_said_alike_counts_once(tmp_path: Path) -> None:
    walk, turn = segment("walk", "walk", ["walk"], 0, 2), segment("turn", "turn", ["turn"], 1, 2)
    extra = {"feat_p": "KIT/KIT/3/a_poses.npz", "dur": 2.0, "seq_anns": None}
    extra["frame_anns"] = [{"labels": [walk]}, {"labels": [walk, turn]}, {"labels": None}]
    (annotation,), _ = load_annotations(write(tmp_path, extra_val={"3": extra}), "proc_label")
    assert annotation.labels == (Label("walk", 0.0, 2.0, ("walk",)), Label("turn", 1.0, 2.0, ("turn",)))
    assert (annotation.split, annotation.source) == ("validation", "extra_val.json#3")


def test_labels_without_usable_times_are_listed(tmp_path: Path) -> None:
    frame = [
        segment("a", "reversed", None, 2, 1),
        segment("a", "empty", None, 2, 2),
        segment("a", "endless", None, 2, None),
        segment("a", "timeless", None),
        segment("a", "late", None, 3.83, 4),
        segment("a", "as text", None, "0.5", "1.5"),
    ]
    (annotation,), skipped = load_annotations(write(tmp_path, val={"7": entry(frame=frame)}), "proc_label")
    assert annotation.labels == (Label("as text", 0.5, 1.5),)
    assert {item.source for item in skipped} == {"val.json#7"}
    assert [item.reason for item in skipped] == [
        "label without usable times: reversed from 2.0 to 1.0 s",
        "label without usable times: empty from 2.0 to 2.0 s",
        "label without usable times: endless from 2.0 to None s",
        "label without usable times: timeless from None to None s",
        "label without usable times: late from 3.83 to 4.0 s",
    ]


def test_files_decide_the_split_and_stand_in_a_fixed_order(tmp_path: Path) -> None:
    unlabelled = {"babel_sid": 4, "dur": 1.5, "feat_p": "KIT/KIT/4/a_poses.npz", "url": ""}
    write(tmp_path, test={"4": unlabelled}, extra_train={"5": HOPS}, val={"6": HOPS})
    write(tmp_path, train={"10": HOPS, "9": HOPS})
    (tmp_path / "notes.json").write_text("not read")
    annotations, skipped = load_annotations(tmp_path, "proc_label")
    assert skipped == ()
    assert [(item.source, item.split) for item in annotations] == [
        ("train.json#9", "train"),
        ("train.json#10", "train"),
        ("val.json#6", "validation"),
        ("test.json#4", "test"),
        ("extra_train.json#5", "train"),
    ]
    assert (annotations[3].kind, annotations[3].labels, annotations[3].duration) == ("none", (), 1.5)


@pytest.mark.parametrize(
    ("motion", "problem"),
    [
        (None, "malformed annotation: motion: Input should be"),
        ({"dur": 1.0}, "malformed annotation: feat_p: Field required"),
        (entry(frame_ann={"labels": {"a": 1}}), "malformed annotation: frame_ann.labels: Input should be"),
        (
            entry(frame=[segment("a", "a", None, "noon", 1)]),
            "malformed annotation: frame_ann.labels.0.start_t",
        ),
        (entry(dur=float("nan")), "malformed annotation: dur"),
        (
            entry(sequence=[segment("a", "a", None)] * 10_001),
            "malformed annotation: seq_ann.labels: List should have at most 10000 items",
        ),
    ],
)
def test_a_malformed_motion_is_listed_and_the_others_are_read(
    tmp_path: Path, motion: Any, problem: str
) -> None:
    annotations, skipped = load_annotations(write(tmp_path, train={"1": motion, "2": HOPS}), "proc_label")
    # Its motion may be held out: where it can be told, the split is kept.
    kept = [item for item in annotations if item.sid == "1"]
    assert [item.labels for item in kept] == [()] * isinstance((motion or {}).get("feat_p"), str)
    assert [item.sid for item in annotations if item not in kept] == ["2"]
    ((source, reason),) = [(item.source, item.reason) for item in skipped]
    assert source == "train.json#1"
    assert reason.startswith(problem)


def test_a_folder_without_babel_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of train\.json, val\.json, test\.json"):
        load_annotations(tmp_path, "proc_label")
    (tmp_path / "train.json").write_text('{"1": ')
    with pytest.raises(DataError, match=r"train\.json is not JSON"):
        load_annotations(tmp_path, "proc_label")
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(DataError, match="does not hold an object"):
        load_annotations(tmp_path, "proc_label")
