from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import RunConfig, build_config
from langpose_dist.report.run.conditions import Evaluated, condition_section
from langpose_dist.report.sections import Section
from tests.report.run.made import evaluation

CONFIG = RunConfig()


def section_of(*evaluated: Evaluated, kind: Any = "pose") -> Section:
    section = condition_section("Lifting", evaluated, kind)
    assert section is not None
    return section


def test_what_compares_stands_in_one_table() -> None:
    section = section_of(Evaluated("one", evaluation(), CONFIG), Evaluated("two", evaluation(), CONFIG))
    (table,) = section.tables
    assert table.head == ["2D input", "model", "MPJPE (mm)", "P-MPJPE (mm)"]
    assert table.rows == [
        ["clean", "one", "50.04", "40.00"],
        ["clean", "two", "50.04", "40.00"],
        ["noisy", "one", "61.50", "48.00"],
        ["noisy", "two", "61.50", "48.00"],
        ["mean pose", "one", "150.00", "-"],
        ["mean pose", "two", "150.00", "-"],
    ]
    assert section.lines == []
    for text in (
        "space camera",
        "ffffffffffffffff",
        "split validation",
        "2D: synthetic",
        "commit aaaaaaaaaaaa",
    ):
        assert text in table.title


@pytest.mark.parametrize(
    ("changes", "config", "reason"),
    [
        ({"space": "image_25d"}, {}, "space (image_25d against camera)"),
        ({"data_fingerprint": "0" * 64}, {}, "these differ: data"),
        ({"source_2d": "detected"}, {}, "2D input (detected against synthetic)"),
        (
            {"protocol": {"windows": "others"}},
            {},
            "definition of windows (others against every frame in one window)",
        ),
        ({}, {"noise": {"jitter_std": 0.5}}, "noise.jitter_std (0.5 against 0.003)"),
    ],
)
def test_what_does_not_compare_stands_apart_with_its_reason(
    changes: dict[str, Any], config: dict[str, Any], reason: str
) -> None:
    other = Evaluated("two", evaluation(**changes), build_config(config))
    section = section_of(Evaluated("one", evaluation(), CONFIG), other)
    assert len(section.tables) == 2
    (line,) = section.lines
    assert line.startswith("two: apart from one, as these differ: ")
    assert reason in line


def test_a_file_that_does_not_say_its_configuration_stands_apart() -> None:
    section = section_of(Evaluated("one", evaluation(), CONFIG), Evaluated("f.json", evaluation(), None))
    assert "configuration (not stated against none)" in section.lines[0]


def test_both_definitions_are_said_where_they_differ() -> None:
    other = evaluation(protocol={"windows": "others"})
    section = section_of(Evaluated("one", evaluation(), CONFIG), Evaluated("two", other, CONFIG))
    assert "windows of one: every frame in one window" in section.below
    assert "windows of two: others" in section.below


def test_retrieval_has_its_chance_and_numbers_of_labels() -> None:
    section = section_of(Evaluated("one", evaluation(), CONFIG), kind="retrieval")
    (table,) = section.tables
    assert table.rows[-1] == ["chance", "one", "0.0625"]
    assert "41 labelled windows, 16 labels" in table.title


def test_without_such_numbers_there_is_no_section(tmp_path: Path) -> None:
    lifted = evaluation(conditions={"clean": {"mpjpe_mm": 1.0}})
    assert condition_section("", [Evaluated("one", lifted, CONFIG)], "retrieval") is None
