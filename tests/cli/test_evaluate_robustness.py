"""``langpose evaluate --robustness`` and ``--visibility`` from the command line."""

import json
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from langpose_dist.data.corpus import Corpus
from langpose_dist.evaluation.corruption_table import CORRUPTIONS
from langpose_dist.tasks.pretrain import PretrainTask
from tests.corpus import build_corpus, tiny_config
from tests.exports import save_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # DeepSpeed's, when it is imported


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models, a protocol and a split."""
    folder = tmp_path_factory.mktemp("models")
    build_corpus(folder / "shards")
    for seed in (0, 1):
        config = tiny_config(folder / "shards", folder).model_copy(update={"seed": seed})
        task = PretrainTask.build(config, Corpus.open(config))
        save_weights(folder / f"{seed}.safetensors", task.model, config, {})
    models = [str(folder / f"{seed}.safetensors") for seed in (0, 1)]
    return ["evaluate", *models, "--protocol", "virtual_camera", "--split", "validation"]


def test_curves_go_into_report_text_and_picture(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--robustness", "noise_px/told", "low_fps", "noise.jitter_std=0", "--visibility"]
    assert main([*words, "--out", str(tmp_path / "report.json"), *options]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    curves = report["robustness"]["curves"]
    assert [curve["corruption"] for curve in curves] == ["noise_px", "low_fps", "low_fps"]
    assert [len(curve["improvements"]) for curve in curves] == [1, 1, 1]
    assert len(report["visibility"]["models"]) == 2
    assert (tmp_path / "report-robustness.png").read_bytes().startswith(b"\x89PNG")
    captured = capsys.readouterr()
    assert "report-robustness.png" in captured.err
    assert "robustness (version 1): MPJPE (mm)" in captured.out
    assert "visibility: MPJPE (mm)" in captured.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--robustness", "nois_px"], "did you mean 'noise_px'"),
        (["--robustness", "noise_px", "runs/small"], "--robustness runs/small is unknown"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*words, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--robustness", "--visibility"])
def test_both_need_a_protocol(words: list[str], capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main([*words[:2], option]) == 2
    assert f"{option} needs --protocol NAME" in capsys.readouterr().err


def test_help_lists_every_corruption(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    out = capsys.readouterr().out
    assert all(key in out for key in CORRUPTIONS)
