import pytest
from hypothesis import given
from hypothesis import strategies as st

from langpose_dist.data.labels import Vocabulary, flip_label, normalise_label


def test_case_and_white_space_do_not_make_a_new_label() -> None:
    assert normalise_label("  Turn \t LEFT\n") == "turn left"


@pytest.mark.parametrize(
    ("label", "flipped"),
    [
        ("raise up right hand", "raise up left hand"),
        ("walk left then right", "walk right then left"),
        ("left-hand punch", "right-hand punch"),
        ("lefthand bright leftover", "lefthand bright leftover"),
        ("Turn Left", "Turn Right"),
    ],
)
def test_flipping_exchanges_whole_words_only(label: str, flipped: str) -> None:
    assert flip_label(label) == flipped


@given(st.lists(st.sampled_from(["left", "right", "walk", "lefty", "up"]), max_size=6).map(" ".join))
def test_flipping_twice_gives_the_label_back(label: str) -> None:
    assert flip_label(flip_label(label)) == label


def test_vocabulary_holds_the_mirror_images_and_what_training_shows_of_each() -> None:
    vocabulary = Vocabulary.build(
        {"Walk": 2, "walk ": 3, "wave left hand": 4}, ["run"], flip_probability=0.25
    )
    assert vocabulary.labels == ("run", "walk", "wave left hand", "wave right hand")
    assert vocabulary.counts == (0, 5, 3, 1)  # a quarter of the four waves is mirrored
    assert vocabulary.flipped == (0, 1, 3, 2)
    assert vocabulary.id(" WAVE left  hand") == 2
    assert len(vocabulary) == 4


def test_without_flipping_no_mirror_image_is_added() -> None:
    vocabulary = Vocabulary.build({"wave left hand": 4}, [], flip_probability=0.0)
    assert (vocabulary.labels, vocabulary.counts, vocabulary.flipped) == (("wave left hand",), (4,), (0,))


def test_an_unknown_label_has_no_id() -> None:
    with pytest.raises(KeyError, match="run"):
        Vocabulary.build({"walk": 1}, [], flip_probability=0.5).id("run")
