from pathlib import Path

import pytest

from langpose_dist.analysis.classes import BABEL_60, BABEL_120, find_classes
from langpose_dist.config import UserError
from langpose_dist.data.labels import normalise_label

SAMPLES = [("walk", "turn"), ("walk",), ("run",), ("run",)]


def test_babels_categories_are_in_normal_form_and_in_the_order_of_their_file() -> None:
    assert (len(BABEL_60), len(BABEL_120), len(set(BABEL_120))) == (60, 120, 120)
    assert BABEL_60[:5] == ("walk", "stand", "hand movements", "turn", "interact with/use object")
    assert (BABEL_60[-1], BABEL_120[60], BABEL_120[-1]) == ("martial art", "balance", "sudden movement")
    assert [name for name in BABEL_120 if normalise_label(name) != name] == []


def test_classes_of_the_data_have_enough_samples() -> None:
    assert find_classes("labels", SAMPLES, 1) == ("run", "turn", "walk")
    assert find_classes("labels", SAMPLES, 2) == ("run", "walk")
    with pytest.raises(UserError, match="0 labels with 3 samples; lower --min-samples"):
        find_classes("labels", SAMPLES, 3)


def test_classes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("Run\n\nwalk\nrun\n", encoding="utf-8")
    assert find_classes(str(path), SAMPLES, 1) == ("run", "walk")
    path.write_text("run\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"names.txt names 1 classes; write one on each line"):
        find_classes(str(path), SAMPLES, 1)
    path.write_bytes("walk\nrun".encode("utf-16"))
    with pytest.raises(UserError, match=r"names.txt is no UTF-8 text"):
        find_classes(str(path), SAMPLES, 1)
    with pytest.raises(UserError, match="--classes babel60 is none of babel-60, babel-120 and labels"):
        find_classes("babel60", SAMPLES, 1)
