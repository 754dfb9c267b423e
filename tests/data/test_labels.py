from collections.abc import Sequence

import pytest

from langpose_dist.data.labels import Vocabulary, normalise_label


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Turn \t LEFT\n", "turn left"),
        ("turn_left", "turn left"),
        ("walk\u200b", "walk"),  # a space of no width
        ("\ufeffwalk", "walk"),  # a byte order mark
        ("wa\u00adlk", "walk"),  # a soft hyphen
        ("\u202bwalk\u202c", "walk"),  # marks of writing direction
        ("walk\ufe0f", "walk"),  # a choice of glyph
        ("walk\u00a0slowly\u3000on", "walk slowly on"),  # spaces of other kinds
        ("cafe\u0301", "caf\u00e9"),  # an accent of its own
        ("\uff57\uff41\uff4c\uff4b", "walk"),  # full width
        ("\ufb01ght", "fight"),  # a ligature
        ("person\u2019s arm", "person's arm"),
        ("\u201chello\u201d", '"hello"'),
        ("left\u2010hand \u2013 up", "left-hand - up"),
    ],
)
def test_what_reads_the_same_has_one_normal_form(text: str, normal: str) -> None:
    assert normalise_label(text) == normal
    assert normalise_label(normal) == normal


def test_vocabulary_holds_the_mirror_images_and_what_training_shows_of_each() -> None:
    vocabulary = Vocabulary.build(
        {"Walk": 2, "walk ": 3, "wave left hand": 4}, ["run"], flip_probability=0.25
    )
    assert vocabulary.labels == ("run", "walk", "wave left hand", "wave right hand")
    assert vocabulary.counts == (0, 5, 3, 1)  # a quarter of the four waves is mirrored
    assert vocabulary.id(" WAVE left  hand") == 2
    assert vocabulary.id("wave left hand", is_mirrored=True) == 3
    assert vocabulary.id("walk", is_mirrored=True) == 1
    assert len(vocabulary) == 4


def test_spellings_of_one_turn_share_their_mirror_image() -> None:
    vocabulary = Vocabulary.build({"turn anticlockwise": 4, "turn clockwise": 4}, [], flip_probability=0.5)
    assert vocabulary.labels == ("turn anticlockwise", "turn clockwise", "turn counterclockwise")
    assert vocabulary.counts == (2, 4, 2)


def test_a_label_that_cannot_be_mirrored_is_shown_as_it_is() -> None:
    vocabulary = Vocabulary.build({"nach links": 4, "walk": 2}, [], flip_probability=0.5)
    assert (vocabulary.labels, vocabulary.counts) == (("nach links", "walk"), (4, 2))
    assert [vocabulary.can_mirror(label) for label in vocabulary.labels] == [False, True]
    assert vocabulary.unmirrored == ("nach links",)
    with pytest.raises(KeyError, match="nach links"):
        vocabulary.id("nach links", is_mirrored=True)


def test_without_mirroring_no_mirror_image_is_added() -> None:
    vocabulary = Vocabulary.build({"wave left hand": 4}, [], flip_probability=0.0)
    assert (vocabulary.labels, vocabulary.counts) == (("wave left hand",), (4,))


def test_labels_of_equal_tokens_are_one_candidate_named_by_the_most_frequent() -> None:
    def first_word(labels: Sequence[str]) -> list[str]:
        return [label.split()[0] for label in labels]

    counts = {"walk": 1, "walk slowly": 3, "run left": 2}
    vocabulary = Vocabulary.build(counts, ["walk far"], flip_probability=0.5, tokens=first_word)
    assert (vocabulary.labels, vocabulary.counts) == (("run left", "walk slowly"), (2, 4))
    assert [vocabulary.id(label) for label in ("walk", "walk slowly", "walk far", "run left")] == [1, 1, 1, 0]
    assert vocabulary.id("run left", is_mirrored=True) == 0  # run right, to the tokenizer the same


def test_a_label_of_no_visible_sign_is_no_candidate() -> None:
    vocabulary = Vocabulary.build({"\u200b": 4, "walk": 2}, [" ", "\ufeff"], flip_probability=0.5)
    assert (vocabulary.labels, vocabulary.counts) == (("walk",), (2,))


def test_an_unknown_label_has_no_id() -> None:
    with pytest.raises(KeyError, match="run"):
        Vocabulary.build({"walk": 1}, [], flip_probability=0.5).id("run")
