"""``langpose infer`` and ``langpose label``, from a file of keypoints to what they leave."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from langpose_dist.cli.main import main
from langpose_dist.models.langpose import LangPose
from langpose_dist.tracking.registry import weights
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
    assert output[0] == f"person 0 from NumPy array (h36m17), 30 frames a second, by {model}"
    assert output[1] == "layout h36m17: as asked for"
    assert output[3].split()[-5:] == ["sit", "down", "stand", "up", "walk"]
    assert len(output) == 4 + 3  # 1.33 s
    assert sum(map(float, output[4].split()[-3:])) == pytest.approx(1, abs=0.015)
    assert main(["label", *words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    (person,) = content["people"]
    facts = content["facts"]
    assert (facts["detector"], facts["layout"], facts["detections"]["chosen"]) == (
        "NumPy array",
        "h36m17",
        ["0"],
    )
    assert facts["detections"]["share_dropped"] == 0
    assert facts["weights"]["reference"] == model
    assert [len(series) for series in person["probabilities"].values()] == [40, 40, 40]
    assert main(["infer", *words, "--out", str(tmp_path / "out"), "--formats", "npz", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clips"][0]["facts"]["labels"]["labels"] == ["sit down", "stand up", "walk"]
    with np.load(report["files"][0]) as file:
        np.testing.assert_allclose(file["labels"].sum(axis=1), np.ones(40), atol=1e-5)


def test_labels_that_the_encoder_does_not_know_are_named(
    model: str, keypoints: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "infer",
        keypoints,
        "--layout",
        "h36m17",
        "--model",
        model,
        "--fps",
        "30",
        "--formats",
        "npz",
        "--json",
    ]
    assert main([*words, "--labels", "walk,龘", "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    assert "note: 1 of 2 labels hold no word that text.encoder=" in output.err
    (note,) = json.loads(output.out)["clips"][0]["facts"]["labels"]["notes"]
    assert note in output.err


def test_the_version_of_a_registered_model_is_a_fact(
    model: str,
    keypoints: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = SimpleNamespace(name="small", version=3, run_id="abc")
    monkeypatch.setattr(weights, "find_model", lambda name, uri: (Path(model), version))
    words = [keypoints, "--layout", "h36m17", "--model", "models:/small@champion", "--fps", "30", "--json"]
    assert main(["infer", *words, "--out", str(tmp_path / "out"), "--formats", "npz"]) == 0
    infer = json.loads(capsys.readouterr().out)["clips"][0]["facts"]["weights"]
    assert main(["label", *words, "--labels", "walk,run"]) == 0
    label = json.loads(capsys.readouterr().out)["facts"]["weights"]
    expected = {
        "reference": "models:/small@champion",
        "registered_name": "small",
        "version": 3,
        "run_id": "abc",
    }
    for found in (infer, label):
        assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("words", [["--size", "900x1000"], []])
def test_pictures_of_another_video_are_refused(
    words: list[str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size: dict[str, Any] = {} if words else {"size": [900, 1000]}
    np.savez(tmp_path / "keypoints.npz", keypoints=standing(1), **size)
    (tmp_path / "frames").mkdir()
    Image.new("RGB", (1000, 900)).save(tmp_path / "frames/0.png")
    words = [str(tmp_path / "keypoints.npz"), *words, "--overlay", str(tmp_path / "frames"), "--out", "x"]
    assert main(["infer", *words, "--layout", "h36m17", "--model", model, "--fps", "30"]) == 2
    error = capsys.readouterr().err
    assert "the pictures of --overlay are 1000x900, " in error
    assert " says 900x1000; give the frames of the video" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("command", [["infer", "--out", "x"], ["label", "--labels", "walk,run"]])
def test_a_gpu_that_is_not_there_is_named(
    command: list[str], model: str, keypoints: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [keypoints, "--layout", "h36m17", "--model", model, "--fps", "30"]
    assert main([*command, *words, "--device", "cuda"]) == 2
    assert "--device cuda: PyTorch finds no GPU here; --device cpu or auto" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x", "--label-model", "runs/pretrained"], "--label-model needs --labels"),
        (["--out", "x"], "add --fps, such as --fps 30"),
        (["--out", "x", "--fps", "30", "--normalise", "image"], "add --size, such as --size 1920x1080"),
        (["--out", "x", "--fps", "30", "--labels", "walk"], "two labels or more"),
        (["--out", "x", "--fps", "30", "--overlay", "nowhere"], "--overlay nowhere is no folder"),
        (["--out", ".", "--fps", "30", "--overlay", "overlay"], "overlay is where the drawings go"),
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
    (tmp_path / "overlay").mkdir()
    assert main(["infer", keypoints, "--layout", "h36m17", "--model", model, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob("*.npz"))


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
