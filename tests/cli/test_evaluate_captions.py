"""``langpose evaluate`` of a captioner."""

import json
from pathlib import Path

import pytest
import torch

from langpose_dist.cli.main import main
from langpose_dist.evaluation.caption_evaluator import CaptionEvaluator
from langpose_dist.host.atomic import hash_file
from langpose_dist.models.matcher import CaptionMatcher
from langpose_dist.models.text import TextEncoder
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.tasks.caption import CaptionTask
from tests.analysis.labelled import save_labelled
from tests.captions import build_captions, caption_config


@pytest.fixture
def captioner(tmp_path: Path) -> str:
    """A captioner of random weights, its data beside it."""
    build_captions(tmp_path / "shards", train_clips=34)
    config = caption_config(tmp_path / "shards", caption={"too_long": "crop"})
    torch.manual_seed(0)
    task = CaptionTask.build(config, CaptionTask.open(config))
    path = tmp_path / "captioner.safetensors"
    write_weights(path, task.model.state_dict(), weights_header(task.header(), config, {"fps": "30.0"}))
    return str(path)


def test_it_prints_nats_and_writes_captions_beside_the_report(
    captioner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", captioner, "--out", str(tmp_path / "report.json")]
    assert main([*words, "caption.max_generated=3"]) == 0
    output = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert f"{report['conditions']['clean']['nats_per_word']:.3f}" in output
    assert "mean pose" not in output
    assert report["text_form"] == "words"
    lines = [json.loads(line) for line in (tmp_path / "report-captions.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert max(len(line["generated"].split()) for line in lines) <= 3
    assert main([*words, "caption.text_form=raw"]) == 2
    assert "caption.text_form belongs to the weights" in capsys.readouterr().err


def test_captions_that_cannot_be_scored_are_written(
    captioner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", captioner, "--out", str(tmp_path / "report.json"), "data.train_split=other"]
    assert main([*words, "caption.max_generated=3"]) == 2
    assert "split 'other'" in capsys.readouterr().err
    assert len((tmp_path / "report-captions.jsonl").read_text().splitlines()) == 6


def test_the_table_has_r_precision_and_says_what_was_cut(
    captioner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"format": "langpose caption evaluator 1", "dataset": "made-up", "fingerprint": "f", "seed": 5}
    file = tmp_path / "evaluator.safetensors"
    untrained = CaptionMatcher.seeded(384, seed=0)
    CaptionEvaluator(untrained, TextEncoder.__new__(TextEncoder), facts).save(file)
    words = ["evaluate", captioner, "data.validation_split=train", "caption.max_generated=3"]
    assert main([*words, "--evaluator", str(file), "--out", str(tmp_path / "report.json")]) == 0
    output = capsys.readouterr().out
    found = json.loads((tmp_path / "report.json").read_text())["captions"]
    assert [one["sha256"] for one in found["evaluators"]] == [hash_file(file)]
    judged = {row["name"]: row["metrics"].get("r_precision_at_3") for row in found["rows"]}
    assert judged["model"]["by_evaluator"] == [judged["model"]["value"]]
    assert judged["random training caption"]["value"] > 0
    assert [one["value"] for name, one in judged.items() if name.startswith("constant")] == [0, 0]
    assert f"R-precision by {hash_file(file)[:12]}, made-up f, seed 5: real captions" in output
    condition, cut, _ = output.splitlines()[-3:]
    assert condition == "captions of clean joints_3d"
    # Motions of 20 to 53 frames, windows of 40.
    assert cut.startswith("13 of 34 captioned motions of split 'train' are cut to their first frames")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--evaluator", "none.safetensors"], "none.safetensors cannot be read"),
        (["--self-evaluator", "none"], "none: no such file or run folder"),
        (["--self-evaluator", "untrained/model.safetensors"], "has no trained pooling"),
        (["--self-evaluator", "slow/model.safetensors"], "at 10 frames per second, the data have 30"),
        (["--published-evaluator", "."], "--published-evaluator FOLDER and --motions FOLDER need each other"),
        (["--published-evaluator", ".", "--motions", "."], ". has no finest.tar, a file of the published"),
    ],
)
def test_an_evaluator_that_cannot_judge_is_named_before_anything_is_decoded(
    options: list[str],
    message: str,
    captioner: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_labelled(tmp_path / "untrained", fps=30.0, loss={"contrastive": "none"})
    save_labelled(tmp_path / "slow")
    monkeypatch.setattr("langpose_dist.train.evaluate_weights.evaluate_weights", None)
    assert main(["evaluate", captioner, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_evaluators_are_not_ignored(
    captioner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--evaluator", str(tmp_path / "none.safetensors")]
    assert main(["evaluate", captioner, *words, "--protocol", "virtual_camera"]) == 2
    assert "evaluators judge captions, which no --protocol measures" in capsys.readouterr().err
    assert main(["evaluate", save_labelled(tmp_path / "pretrained"), *words]) == 2
    assert "evaluators judge captions, task=pretrain writes none" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["caption-evaluator", str(tmp_path), "--out", str(tmp_path), "--seeds", "-1"])
    assert "'-1' must be a whole number from 0" in capsys.readouterr().err
