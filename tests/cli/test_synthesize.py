"""From nothing to shards, as a user without any data types it."""

import json
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.cli.main import main
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.shards import ShardReader
from langpose_dist.skeleton import H36M17

HOURS = "0.02"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    assert main(["data", "synthesize", "--out", str(folder), "--hours", HOURS, "--seed", "3"]) == 0
    return folder


def build(corpus: Path, out: Path, *options: str) -> int:
    return main(
        [
            *("data", "build", "amass", "--input", str(corpus / "amass"), "--out", str(out)),
            *("--babel", str(corpus / "babel"), "--smplh", str(corpus / "smplh")),
            *("--regressor", str(corpus / "J_regressor_h36m_correct.npy"), *options),
        ]
    )


def test_the_builder_reads_what_was_synthesized(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(corpus, tmp_path / "shards", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["skipped"]["total"] == 0
    record = json.loads((corpus / "synthesis.json").read_text())
    hours = sum(split["hours"] for split in summary["splits"].values())
    assert hours == pytest.approx(record["num_seconds"] / 3600, rel=0.02)
    assert summary["build"]["body_models"].keys() == {"neutral", "female", "male"}
    assert main(["data", "verify", str(tmp_path / "shards")]) == 0


@pytest.mark.dist
def test_workers_with_other_threads_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    assert build(corpus, tmp_path / "here", "--shard-size", "1") == 0
    assert build(corpus, tmp_path / "on_ray", "--shard-size", "1", "--workers", "2") == 0
    here, on_ray = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "on_ray")
    )
    assert len(here) > 3
    assert here == on_ray


def test_the_people_in_the_shards_stand_on_the_floor(corpus: Path, tmp_path: Path) -> None:
    assert build(corpus, tmp_path) == 0
    manifest = Manifest.load(tmp_path)
    reader = ShardReader(manifest, tmp_path)
    ankles = [H36M17.index("left_ankle"), H36M17.index("right_ankle")]
    hips, head = H36M17.index("pelvis"), H36M17.index("head")
    for index in range(len(manifest.shards)):
        for sample in reader.iter_samples(index):
            lower = sample.poses_3d[:, ankles, 2].min(axis=1)
            # An ankle is 5 to 13 cm above the floor, more on tiptoe and in a jump.
            assert np.median(lower) == pytest.approx(0.09, abs=0.04), sample.key
            assert lower.min() > 0.03
            assert (sample.poses_3d[0, [hips, head], 2] > (0.3, 0.9)).all()


def test_a_gender_s_missing_model_is_named_before_anything_is_read(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "smplh" / "male"
    models.mkdir(parents=True)
    (models / "model.npz").write_bytes((corpus / "smplh" / "male" / "model.npz").read_bytes())
    assert build(corpus, tmp_path / "out", "--smplh", str(models.parent)) == 2
    assert "female" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_regressor_with_left_and_right_exchanged_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regressor = np.load(corpus / "J_regressor_h36m_correct.npy")
    legs = [
        H36M17.index(f"{side}_{joint}") for joint in ("hip", "knee", "ankle") for side in ("left", "right")
    ]
    regressor[legs] = regressor[[H36M17.mirror[leg] for leg in legs]]
    np.save(tmp_path / "swapped.npy", regressor)
    assert build(corpus, tmp_path / "out", "--regressor", str(tmp_path / "swapped.npy")) == 2
    assert "exchanged in its rows of hip, knee, ankle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_corpus_is_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "synthesize", "--out", str(corpus), "--hours", HOURS]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_human36m_is_made_recognised_and_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "h36m"
    options = ("--layout", "human36m", "--subjects", "S5", "--frames", "20", "--seed", "1")
    assert main(["data", "synthesize", "--out", str(folder), *options]) == 0
    text = capsys.readouterr().out
    # Videos of sitting that last longer than the 3D, in both takes.
    assert "30 recordings of S5, 656 frames, seed 1\n  awkward on purpose: 2, listed in" in text
    assert f"build human36m --input {folder}/h36m_sh_conf_cam_source_final.pkl" in text
    assert main(["data", "doctor", str(folder), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["name"] for finding in findings] == ["human36m", "human36m"]
    command = ["data", "build", "human36m", "--input", str(folder / "data_3d_h36m.npz"), "--json"]
    assert main([*command, "--detections", "gt", "--out", str(tmp_path / "out")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["skipped"]["total"], summary["splits"]["train"]["clips"]) == (0, 120)


def test_mpi_inf_3dhp_is_made_and_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "3dhp"
    options = ("--layout", "mpi_inf_3dhp", "--subjects", "S4", "TS5", "--frames", "30", "--json")
    assert main(["data", "synthesize", "--out", str(folder), *options]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["num_recordings"], record["num_frames"]) == (3, 30 + 30 + 20)
    out = str(tmp_path / "out")
    assert main(["data", "build", "mpi-inf-3dhp", "--input", str(folder), "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["test"]["clips"] == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--frames", "50"], "--frames is no option of --layout amass; give --hours"),
        (
            ["--layout", "human36m", "--hours", "1"],
            "--hours is no option of --layout human36m; give --frames",
        ),
        (["--layout", "human36m", "--subjects", "S2"], "subjects S2: choose some of S1, S5"),
    ],
)
def test_options_of_another_layout_are_refused(
    tmp_path: Path, options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synthesize", "--out", str(tmp_path / "x"), *options]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("option", ["--hours=0", "--hours=inf", "--seed=-1", "--seed=x"])
def test_numbers_that_make_no_corpus_are_refused(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "synthesize", "--out", str(tmp_path / "x"), option])
    assert caught.value.code == 2
    assert "must be a" in capsys.readouterr().err
