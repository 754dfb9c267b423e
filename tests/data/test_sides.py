import pytest
from hypothesis import given
from hypothesis import strategies as st

from langpose_dist.data.sides import mirror_label


@pytest.mark.parametrize(
    ("label", "mirrored"),
    [
        ("raise up right hand", "raise up left hand"),
        ("walk left then right", "walk right then left"),
        ("left-hand punch", "right-hand punch"),
        ("lefthand wave", "righthand wave"),
        ("a left-handed throw", "a right-handed throw"),
        ("walk leftward", "walk rightward"),
        ("slide leftwards", "slide rightwards"),
        ("the rightmost foot's toes", "the leftmost foot's toes"),
        ("turn clockwise", "turn counterclockwise"),
        ("turn counterclockwise", "turn clockwise"),
        ("turn counter-clockwise", "turn clockwise"),
        ("turn counter clockwise", "turn clockwise"),
        ("spin anticlockwise", "spin clockwise"),
        ("spin anti-clockwise", "spin clockwise"),
        ("half clockwise, half anticlockwise", "half counterclockwise, half clockwise"),
        ("turn cw then ccw", "turn ccw then cw"),
        ("turn 90° left/right", "turn 90° right/left"),
        ("左手挥动", "右手挥动"),
        ("顺时针转", "逆时针转"),
        ("逆時針轉", "順時針轉"),
        ("順時鐘旋轉", "逆時鐘旋轉"),
        ("反时针", "顺时针"),
        ("counter-clock-wise spin", "clockwise spin"),
        ("turn clock-wise", "turn counterclockwise"),
    ],
)
def test_every_word_of_a_side_or_a_sense_of_turning_is_exchanged(label: str, mirrored: str) -> None:
    assert mirror_label(label) == mirrored


@pytest.mark.parametrize(
    "label",
    [
        *(
            "walk",
            "stand upright",
            "a bright smile",
            "carry leftovers",
            "stop right away",
            "bend at right angles",
        ),
        *("an outright fall", "frighten someone", "swing the whole arm", "clap", "cliff jump", "mowing"),
    ],
)
def test_words_that_name_no_side_are_left_alone(label: str) -> None:
    assert mirror_label(label) == label


@pytest.mark.parametrize(
    "label",
    [
        *(
            "turnleft",
            "leftish step",
            "step with the l foot",
            "wave r hand",
            "lhand up",
            "reach to 3 o'clock",
        ),
        *("nach links drehen", "tourner à gauche", "girar a la derecha", "gira a sinistra", "vire à direita"),
        *(
            "sväng vänster",
            "повернуть налево",
            "левая рука",
            "왼손 흔들기",
            "右回り、反時計回り",
            "انعطف يسار",
        ),
        *("southpaw jab", "orthodox stance", "walk widdershins", "clockwisely", "pass l2r", "rt hand up"),
        *("im uhrzeigersinn", "en sentido horario", "in senso orario", "по часовой стрелке", "시계 방향"),
        *("belok kiri", "αριστερά", "ซ้าย", "trái", "sağa dön"),
    ],
)
def test_a_side_in_words_that_the_table_lacks_is_not_mirrored(label: str) -> None:
    assert mirror_label(label) is None


@given(st.lists(st.sampled_from(["left", "right", "walk", "lefty", "clockwise", "counterclockwise", "ccw"])))
def test_mirroring_twice_gives_the_label_back(words: list[str]) -> None:
    label = ", ".join(words)
    mirrored = mirror_label(label)
    assert mirrored is not None
    assert mirror_label(mirrored) == label
