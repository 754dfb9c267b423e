"""``langpose infer`` and ``langpose label``, from a file of keypoints to what they leave."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from langpose_dist.cli.main import main
from langpose_dist.models.langpose import LangPose
from tests.corpus import tiny_config
from tests.exports import save_weights
from tests.inference.figures import standing

ALPHAPOSE = Path(__file__).parents[1] / "detections/files/alphapose_halpe26/one_person_numbered.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with random weights and a text side."""
    folder = tmp_path_factory.mktemp("model")
    config = tiny_config(folder)
    torch.manual_seed(0)
    path = folder / "model.safetensors"
    save_weights(path, LangPose(config, text_dim=384), config, {"fps": "10.0", "space": "camera"})
    return str(path)


@pytest.fixture
def keypoints(tmp_path: Path) -> str:
    np.save(tmp_path / "keypoints.npy", standing(40))
    return str(tmp_path / "keypoints.npy")


def test_everything_is_written_and_what_was_assumed_is_said(
    model: str, keypoints: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(40):
        Image.new("RGB", (1000, 900)).save(frames / f"frame_{number}.png")
    words = [
        "infer",
        keypoints,
        "--layout",
        "h36m17",
        "--model",
        model,
        "--fps",
        "30",
        "--out",
        str(tmp_path / "out"),
    ]
    words += ["--formats", "npz,json,trc,csv,html,gif", "--height", "1.8", "--focal-length", "1200"]
    assert main([*words, "--smooth", "0.3", "--overlay", str(frames)]) == 0
    output = capsys.readouterr().out
    assert "limb lengths of a person of 1.8 m, as stated" in output
    assert "lifted at 10 frames a second" in output
    assert "smoothed over 9 frames" in output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    endings = ("npz", "json", "trc", "csv", "gif")
    assert names == {*(f"person-0-frame-000000.{one}" for one in endings), "player.html", "overlay"}
    assert len(list((tmp_path / "out/overlay").iterdir())) == 40
    content = json.loads((tmp_path / "out/person-0-frame-000000.json").read_text())
    assert content["facts"]["size"] == [1000, 900]  # of the pictures
    assert content["facts"]["root"]["is_estimate"] is True
    assert content["facts"]["weights"]["weights_sha256"]
    assert len(content["frames"]) == 40


def test_a_real_detector_s_file_is_lifted(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["infer", str(ALPHAPOSE), "--model", model, "--fps", "30", "--out", str(tmp_path / "out")]
    assert main([*words, "--formats", "npz"]) == 0
    output = capsys.readouterr().out
    assert "from AlphaPose JSON (halpe26)" in output
    assert "of the keypoints are below confidence" in output
    (path,) = (tmp_path / "out").iterdir()
    with np.load(path) as file:
        assert len(file["poses_3d"]) == 149
        assert np.isfinite(file["poses_3d"]).all()


def test_labels_are_shown_over_time(
    model: str, keypoints: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        keypoints,
        "--layout",
        "h36m17",
        "--model",
        model,
        "--fps",
        "30",
        "--labels",
        "sit down,stand up,walk",
    ]
    assert main(["label", *words, "--every", "0.5"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[1].split()[-5:] == ["sit", "down", "stand", "up", "walk"]
    assert len(output) == 2 + 3  # 1.33 s
    assert sum(map(float, output[2].split()[-3:])) == pytest.approx(1, abs=0.015)
    assert main(["label", *words, "--json"]) == 0
    (person,) = json.loads(capsys.readouterr().out)["people"]
    assert [len(series) for series in person["probabilities"].values()] == [40, 40, 40]
    assert main(["infer", *words, "--out", str(tmp_path / "out"), "--formats", "npz", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clips"][0]["facts"]["labels"]["labels"] == ["sit down", "stand up", "walk"]
    with np.load(report["files"][0]) as file:
        np.testing.assert_allclose(file["labels"].sum(axis=1), np.ones(40), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x"], "add --fps, such as --fps 30"),
        (["--out", "x", "--fps", "30", "--normalise", "image"], "add --size, such as --size 1920x1080"),
        (["--out", "x", "--fps", "30", "--labels", "walk"], "two labels or more"),
        (["--out", "x", "--fps", "30", "--overlay", "nowhere"], "--overlay nowhere is no folder"),
        (["--out", "x", "--fps", "30", "--model", "nothing"], "nothing: no such file or run folder"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    model: str,
    keypoints: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["infer", keypoints, "--layout", "h36m17", "--model", model, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--formats", "npz,bvh"], "'bvh' is none of npz, json, trc, csv, html, gif, mp4"),
        (["--size", "1920"], "width and height in pixels, such as 1920x1080"),
        (["--height", "175"], "height in metres, 0.4 to 2.8"),
    ],
)
def test_a_word_out_of_range_names_it(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["infer", "a.json", "--model", "m", "--out", "x", *words])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
