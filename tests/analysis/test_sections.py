from pathlib import Path
from typing import Any

from langpose_dist.analysis.sections import SECTIONS
from langpose_dist.analysis.supplement import PRINTED
from langpose_dist.analysis.table3 import printed_table
from langpose_dist.report.sections import Section

DATA = {"dataset": "made", "split": "test", "fingerprint": "f" * 64, "source_2d": "none"}


def section_of(analysis: str, report: dict[str, Any], folder: Path) -> Section:
    section = Section("")
    SECTIONS[analysis](section, report, folder / "figure.svg")
    return section


def test_mmd_has_a_row_for_each_action(tmp_path: Path) -> None:
    data = DATA | {"fps": 10.0, "num_clips": 3, "num_further_cameras": 0}
    row = {"mmd2": 0.25, "low": 0.1, "high": 0.4, "floor": 0.02, "p": 0.01, "sigma": 2.0}
    counts = {"num_clips": [2, 3], "num_available": [2, 4], "num_frames": [20, 30]}
    report = {
        "first": data,
        "second": data,
        "by": "action",
        "against": "same",
        "unit": "clip",
        "fps": 10.0,
        "std_floor_m": 0.01,
        "features": {},
        "sigma": 2.0,
        "num_permutations": 999,
        "confidence": 0.95,
        "max_frames": 20_000,
        "rows": {"sit": row | counts},
        "left_out": {},
    }
    section = section_of("mmd", report, tmp_path)
    (table,) = section.tables
    assert table.rows == [["sit", "0.250", "[0.100, 0.400]", "0.020", "0.010", "2 / 3 of 4", "20 / 30"]]
    assert any("ffffffffffffffff" in line for line in section.below)


def test_the_supplements_rows_are_drawn(tmp_path: Path) -> None:
    section = section_of("table3", printed_table(), tmp_path)
    assert [row[0] for row in section.tables[0].rows] == sorted(PRINTED)
    assert sum("Spearman" in line or "Pearson" in line for line in section.below) == 4
    assert [*section.figures] == ["figure.svg"]
    assert b"SittingDown</text>" in (tmp_path / "figure.svg").read_bytes()


def test_visibility_has_a_row_for_each_action_and_joint(tmp_path: Path) -> None:
    report = DATA | {
        "threshold": 0.6,
        "actions": {"sit": {"share": 0.9, "num_frames": 10}},
        "action_mean": 0.9,
        "joint_means": {"head": 0.8},
        "constant_joints": [],
    }
    actions, joints = section_of("visibility", report, tmp_path).tables
    assert actions.rows == [["sit", "0.900", "10"], ["mean of the actions", "0.900", ""]]
    assert (joints.rows, joints.is_folded) == ([["head", "0.800"]], True)


def test_the_probe_has_its_pairs_folded(tmp_path: Path) -> None:
    value = {"mean": 0.75, "low": 0.5, "high": 1.0}
    kinds = {"inverse": {"num_pairs": 1, "auc": value, "accuracy": value}}
    report = {
        "confidence": 0.95,
        "models": [{"name": "ours", "kinds": kinds, "pairs": [{"auc": value}]}],
        "num_pairs_left_out": 0,
        "pairs": [
            {"labels": ["sit", "stand"], "kind": "inverse", "num_spans": [20, 21], "num_clips": [5, 6]}
        ],
        "protocol": {"AUC": "of spans"},
        "data": DATA | {"num_spans": 41, "num_clips": 8},
        "is_isolated": False,
        "text_encoder": "offline",
        "commit": "a" * 40,
    }
    kinds_table, pairs = section_of("probe", report, tmp_path).tables
    interval = "[0.500, 1.000]"
    assert kinds_table.rows == [["inverse", "ours", "1", "0.750", interval, "0.750", interval]]
    assert (pairs.rows, pairs.is_folded) == ([["sit/stand", "inverse", "20 / 21", "5 / 6", "0.750"]], True)
