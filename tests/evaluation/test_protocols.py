"""Protocols on generated data of the licensed layouts, against counts and means worked out by hand."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from langpose_dist.batch import WindowBatch
from langpose_dist.cli.main import main
from langpose_dist.config import RunConfig, Space, UserError, build_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.datasets.pickles import load_npz, load_pickle
from langpose_dist.evaluation.comparison import compare, score_all
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.measure import measure
from langpose_dist.evaluation.protocols import PROTOCOLS, find_protocol
from langpose_dist.evaluation.recordings import protocol_config, read_recordings
from langpose_dist.geometry import observe
from langpose_dist.synthesis.human36m import write_human36m
from langpose_dist.synthesis.mpi_inf_3dhp import write_mpi_inf_3dhp
from tests.corpus import build_corpus, tiny_config

T = 27
WRONG_BY = 0.012
"""Error of the made-up model along z, in its space's unit, in every joint but the pelvis."""
ORIGIN = {"commit": "0" * 40, "commit_dirty": "false"}


class Oracle(nn.Module):
    """Knows nothing of 3D: answers zeros, plus a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
        poses = torch.zeros_like(keypoints_2d)
        poses[..., 1:, 2] = WRONG_BY
        return poses


def contender(space: Space, num_frames: int = T, **facts: Any) -> Contender:
    return Contender(
        facts.pop("name", "zeros"),
        Oracle(),
        space,
        num_frames,
        None,
        None,
        {"checkpoint_chosen_on": "nothing"},
    )


@pytest.fixture(scope="module")
def h36m(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("h36m")
    write_human36m(folder / "raw", subjects=("S1", "S9", "S11"), frames=32)
    for name, options in {
        "sh": ["--input", str(folder / "raw/h36m_sh_conf_cam_source_final.pkl")],
        "cpn": ["--input", str(folder / "raw/data_3d_h36m.npz"), "--detections", "cpn_ft_h36m_dbb"],
    }.items():
        assert main(["data", "build", "human36m", *options, "--out", str(folder / name)]) == 0
    return folder


def evaluated(path: Path, name: str, **changes: Any) -> dict[str, Any]:
    protocol = PROTOCOLS[name]
    base = build_config({"data": {"path": str(path)}, "noise": {"num_keyframes": 3}, **changes})
    config = protocol_config(base, protocol, protocol.split)
    scored, corpus = score_all([contender(protocol.space)], protocol, config)
    return compare(scored, protocol, corpus, ORIGIN)


def rows(folder: Path, split: str) -> dict[str, list[int]]:
    """Source -> its rows in MotionBERT's table."""
    table = load_pickle(folder / "raw/h36m_sh_conf_cam_source_final.pkl")[split]
    found = defaultdict(list)
    for row, source in enumerate(table["source"]):
        found[str(source)].append(row)
    return found


