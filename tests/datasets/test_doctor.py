"""What ``langpose data doctor`` says of made-up downloads in the official layouts, right and wrong."""

import json
import pickle
import shlex
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langpose_dist.cli.main import main
from langpose_dist.datasets.amass.recognise import NUM_OPENED
from langpose_dist.synthesis.corpus import synthesize

Report = dict[str, Any]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "synthetic"
    synthesize(folder, hours=0.01, seed=1)
    return folder


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], tuple[int, Report]]:
    """The exit status and the report on a folder."""

    def run(folder: Path) -> tuple[int, Report]:
        capsys.readouterr()
        status = main(["data", "doctor", str(folder), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


Ask = Callable[[Path], tuple[int, Report]]


def only(report: Report, name: str) -> Mapping[str, Any]:
    (finding,) = [finding for finding in report["findings"] if finding["name"] == name]
    return finding


def text_of(finding: Mapping[str, Any]) -> str:
    return " ".join([*finding["problems"], *finding["advice"]])


def motion(path: Path, num_frames: int = 60, **changes: Any) -> None:
    """A motion file; what is changed to ``None`` is left out."""
    arrays: dict[str, Any] = {
        "poses": np.zeros((num_frames, 156)),
        "trans": np.zeros((num_frames, 3)),
        "betas": np.zeros(16),
        "gender": np.array("male"),
        "mocap_framerate": np.array(120.0),
    }
    arrays.update(changes)
    kept: dict[str, Any] = {name: values for name, values in arrays.items() if values is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **kept)


def babel(folder: Path, *paths: str) -> None:
    entries = {
        str(number): {
            "babel_sid": number,
            "feat_p": path,
            "dur": 0.5,
            "seq_ann": {"labels": [{"raw_label": "walking", "proc_label": "walk", "act_cat": ["walk"]}]},
            "frame_ann": None,
        }
        for number, path in enumerate(paths)
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text(json.dumps(entries))


def add_body(folder: Path, corpus: Path) -> None:
    """Links to the corpus' body and regressor beside what is in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "smplh").symlink_to(corpus / "smplh")
    (folder / "J_regressor_h36m_correct.npy").symlink_to(corpus / "J_regressor_h36m_correct.npy")


@pytest.mark.parametrize("place", [".", ".."], ids=["the corpus", "one level above"])
def test_what_it_prints_for_a_synthetic_corpus_really_builds(
    place: str, corpus: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, report = ask(corpus / place)
    assert status == 0
    amass = only(report, "amass")
    assert amass["variant"] == "synthetic"
    assert amass["ready"]
    assert amass["problems"] == []
    (command,) = amass["commands"]
    words = shlex.split(command)
    assert words[0] == "langpose"
    assert main(words[1:]) == 0
    manifest = json.loads((tmp_path / words[-1] / "manifest.json").read_bytes())
    clips = {name: split["num_samples"] for name, split in manifest["splits"].items()}
    assert amass["facts"]["build"] == clips


def test_the_command_on_the_terminal_is_the_one_in_the_json(
    corpus: Path, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = ask(corpus)
    main(["data", "doctor", str(corpus)])
    printed = capsys.readouterr().out
    (line,) = [part for part in printed.splitlines() if "data build amass" in part]
    assert shlex.split(line.partition("-> ")[2]) == shlex.split(only(report, "amass")["commands"][0])


def test_amass_with_babel_and_body(tmp_path: Path, corpus: Path, ask: Ask) -> None:
    amass = tmp_path / "amass"
    motion(amass / "CMU" / "01" / "01_01_poses.npz", 240, dmpls=np.zeros((240, 8)))
    motion(amass / "CMU" / "01" / "01_02_poses.npz", 60)
    motion(amass / "MPI_HDM05" / "bk" / "HDM_bk_01_poses.npz", 60, mocap_framerate=None)
    np.savez(amass / "CMU" / "01" / "shape.npz", betas=np.zeros(16))
    babel(tmp_path / "babel", "CMU/CMU/01/01_01_poses.npz", "KIT/KIT/3/kick_poses.npz")
    add_body(tmp_path, corpus)
    status, report = ask(tmp_path)
    assert status == 0
    finding = only(report, "amass")
    facts = finding["facts"]
    assert finding["path"] == str(amass)
    assert facts["motions"] == 3
    assert facts["opened"] == {"SMPL+H": 2, "no frame rate": 1}
    assert facts["build"] == {"train": 3}
    assert "1 of 3 opened files: HDM_bk_01_poses.npz: no frame rate" in text_of(finding)
    assert facts["skipped"] == {"annotation without a motion file": 1}


def test_amass_without_a_body_says_what_to_download(tmp_path: Path, ask: Ask) -> None:
    motion(tmp_path / "CMU" / "01" / "01_01_poses.npz")
    status, report = ask(tmp_path / "CMU")
    assert status == 2
    finding = only(report, "amass")
    assert finding["commands"] == []
    for needed in (
        "https://mano.is.tue.mpg.de",
        "J_regressor_h36m_correct.npy",
        "https://babel.is.tue.mpg.de",
    ):
        assert needed in text_of(finding)


def test_smplx_motions_are_the_wrong_download(tmp_path: Path, corpus: Path, ask: Ask) -> None:
    motion(
        tmp_path / "amass" / "CMU" / "01" / "01_01_stageii.npz",
        poses=np.zeros((60, 165)),
        surface_model_type=np.array("smplx"),
    )
    np.savez(tmp_path / "amass" / "CMU" / "01" / "neutral_stagei.npz", betas=np.zeros(16))
    add_body(tmp_path, corpus)
    status, report = ask(tmp_path)
    assert status == 2
    finding = only(report, "amass")
    assert finding["facts"]["opened"] == {"SMPL-X motion": 1}
    assert finding["facts"]["motions"] == 1
    assert "'SMPL+H G' from https://amass.is.tue.mpg.de" in text_of(finding)


def test_a_damaged_motion_is_counted(tmp_path: Path, ask: Ask) -> None:
    motion(tmp_path / "CMU" / "01" / "01_01_poses.npz")
    whole = (tmp_path / "CMU" / "01" / "01_01_poses.npz").read_bytes()
    (tmp_path / "CMU" / "01" / "01_02_poses.npz").write_bytes(whole[: len(whole) // 2])
    finding = only(ask(tmp_path)[1], "amass")
    assert finding["facts"]["opened"] == {"SMPL+H": 1, "unreadable file": 1}


def walk_of(num_joints: int) -> np.ndarray:
    """A standing HumanML3D figure, y up, of which only the shape matters for another number of joints."""
    joints = np.zeros((20, num_joints, 3))
    joints[..., 1] = 1.0
    joints[:, [7, 8, 10, 11], 1] = 0.0
    joints[:, [10, 11], 2] = 0.15
    joints[:, [1, 4, 7, 10], 0] = 0.1
    joints[:, [2, 5, 8, 11], 0] = -0.1
    joints[:, 15, 1] = 1.6
    return joints


@pytest.mark.parametrize("inside", [".", "new_joints", ".."])
def test_humanml3d_from_whichever_level(inside: str, tmp_path: Path, ask: Ask) -> None:
    folder = tmp_path / "HumanML3D"
    for name in ("new_joints", "texts"):
        (folder / name).mkdir(parents=True)
    for name in ("000000", "000001", "M000000"):
        np.save(folder / "new_joints" / f"{name}.npy", walk_of(22))
    for name in ("000000", "000001"):
        (folder / "texts" / f"{name}.txt").write_text("a man stands#a/DET#0.0#0.0\n")
    for name, ids in (("train", "000000\nM000000\n"), ("val", ""), ("test", "000001\n")):
        (folder / f"{name}.txt").write_text(ids)
    status, report = ask(folder / inside)
    assert status == 0
    finding = only(report, "humanml3d")
    assert Path(finding["path"]).resolve() == folder
    assert finding["facts"]["build"] == {"train": 2, "test": 1}


def test_humanml3d_before_its_preparation(tmp_path: Path, ask: Ask) -> None:
    folder = tmp_path / "HumanML3D"
    folder.mkdir()
    (folder / "texts.zip").write_bytes(b"packed")
    (folder / "train.txt").write_text("000000\n")
    status, report = ask(tmp_path)
    assert status == 2
    finding = only(report, "humanml3d")
    assert finding["variant"] == "unfinished preparation"
    assert "https://github.com/EricGuo5513/HumanML3D" in text_of(finding)


def test_kit_ml_with_features_only(tmp_path: Path, ask: Ask) -> None:
    for name in ("texts", "new_joint_vecs"):
        (tmp_path / "KIT-ML" / name).mkdir(parents=True)
    (tmp_path / "KIT-ML" / "texts" / "00001.txt").write_text("a person walks#a/DET#0.0#0.0\n")
    np.save(tmp_path / "KIT-ML" / "new_joint_vecs" / "00001.npy", np.zeros((10, 251)))
    status, report = ask(tmp_path)
    assert status == 2
    assert "new_joint_vecs hold no positions" in text_of(only(report, "kit-ml"))


def test_mpi_inf_3dhp_half_of_it(tmp_path: Path, ask: Ask) -> None:
    view = {"data_3d": np.zeros((10, 17, 3)), "data_2d": np.zeros((10, 17, 2))}
    data: Any = {"S1 Seq1": [{"0": view, "1": view}, 25]}
    np.savez(tmp_path / "data_train_3dhp.npz", data=np.array(data, dtype=object))
    status, report = ask(tmp_path)
    assert status == 0
    finding = only(report, "mpi-inf-3dhp")
    assert finding["facts"]["build"] == {"train": 2}
    assert finding["problems"] == ["data_test_3dhp.npz is missing; the other can be used without it"]


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (["S1/Seq1/annot.mat"], "P-STMO"),
        (["S1/MyPoseFeatures/D3_Positions/Directions.cdf"], "DATASETS.md"),
        (["data_2d_h36m_gt.npz"], "data_3d_h36m.npz is missing"),
    ],
)
def test_what_needs_preparation_first(names: list[str], advice: str, tmp_path: Path, ask: Ask) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    status, report = ask(tmp_path)
    assert status == 2
    (finding,) = report["findings"]
    assert advice in text_of(finding)


def test_nothing_in_a_pickle_runs(tmp_path: Path, ask: Ask) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    content = pickle.dumps({"v_template": Payload(), "data": Payload()})
    (tmp_path / "h36m_sh_conf_cam_source_final.pkl").write_bytes(content)
    for name in ("data_train_3dhp.npz", "smplh/male/model.npz", "CMU/01/01_poses.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / name, allow_pickle=True, data=np.array(Payload()), poses=np.array(Payload()))
    np.save(tmp_path / "J_regressor_h36m_correct.npy", np.array(Payload()))
    status, report = ask(tmp_path)
    assert status == 2
    assert {finding["name"] for finding in report["findings"]} == {"amass", "human36m", "mpi-inf-3dhp"}
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("place", [".", "motion3d/MB3D_f243s81/AMASS/train"])
def test_motionbert_s_windows(place: str, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "motion3d" / "MB3D_f243s81"
    for name in ("AMASS/train", "AMASS/test"):
        (root / name).mkdir(parents=True)
        content = {"data_input": None, "data_label": np.zeros((243, 17, 3), np.float32)}
        (root / name / "00000000.pkl").write_bytes(pickle.dumps(content))
    monkeypatch.chdir(tmp_path / place)
    status, report = ask(Path())
    assert status == 0
    finding = only(report, "motionbert")
    assert finding["variant"] == "MB3D_f243s81"
    assert finding["facts"]["build"] == ({"train": 1, "test": 1} if place == "." else {"train": 1})


def test_bvh_files_known_and_unknown(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "bandai").mkdir()
    (tmp_path / "bandai" / "dataset-1_walk_happy_001.bvh").write_text("HIERARCHY\n")
    assert ask(tmp_path / "bandai")[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "take1.bvh").write_text("HIERARCHY\n")
    status, report = ask(tmp_path / "mine")
    assert status == 2
    assert "YAML" in text_of(only(report, "bvh"))
    known, unknown = ask(tmp_path)[1]["findings"]
    assert known["ready"]
    assert not unknown["ready"]


def human36m(folder: Path, *detections: str) -> None:
    """Two recordings in the layout of VideoPose3D."""
    folder.mkdir(parents=True)
    poses = np.random.default_rng(0).normal(size=(6, 32, 3))
    recordings: Any = {"S1": {"Eating": poses}, "S11": {"Walking 1": poses}}
    np.savez(folder / "data_3d_h36m.npz", positions_3d=np.array(recordings, dtype=object))
    views: Any = {
        subject: {name: [np.full((6, 17, 2), 500.0)] * 4 for name in actions}
        for subject, actions in recordings.items()
    }
    metadata: Any = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": SIDES}
    for name in detections:
        np.savez(
            folder / f"data_2d_h36m_{name}.npz",
            positions_2d=np.array(views, dtype=object),
            metadata=np.array(metadata, dtype=object),
        )


SIDES = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]


def test_human36m_twice_is_built_twice(tmp_path: Path, ask: Ask) -> None:
    human36m(tmp_path / "one", "gt", "cpn_ft_h36m_dbb")
    human36m(tmp_path / "two")
    status, report = ask(tmp_path)
    assert status == 0
    first, second = report["findings"]
    assert first["facts"]["build"] == {"train": 4, "test": 4}  # for each camera
    assert "--detections cpn_ft_h36m_dbb" in first["commands"][0]
    assert second["facts"]["build"] == {"train": 1, "test": 1}
    assert "no 2D detections" in text_of(second)
    assert first["commands"][0].split()[-1] != second["commands"][0].split()[-1]


def test_of_many_motions_some_all_over_are_opened(tmp_path: Path, ask: Ask) -> None:
    for number in range(2 * NUM_OPENED):
        # Every other of the even numbers in the first half, and all of the second half, lack a rate.
        rate = {"mocap_framerate": None} if number % 4 == 2 or number >= NUM_OPENED else {}
        motion(tmp_path / "CMU" / "01" / f"{number:03d}_poses.npz", 2, **rate)
    facts = only(ask(tmp_path)[1], "amass")["facts"]
    assert facts["motions"] == 2 * NUM_OPENED
    assert facts["opened"] == {"SMPL+H": NUM_OPENED // 4, "no frame rate": NUM_OPENED // 4 * 3}


def test_nothing_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "numbers.npz", "w"):
        pass
    assert main(["data", "doctor", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "2 .jpg, 1 .npz" in captured.out
    assert "amass: SUBSET/SUBJECT/NAME_poses.npz" in captured.out
    assert captured.err == f"langpose: {tmp_path}: nothing was recognised\n"


def test_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "doctor", str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().err == f"langpose: error: {tmp_path / 'missing'} does not exist\n"
