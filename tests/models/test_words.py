import pytest

from langpose_dist.models.words import END, PAD, START, UNKNOWN, WordTokenizer

CAPTIONS = ["A person walks, slowly.", "a person WAVES; it's fun", "a person walks in a circle"]


def make(**options: int) -> WordTokenizer:
    return WordTokenizer.train(CAPTIONS, **{"min_count": 1, "max_words": 20, **options})


def test_words_are_numbered_between_marks() -> None:
    words = make()
    ids = words.encode(["a person walks", "A person, flies?!"])
    assert ids[:, 0].tolist() == [START, START]
    assert ids[0, -1] == END
    assert ids[1, 3] == UNKNOWN
    assert len(words) == 4 + len({"a", "person", "walks", "slowly", "waves", "it's", "fun", "in", "circle"})
    assert words.decode(ids) == ["a person walks", "a person"]


def test_short_captions_are_padded_and_long_ones_end_early() -> None:
    words = make(max_words=3)
    ids = words.encode(["a person walks in a circle", "fun"])
    assert words.decode(ids) == ["a person walks", "fun"]
    assert ids.shape == (2, 5)
    assert ids[0, -1] == END
    assert ids[1].tolist() == [START, int(ids[1, 1]), END, PAD, PAD]


def test_rare_words_are_unknown() -> None:
    words = make(min_count=2)
    assert words.decode(words.encode(["a person walks in fun"])) == ["a person walks"]
    assert len(words) == 7


def test_the_order_of_captions_does_not_matter_and_the_state_is_text() -> None:
    words = make()
    again = WordTokenizer.train(reversed(CAPTIONS), min_count=1, max_words=20)
    assert again.to_json() == words.to_json()
    loaded = WordTokenizer.from_json(words.to_json())
    assert loaded.encode(CAPTIONS).equal(words.encode(CAPTIONS))
    with pytest.raises(ValueError, match="no tokenizer"):
        WordTokenizer.from_json('{"words": 3}')
