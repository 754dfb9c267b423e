"""``langpose analyse recognise`` and ``retrieve`` from the command line."""

import json
from pathlib import Path

import pytest
import torch

from langpose_dist.cli.main import main
from langpose_dist.config import ModelConfig
from langpose_dist.models.dstformer import DSTformer
from tests.analysis.labelled import save_labelled


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_labelled(tmp_path_factory.mktemp("model"))


def test_recognise(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["analyse", "recognise", model, "--classes", "labels", "--out", str(tmp_path / "r.json")]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "model"
    names = [f"{model}, text, own", "random encoder, linear, own", "random encoder, linear, mean"]
    names += [f"{model}, linear, own", f"{model}, linear, mean", "chance", "most frequent", "ceiling"]
    assert [line.split("  ")[0] for line in lines[1:9]] == names
    assert "top-1, any class" not in lines[0]  # every chunk has one class
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["data"]["samples_of_class"] == {"kick": 7, "wave left hand": 5, "wave right hand": 5}
    assert report["models"][model]["step"] == 7
    assert report["models"]["random encoder"]["shape_of"] == model
    assert len(report["commit"]) == 40
    assert report["data"]["fingerprint"] == report["train"]["fingerprint"]
    assert main([*words, "--method", "text", "--json"]) == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["text"]


def test_motionberts_weights_have_a_row(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = DSTformer(ModelConfig(dim=8, dim_representation=8, depth=1, num_heads=8), num_frames=9)
    torch.save({"model_pos": encoder.state_dict()}, tmp_path / "MB.bin")
    other = str(tmp_path / "MB.bin")
    words = ["analyse", "recognise", other, "--classes", "labels", "--json"]
    assert main([*words, f"data.path={Path(model).parent}"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["features"]) for row in report["rows"]] == [
        ("random encoder", "mean"),
        (other, "mean"),
    ]
    assert report["notes"] == [f"{other} has no text side: no row of method text"]
    assert report["models"][other]["trained_by"] == "MotionBERT"


def test_retrieve(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "retrieve", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:4] for line in lines[1:3]] == [
        ["all", "(17)", "text"],
        ["all", "(17)", "motion"],
    ]
    assert lines[-1] == "17 pairs are too few for small_batches"
    assert main(["analyse", "retrieve", model, "--query", "Somebody kicks.", "--top", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (found,) = report["queries"]
    assert (found["query"], len(found["hits"])) == ("Somebody kicks.", 2)
    assert main(["analyse", "retrieve", model, "--query", "a", "--query", "b", "--top", "2"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert [text[0].split()[0], text[4].split()[0]] == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["recognise", "{model}"],
            "the training split has 5 clips and 1 of the 60 classes, too few for a linear probe",
        ),
        (
            ["recognise", "{model}", "--classes", "babel60"],
            "--classes babel60 is none of babel-60, babel-120",
        ),
        (["recognise", "{model}", "--classes", "labels", "--split", "nope"], "no split 'nope'"),
        (["recognise", "nothing"], "no such file"),
        (["retrieve", "{model}", "--query", " "], "--query ' ' is no text"),
        (["retrieve", "{model}", "--query", "a", "loss.contrastive=none"], "belongs to the weights"),
    ],
)
def test_a_mistake_is_one_line(
    model: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["analyse", *(word.format(model=model) for word in words)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
