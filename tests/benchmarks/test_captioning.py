"""The table of captioning taken apart."""

from benchmarks.captioning import Cell, describe
from langpose_dist.evaluation.captions import score_captions
from tests.evaluation.test_captions import clips_of


def test_each_training_is_a_row_and_those_without_a_model_come_once() -> None:
    clips = clips_of(9)
    runs = []
    for cell in (Cell("joints_3d", "frozen", 0, "random", 0), Cell("joints_3d", "tuned", 2, "pretrained", 1)):
        report = score_captions(clips, {"model": [f"a {cell.start}"] * 9}, ["a person"])
        runs.append({**cell._asdict(), "report": {"captions": report}})
    lines = describe(runs).splitlines()
    assert [line.split(" | ")[0] for line in lines] == [
        "| captions",
        "| ---",
        "| random, frozen, joints_3d, seed 0",
        "| pretrained, tuned, joints_3d, 2 layers, seed 1",
        "| constant, most frequent: 'a person'",
        "| constant, best BLEU@4 here: 'a person'",
        "| random training caption",
        "| person",
    ]
