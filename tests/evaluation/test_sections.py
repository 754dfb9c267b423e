from pathlib import Path
from typing import Any

from langpose_dist.evaluation.sections import (
    COMPARISON,
    LIFTING,
    PER_ACTION,
    ROBUSTNESS,
    VISIBLE,
    protocol_sections,
)
from langpose_dist.report.sections import Section
from tests.report.run.made import protocol_report, robustness


def sections_of(folder: Path, *reports: dict[str, Any]) -> dict[str, Section]:
    named = {f"file {place}": report for place, report in enumerate(reports)}
    return {section.title: section for section in protocol_sections(named, folder)}


def test_models_of_two_reports_stand_in_one_table(tmp_path: Path) -> None:
    both = sections_of(tmp_path, protocol_report("a", "b"), protocol_report("a"))
    (table,) = both[LIFTING].tables
    assert (table.head, table.rows) == (["mean over actions", "a", "b"], [["MPJPE (mm)", "80.0", "70.0"]])
    (table,) = both[PER_ACTION].tables
    assert table.rows[0] == ["sit", "80.0", "70.0"]
    assert table.rows[-1] == ["mean over frames", "70.0", "60.0"]
    assert "space camera" in table.title


def test_two_spaces_never_share_a_table(tmp_path: Path) -> None:
    other = protocol_report("b")
    other["protocol"] = other["protocol"] | {"space": "image_25d"}
    both = sections_of(tmp_path, protocol_report("a"), other)
    assert [table.head[1:] for table in both[LIFTING].tables] == [["a"], ["b"]]
    assert "models of different protocols, spaces, data or commits stand apart" in both[LIFTING].lines


def test_an_interval_that_holds_0_shows_no_difference(tmp_path: Path) -> None:
    (table,) = sections_of(tmp_path, protocol_report("a", "b", "c"))[COMPARISON].tables
    assert [row[3:] for row in table.rows] == [
        ["+10.00", "[-5.00, +15.00]", "no difference shown"],
        ["+20.00", "[+5.00, +25.00]", "better"],
    ]


def test_curves_are_drawn_and_their_numbers_folded(tmp_path: Path) -> None:
    report = protocol_report("$a") | {"robustness": robustness("$a")}
    section = sections_of(tmp_path, report)[ROBUSTNESS]
    (name,) = section.figures
    assert b"$a</text>" in (tmp_path / name).read_bytes()
    (table,) = section.tables
    assert table.is_folded
    assert table.rows[0] == ["$a, all joints", "80.0", "90.0", "85.0"]


def test_joints_that_a_detector_saw(tmp_path: Path) -> None:
    values = {"visible_share": 0.9, "visible_mpjpe_mm": 40.0, "not_visible_mpjpe_mm": None}
    model = {"name": "a", "actions": {"sit": values}, "action_mean": values}
    report = protocol_report("a") | {"visibility": {"threshold": 0.6, "models": [model]}}
    (table,) = sections_of(tmp_path, report)[VISIBLE].tables
    assert table.rows == [["sit", "90.0 %", "40.0", "-"], ["mean over actions", "90.0 %", "40.0", "-"]]


def test_without_reports_there_is_no_section(tmp_path: Path) -> None:
    assert sections_of(tmp_path) == {}
