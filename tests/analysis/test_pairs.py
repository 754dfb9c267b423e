"""Kinds of pairs of labels."""

import pytest

from langpose_dist.analysis.pairs import kind_of, parse_pairs
from langpose_dist.config import UserError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sit down", "stand up"),
        ("sit", "stand"),
        ("sitting down", "standing up"),
        ("sit down", "get up from a chair"),
        ("lie down", "get up"),
        ("walk forward", "walk backwards"),
        ("walk back", "walk forward"),
        ("raise left arm", "raise right arm"),
        ("raise right arm", "lower right arm"),
        ("raise left arm", "lower right arm"),
        ("turn clockwise", "turn counter-clockwise"),
        ("pick up a box", "put down a box"),
        ("open the door", "close the door"),
    ],
)
def test_labels_that_say_the_contrary_are_inverse_whatever_their_cosine(one: str, other: str) -> None:
    assert kind_of(one, other, 0.9) == kind_of(other, one, 0.1) == "inverse"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("walk", "walk backward"),  # one says more
        ("walk left", "walk back"),  # neither is the contrary of the other
        ("sit down", "walk up"),
        ("raise left arm", "lower left leg"),
        ("bend down", "kneel"),
        ("walk", "walk"),
    ],
)
def test_others_are_told_by_their_cosine(one: str, other: str) -> None:
    assert kind_of(one, other, 0.6) == "similar"
    assert kind_of(one, other, 0.59) == "unrelated"


def test_pairs_are_read_in_normal_form() -> None:
    assert parse_pairs("Sit_down/ stand up,walk/run") == (("sit down", "stand up"), ("walk", "run"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("walk", "'walk' must be two labels with / between"),
        ("walk/run/jump", "must be two labels"),
        ("walk/Walk", "must be two labels"),
        ("walk/run,", "'' must be two labels"),
        ("walk/run,run/walk", "names run/walk twice"),
    ],
)
def test_what_is_no_pair_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_pairs(text)
