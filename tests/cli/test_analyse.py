"""``langpose analyse`` from the command line."""

import json
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from tests.analysis.motions import SPEEDS, build_motions, evaluation_of


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_motions(tmp_path_factory.mktemp("motions"), 3)


def test_mmd_by_action(motions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mmd.json"
    words = ["analyse", "mmd", motions, motions, "--by", "action", "--split", "validation", "train"]
    assert main([*words, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[:2] == ["action", "MMD2"]
    assert [line.split()[0] for line in text.splitlines()[1:3]] == ["run", "walk"]
    report = json.loads(out.read_text())
    assert (report["first"]["split"], report["second"]["split"]) == ("validation", "train")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_table3_without_words_is_the_supplements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "table3", "--out", str(tmp_path / "t.json")]) == 0
    assert "visibility: -0.60 [-0.86, -0.08], p 0.018, n 15; Pearson -0.83" in capsys.readouterr().out
    assert (tmp_path / "t-table3.png").read_bytes().startswith(b"\x89PNG")


def test_table3_of_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = build_motions(tmp_path / "shards", 2, actions=SPEEDS)
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(evaluation_of(root, walk=1.0, run=2.0, sway=0.5, shake=3.0)))
    assert main(["analyse", "table3", str(file), f"data.path={root}", "--other", root]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [
        "action",
        "MMD2",
        "v->t",
        "MMD2",
        "v->made-up",
        "improvement",
        "(mm)",
    ]
    assert "MMD2 v->made-up: " in out
    assert "n 4" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["mmd", "{motions}", "{motions}", "--split", "nope"],
            "no split 'nope'; there are train, validation",
        ),
        (["mmd", "{motions}", "{motions}", "--split", "a", "b", "c"], "--split takes one name for both"),
        (["table3", "runs/one"], "1 models; table3 takes a baseline and a model, with --protocol NAME"),
        (["table3", "{motions}/manifest.json"], "a baseline and one model under a protocol"),
        (["table3", "{motions}/no.json"], "no.json: No such file"),
        (["visibility", "{motions}", "--split", "train"], "has no 2D joints of its own"),
        (["visibility", "{motions}", "--out", "{motions}"], "must be a file in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line(
    motions: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["analyse", *(word.format(motions=motions) for word in words)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
