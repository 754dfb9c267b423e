import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.analysis.table3 import improvement_of, join_columns, measure_table3, printed_table
from langpose_dist.analysis.text import table3_text
from langpose_dist.config import UserError
from tests.analysis.motions import build_motions, evaluation_of, perform, seen_by
from tests.corpus import build_samples


def test_the_supplements_rows_give_the_known_correlations() -> None:
    table = printed_table()
    assert len(table["rows"]) == 15
    found = {one["column"]: one for one in table["correlations"]}
    rounded = {name: (round(one["spearman"], 2), round(one["p"], 2)) for name, one in found.items()}
    assert rounded == {
        "MMD2 v->t": (-0.28, 0.30),
        "MMD2 v->BABEL": (-0.37, 0.17),
        "visibility": (-0.60, 0.02),
    }
    seen = found["visibility"]
    assert seen["p"] == pytest.approx(0.018, abs=5e-4)
    assert round(seen["pearson"], 2) == -0.83
    assert seen["without_largest"]["action"] == "SittingDown"
    assert round(seen["without_largest"]["spearman"], 2) == -0.51
    assert round(seen["without_largest"]["p"], 3) == 0.065
    assert "visibility: -0.60 [-0.86, -0.08], p 0.018, n 15" in table3_text(table)


def test_correlation_by_hand() -> None:
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * 4 / (5 * 24) = 0.8.
    gains = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 50.0}
    column = {"a": 0.2, "b": 0.1, "c": 0.4, "d": 0.3, "e": 0.5}
    (found,) = join_columns(gains, {"column": column})["correlations"]
    assert found["spearman"] == pytest.approx(0.8)
    half = 1.959964 * math.sqrt((1 + 0.32) / 2)
    assert found["low"] == pytest.approx(math.tanh(math.atanh(0.8) - half))
    assert found["without_largest"]["action"] == "e"
    assert found["without_largest"]["spearman"] == pytest.approx(0.6)  # 1 - 6 * 4 / (4 * 15)


def test_an_action_that_a_column_lacks_is_left_out_of_its_correlation() -> None:
    gains = {name: float(place) for place, name in enumerate("abcdef")}
    column = {name: place**2 for name, place in gains.items() if name != "c"}
    table = join_columns(gains, {"column": column})
    assert table["correlations"][0]["num_actions"] == 5
    assert table["rows"]["c"] == {"improvement_mm": 2.0, "column": None}
    assert "\nc            -" in table3_text(table)


def test_too_few_actions_are_refused() -> None:
    with pytest.raises(UserError, match="column is known of 3 of 3 actions"):
        join_columns(dict.fromkeys("abc", 1.0), {"column": dict.fromkeys("abc", 1.0)})


@pytest.mark.parametrize("improvements", [[], [{"metric": "mpjpe_mm", "sequences": {}}]])
def test_a_report_without_one_improvement_by_action_is_refused(improvements: list[Any]) -> None:
    with pytest.raises(UserError, match="a baseline and one model under a protocol"):
        improvement_of({"improvements": improvements})


GAINS = {"walk": 1.0, "run": 2.0, "sway": 0.5, "shake": 3.0}


def test_columns_are_measured_and_what_cannot_be_is_said(tmp_path: Path) -> None:
    root = build_motions(tmp_path, 3, actions=GAINS)
    report = measure_table3(evaluation_of(root, **GAINS), root, "train", root)
    assert report["columns"] == ["MMD2 v->t", "MMD2 v->made-up"]
    assert report["rows"]["shake"]["MMD2 v->t"] < 0.1 < report["rows"]["shake"]["MMD2 v->made-up"]
    assert [one["num_actions"] for one in report["correlations"]] == [4, 4]
    assert "no visibility: " in table3_text(report)


def test_visibility_is_a_column_where_there_are_confidences(tmp_path: Path) -> None:
    seen = [
        seen_by("front", perform(f"{action}{n}", action), np.linspace(place / 4, 1, 17, dtype=np.float32))
        for place, action in enumerate(GAINS)
        for n in range(2)
    ]
    build_samples(tmp_path, seen)
    report = measure_table3(evaluation_of(str(tmp_path), **GAINS), str(tmp_path), "train", None)
    assert report["columns"] == ["MMD2 v->t", "visibility"]
    assert report["rows"]["walk"]["visibility"] == 7 / 17  # 0.625 to 1 in steps of 1/16
    assert report["correlations"][1]["spearman"] == pytest.approx(0.4)  # ranks 2 3 1 4 against 1 2 3 4
    assert report["notes"] == []


def test_equal_order_has_a_correlation_of_1() -> None:
    (found,) = join_columns(GAINS, {"column": GAINS})["correlations"]
    assert (found["spearman"], found["low"], found["high"]) == pytest.approx((1, 1, 1))


def test_data_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    root = build_motions(tmp_path, 2)
    evaluation = evaluation_of(root, walk=1.0)
    evaluation["data"]["fingerprint"] = "0" * 64
    with pytest.raises(UserError, match="holds other data than those of the evaluation"):
        measure_table3(evaluation, root, "train", None)