def test_motionberts_rules_by_hand(h36m: Path) -> None:
    """Windows, dropped tails, stretched recordings, exclusions and both means, from the pickle alone."""
    table = load_pickle(h36m / "raw/h36m_sh_conf_cam_source_final.pkl")["test"]
    excluded = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
    errors: dict[str, list[float]] = defaultdict(list)
    for source, places in rows(h36m, "test").items():
        if source.startswith(excluded):
            continue
        length = len(places)
        counted = places[: length // T * T] if length >= T else places
        factor = np.array(table["2.5d_factor"])[counted]  # mm per pixel
        truth = np.array(table["joints_2.5d_image"])[counted]
        truth = truth - truth[:, :1]
        answer = np.zeros_like(truth)
        answer[:, 1:, 2] = WRONG_BY * 500  # pixels: half of a picture 1000 wide
        error = np.linalg.norm(answer * factor[:, None, None] - truth, axis=-1).mean(axis=-1)
        errors[source[5:11]] += error.tolist()
    report = evaluated(h36m / "sh", "motionbert")
    model = report["models"][0]
    assert len(errors) == len(model["actions"]) == 15
    assert model["num_frames"] == sum(map(len, errors.values()))
    by_action = [float(np.mean(values)) for values in errors.values()]
    everything = [value for values in errors.values() for value in values]
    assert model["action_mean"]["mpjpe_mm"] == pytest.approx(np.mean(by_action), abs=0.01)
    assert model["frame_mean"]["mpjpe_mm"] == pytest.approx(np.mean(everything), abs=0.01)
    assert abs(np.mean(by_action) - np.mean(everything)) > 0.02, "the two means differ"
    assert {key[:-9] for key in report["data"]["excluded"]["drifting"]} == {
        *("S9_greeting_2", "S9_sitting_down_2", "S9_waiting_1")
    }
    assert report["data"]["num_recordings"] == (2 * 15 * 2 - 3) * 4


def test_the_target_of_image_25d_is_motionberts(h36m: Path) -> None:
    """x, y and z in half image widths, and the factor, of every frame as the pickle has them."""
    table = load_pickle(h36m / "raw/h36m_sh_conf_cam_source_final.pkl")["test"]
    protocol = PROTOCOLS["motionbert"]
    base = build_config({"data": {"path": str(h36m / "sh")}})
    config = protocol_config(base, protocol, "test")
    recordings = {
        recording.entry.key: recording
        for recording in read_recordings(Corpus.open(config, has_labels=False), protocol, "test")
    }
    places = rows(h36m, "test")["s_11_act_02_subact_02_ca_01"]
    recording = recordings["S11_directions_2_54138969"]
    image = np.array(table["joint3d_image"])[places]
    expected = (image - image[:, :1]) / 500
    np.testing.assert_allclose(recording.poses_3d.numpy(), expected, atol=2e-4)
    factor = np.array(table["2.5d_factor"])[places]
    np.testing.assert_allclose(recording.metres.numpy(), factor * 500 / 1000, rtol=1e-4)


def test_videopose3d_counts_every_frame_of_every_recording(h36m: Path) -> None:
    report = evaluated(h36m / "cpn", "videopose3d")
    manifest = json.loads((h36m / "cpn/manifest.json").read_text())
    assert report["models"][0]["num_frames"] == manifest["splits"]["test"]["num_frames"]
    assert report["data"]["excluded"] == {}
    assert report["data"]["source_2d"] == "stored: cpn_ft_h36m_dbb"
    assert report["models"][0]["num_recordings"] == manifest["splits"]["test"]["num_samples"]


def test_cross_camera_tests_each_model_on_the_camera_that_it_never_saw(h36m: Path) -> None:
    protocol = PROTOCOLS["cross_camera"]
    path = str(h36m / "cpn")
    config = protocol_config(build_config({"data": {"path": path}}), protocol, "test")
    cameras = ("54138969", "55011271", "58860488", "60457274")
    contenders = []
    for camera in cameras:
        trained = build_config({"data": {"path": path, "held_out_camera": camera, "observation": "stored"}})
        corpus = Corpus.open(trained, has_labels=False)
        assert {window.entry.camera for window in corpus.training_set.windows} == {*cameras} - {camera}
        one = contender("camera", name=camera)
        contenders.append(Contender(**{**vars(one), "config": trained}))
    scored, corpus = score_all(contenders, protocol, config)
    report = compare(scored, protocol, corpus, ORIGIN)
    assert [model["camera"] for model in report["models"]] == list(cameras)
    assert all(score.key.endswith(one.camera or "") for one in scored for score in one.scores)
    means = [model["action_mean"]["mpjpe_mm"] for model in report["models"]]
    assert report["mean_over_cameras"]["mpjpe_mm"] == pytest.approx(np.mean(means))
    with pytest.raises(UserError, match="one model for each camera"):
        score_all([contenders[0], contenders[0]], protocol, config)
    with pytest.raises(UserError, match=r"left none out: train with data\.held_out_camera"):
        score_all([contender("camera")], protocol, config)


def test_3dhp_counts_valid_frames_by_sequence(tmp_path: Path) -> None:
    write_mpi_inf_3dhp(tmp_path / "raw", subjects=("S1", *(f"TS{n}" for n in range(1, 7))), frames=60)
    assert (
        main(
            [
                "data",
                "build",
                "mpi-inf-3dhp",
                "--input",
                str(tmp_path / "raw"),
                "--out",
                str(tmp_path / "shards"),
            ]
        )
        == 0
    )
    truth = load_npz(tmp_path / "raw/data_test_3dhp.npz")["data"].item()
    expected = {}
    for name, arrays in truth.items():
        valid = np.asarray(arrays["valid"]).reshape(-1) > 0
        poses = arrays["data_3d"][valid] - arrays["data_3d"][valid][:, 14:15]
        answer = np.zeros_like(poses)
        answer[:, [joint for joint in range(17) if joint != 14], 2] = WRONG_BY * 1000
        errors = np.linalg.norm(answer - poses, axis=-1)
        strict = [joint for joint in range(17) if joint not in (14, 15, 16)]
        expected[name.lower()] = (int(valid.sum()), errors.mean(), 100 * (errors[:, strict] < 150).mean())
    report = evaluated(tmp_path / "shards", "mpi_3dhp")
    model = report["models"][0]
    assert model["num_frames"] == sum(count for count, *_ in expected.values())
    for name, (_, error, share) in expected.items():
        assert model["sequences"][name]["mpjpe_mm"] == pytest.approx(error, abs=0.01)
        assert model["sequences"][name]["pck_3dhp"] == pytest.approx(share, abs=0.1)
    counts, errors = zip(*((count, error) for count, error, _ in expected.values()), strict=True)
    assert model["frame_mean"]["mpjpe_mm"] == pytest.approx(np.average(errors, weights=counts), abs=0.01)
    outdoor = [expected[name] for name in ("ts5", "ts6")]
    mean = np.average([error for _, error, _ in outdoor], weights=[count for count, *_ in outdoor])
    assert model["sets"]["outdoor"]["mpjpe_mm"] == pytest.approx(mean, abs=0.01)
    config = build_config({"data": {"path": str(tmp_path / "shards"), "observation": "stored"}})
    with pytest.raises(UserError, match="evaluate it by a protocol"):
        Corpus.open(config).windows("test", stride=27)


def test_what_a_protocol_cannot_take_is_refused(h36m: Path) -> None:
    protocol = PROTOCOLS["videopose3d"]

    def score(path: Path, one: Contender, **changes: Any) -> None:
        base = build_config({"data": {"path": str(path)}, **changes})
        score_all([one], protocol, protocol_config(base, protocol, "test"))

    with pytest.raises(UserError, match="predicts image_25d, --protocol videopose3d measures camera"):
        score(h36m / "cpn", contender("image_25d"))
    slow = Contender(**{**vars(contender("camera")), "fps": 30.0})
    with pytest.raises(UserError, match="trained at 30 frames per second, the data have 50"):
        score(h36m / "cpn", slow)
    with pytest.raises(UserError, match="did you mean 'videopose3d'"):
        find_protocol("videpose3d")


def test_measures_of_too_few_frames_are_left_out() -> None:
    poses = torch.zeros(3, 17, 3)
    found = measure(poses, poses, torch.tensor([True, True, False]), ("mpjpe_mm", "mpjve_mm", "accel_mm"))
    assert found == {"mpjpe_mm": (0.0, 2), "mpjve_mm": (0.0, 1)}
    one = torch.zeros(1, 17, 3)
    assert list(measure(one, one, torch.tensor([True]), ("mpjpe_mm", "mpjve_mm"))) == ["mpjpe_mm"]


def test_a_protocol_reads_data_its_own_way() -> None:
    base = RunConfig()
    config = protocol_config(base, PROTOCOLS["motionbert"], "test")
    assert (config.target.space, config.data.observation) == ("image_25d", "stored")
    assert config.camera == base.camera


def test_the_virtual_camera_shows_what_training_evaluates_as_noisy(tmp_path: Path) -> None:
    build_corpus(tmp_path)
    protocol = PROTOCOLS["virtual_camera"]
    config = protocol_config(tiny_config(tmp_path), protocol, "validation")
    corpus = Corpus.open(config, has_labels=False)
    seen = list(read_recordings(corpus, protocol, "validation"))
    windows = corpus.windows("validation", stride=config.window.num_frames)
    dataset = corpus.dataset(windows, Augmentation.evaluation("noisy"))
    assert len(seen) == len(windows) > corpus.manifest.splits["validation"].num_samples
    assert len({recording.name for recording in seen}) == len(seen)
    for number, recording in enumerate(seen):
        batch = dataset[[(EVALUATION_EPOCH, number)]]
        assert isinstance(batch, WindowBatch)
        expected = observe(batch, config.camera, config.noise)
        length = int(batch.frame_mask.sum())
        assert recording.keypoints_2d.equal(expected.keypoints_2d[0, :length])
        assert recording.poses_3d.equal(expected.poses_3d[0, :length])
    contenders = [contender("camera", num_frames) for num_frames in (9, 27)]
    with pytest.raises(UserError, match="windows of 9 and 27 frames"):
        score_all(contenders, protocol, config)
