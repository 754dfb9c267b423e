"""``langpose analyse probe`` from the command line."""

import json
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from tests.analysis.labelled import save_labelled


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_labelled(tmp_path_factory.mktemp("model"))


def test_all_spans(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["analyse", "probe", model, "--pairs", "Kick/wave left hand"]
    assert main([*words, "--out", str(tmp_path / "probe.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["unrelated", model, "1"]
    assert lines[4].startswith("kick/wave left hand  unrelated  5 / 3  5 / 3")
    report = json.loads((tmp_path / "probe.json").read_text())
    assert report["models"][0]["model"]["step"] == 7
    assert len(report["commit"]) == 40


def test_one_clip(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curve.svg"
    words = ["analyse", "probe", model, "--picture", "train-clip1", "--labels", "Kick, run"]
    assert main([*words, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[-2:] == ["kick", "run"]
    assert "temperature 0.1, the training's own" in text
    first = out.read_bytes()
    assert main([*words, "--out", str(out), "--json"]) == 0
    assert out.read_bytes() == first
    report = json.loads(capsys.readouterr().out)
    assert (report["data"]["split"], report["labels"]) == ("train", ["kick", "run"])
    assert main([*words, "--out", str(out), "loss.temperature=1"]) == 0
    captured = capsys.readouterr()
    assert "temperature 1, the training's is 0.1" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "a,b"], "--labels goes with --picture CLIP"),
        (["--picture", "x", "--labels", "a,b"], "needs --labels 'sit down,stand up' and --out FILE.png"),
        (["--picture", "x", "--labels", "a,b", "--out", "a.json"], "and --out FILE.png or FILE.svg"),
        (["--picture", "x", "--labels", "a,b", "--out", "a.svg"], "has no clip 'x'"),
        (["other.safetensors", "--picture", "x", "--labels", "a,b", "--out", "a.svg"], "no such file"),
        (["--pairs", "kick"], "--pairs 'kick' must be two labels"),
        (["--split", "validation"], "0 labels of split 'validation' have --min-spans 20 spans"),
        (["--split", "nope"], "no split 'nope'"),
        (["model.depth=3"], "model.depth belongs to the weights"),
    ],
)
def test_a_mistake_is_one_line(
    model: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["analyse", "probe", model, *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
