"""``langpose evaluate`` of a captioner."""

import json
from pathlib import Path

import pytest
import torch

from langpose_dist.cli.main import main
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.tasks.caption import CaptionTask
from tests.analysis.labelled import save_labelled
from tests.captions import build_captions, caption_config


def test_it_prints_nats_and_writes_captions_beside_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_captions(tmp_path / "shards")
    config = caption_config(tmp_path / "shards")
    torch.manual_seed(0)
    task = CaptionTask.build(config, CaptionTask.open(config))
    path = tmp_path / "model.safetensors"
    write_weights(path, task.model.state_dict(), weights_header(task.header(), config, {"fps": "30.0"}))
    words = ["evaluate", str(path), "--out", str(tmp_path / "report.json")]
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


def test_an_evaluator_is_read_before_anything_is_decoded_and_not_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(tmp_path / "model"), "--evaluator", str(tmp_path / "none.safetensors")]
    assert main(words) == 2
    assert "none.safetensors cannot be read" in capsys.readouterr().err
    assert main([*words, "--protocol", "virtual_camera"]) == 2
    assert "evaluators judge captions" in capsys.readouterr().err
    untrained = save_labelled(tmp_path, loss={"contrastive": "none"})
    words = ["evaluate", str(tmp_path / "model"), "--self-evaluator", untrained]
    assert main(words) == 2
    assert "has no text side" in capsys.readouterr().err
    words = ["evaluate", str(tmp_path / "model"), "--published-evaluator", str(tmp_path)]
    assert main(words) == 2
    assert "--published-evaluator FOLDER and --motions FOLDER need each other" in capsys.readouterr().err
    assert main([*words, "--motions", str(tmp_path)]) == 2
    assert "has no finest.tar, a file of the published evaluator" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["caption-evaluator", str(tmp_path), "--out", str(tmp_path), "--seeds", "-1"])
    assert "'-1' must be a whole number from 0" in capsys.readouterr().err
