"""Official layouts to a body, and its keypoints against those of smplx's whole mesh."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smplx
import torch
from jaxtyping import Float64
from smplx.utils import Struct

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.smplh import (
    FRAMES_AT_ONCE,
    KeypointBody,
    find_body_models,
    load_body_model,
    load_regressor,
)
from langpose_dist.skeleton import H36M17

NUM_VERTICES, NUM_JOINTS = 6890, 52
Body = dict[str, Any]


class SMPLH16(smplx.SMPLH):
    SHAPE_SPACE_DIM = 16  # else smplx takes 10 shape parameters without a word


def whole_mesh_keypoints(
    body: Body, regressor: np.ndarray, poses: np.ndarray, trans: np.ndarray, betas: np.ndarray
) -> np.ndarray:
    model = SMPLH16(
        "", data_struct=Struct(**body), num_betas=16, use_pca=False, flat_hand_mean=True, dtype=torch.float64
    )
    names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
    parts = dict(zip(names, torch.tensor(poses).split((3, 63, 45, 45), dim=1), strict=True))
    shapes = torch.tensor(betas).expand(len(poses), -1)
    with torch.no_grad():
        vertices = model(betas=shapes, transl=torch.tensor(trans), **parts).vertices
    return np.einsum("kv,nvc->nkc", regressor, vertices.numpy())


@pytest.fixture(scope="module")
def body() -> Body:
    """A cloud of points in the official layout: every number is random, so nothing may be mixed up."""
    rng = np.random.default_rng(0)
    parents = np.array(
        [2**32 - 1, *(rng.integers(max(0, joint - 4), joint) for joint in range(1, NUM_JOINTS))]
    )
    weights = rng.random((NUM_VERTICES, NUM_JOINTS)) * (rng.random((NUM_VERTICES, NUM_JOINTS)) < 0.08)
    weights[:, 0] += 0.1
    return {
        "v_template": rng.normal(size=(NUM_VERTICES, 3)),
        "shapedirs": rng.normal(size=(NUM_VERTICES, 3, 16)) * 0.02,
        "posedirs": rng.standard_normal((NUM_VERTICES, 3, 459), np.float32) * 0.005,
        "J_regressor": rng.dirichlet(np.full(NUM_VERTICES, 0.01), NUM_JOINTS),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.stack((parents, np.arange(NUM_JOINTS))).astype(np.uint32),
        "f": rng.integers(0, NUM_VERTICES, (13776, 3)).astype(np.uint32),
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": np.ones(45),
        "hands_meanr": np.ones(45),
    }


@pytest.fixture(scope="module")
def small(body: Body) -> Body:
    """The same without directions of pose, for a file that is small once compressed."""
    return body | {"posedirs": np.zeros((NUM_VERTICES, 3, 459), np.float16)}


@pytest.fixture(scope="module")
def path(body: Body, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("smplh") / "model.npz"
    np.savez(path, **body)
    return path


def make_regressor(num_vertices: int, seed: int = 1) -> Float64[np.ndarray, "17 6890"]:
    """Random weights, some negative as in published ones, on so many vertices for each keypoint."""
    rng = np.random.default_rng(seed)
    regressor = np.zeros((H36M17.num_joints, NUM_VERTICES))
    for row in regressor:
        row[rng.choice(NUM_VERTICES, num_vertices, replace=False)] = rng.random(num_vertices) - 0.1
    return regressor / regressor.sum(axis=1, keepdims=True)


def make_motion(num_frames: int, seed: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_frames, 156)), rng.normal(size=(num_frames, 3)) * 3, rng.normal(size=16)


@pytest.mark.parametrize("num_vertices", [1, 30, NUM_VERTICES])
def test_keypoints_are_those_of_the_whole_mesh(body: Body, path: Path, num_vertices: int) -> None:
    regressor = make_regressor(num_vertices)
    poses, trans, betas = make_motion(12)
    poses[0] = 0
    poses[1] *= 1e-9
    keypoints = KeypointBody(load_body_model(path), regressor).keypoints(poses, trans, betas)
    expected = whole_mesh_keypoints(body, regressor, poses, trans, betas)
    np.testing.assert_allclose(keypoints, expected, atol=1e-6)


def test_a_long_clip_is_the_sum_of_its_frames(path: Path) -> None:
    moving = KeypointBody(load_body_model(path), make_regressor(10))
    poses, trans, betas = make_motion(FRAMES_AT_ONCE + 3)
    keypoints = moving.keypoints(poses, trans, betas)
    for frame in (0, FRAMES_AT_ONCE - 1, FRAMES_AT_ONCE, FRAMES_AT_ONCE + 2):
        alone = moving.keypoints(poses[frame : frame + 1], trans[frame : frame + 1], betas)
        np.testing.assert_allclose(alone[0], keypoints[frame], atol=1e-12)
    assert moving.keypoints(poses[:0], trans[:0], betas).shape == (0, 17, 3)


def test_the_number_of_threads_changes_no_byte(path: Path, tmp_path: Path) -> None:
    # Some libraries read the variable once, when they are loaded.
    script = tmp_path / "keypoints.py"
    script.write_text(
        "import hashlib, pathlib, sys\n"
        "import numpy as np\n"
        "from langpose_dist.datasets.smplh import KeypointBody, load_body_model\n"
        "regressor, poses, trans, betas = (np.load(f'{name}.npy') for name in 'abcd')\n"
        "body = KeypointBody(load_body_model(pathlib.Path(sys.argv[1])), regressor)\n"
        "print(hashlib.sha256(body.keypoints(poses, trans, betas).tobytes()).hexdigest())\n"
    )
    for name, values in zip("abcd", (make_regressor(300), *make_motion(FRAMES_AT_ONCE + 100)), strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    hashes = set()
    for num_threads in ("1", "2"):
        environment = os.environ | {"OMP_NUM_THREADS": num_threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run(
            [sys.executable, script, path],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        hashes.add(result.stdout)
    assert len(hashes) == 1
    assert len(hashes.pop()) == 65


def test_the_number_of_threads_is_left_alone(path: Path) -> None:
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        KeypointBody(load_body_model(path), make_regressor(1)).keypoints(*make_motion(2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(num_threads)


def test_single_precision_input_and_fewer_betas(path: Path) -> None:
    moving = KeypointBody(load_body_model(path), make_regressor(10))
    poses, trans, betas = make_motion(5)
    shorter = moving.keypoints(poses, trans, betas[:10])
    filled = np.concatenate((betas[:10], np.zeros(6)))
    np.testing.assert_allclose(shorter, moving.keypoints(poses, trans, filled), atol=1e-12)
    assert np.abs(shorter - moving.keypoints(poses, trans, betas)).max() > 1e-3
    single = moving.keypoints(poses.astype(np.float32), trans.astype(np.float32), betas.astype(np.float32))
    np.testing.assert_allclose(single, moving.keypoints(poses, trans, betas), atol=1e-5)


def test_a_body_of_ten_betas_refuses_sixteen(small: Body, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "model.npz", **small | {"shapedirs": small["shapedirs"][..., :10]})
    moving = KeypointBody(load_body_model(tmp_path / "model.npz"), make_regressor(10))
    poses, trans, betas = make_motion(5)
    with pytest.raises(DataError, match=r"too many betas: 16, but .*model.npz has 10 .*Extended SMPL\+H"):
        moving.keypoints(poses, trans, betas)
    betas[10:] = 0
    np.testing.assert_array_equal(
        moving.keypoints(poses, trans, betas), moving.keypoints(poses, trans, betas[:10])
    )


def change(**members: Any) -> Callable[[Body], Body]:
    return lambda body: body | members


def remove(name: str) -> Callable[[Body], Body]:
    return lambda body: {key: value for key, value in body.items() if key != name}


def relative(num_vertices: int, num_joints: int) -> Callable[[Body], Body]:
    return change(
        v_template=np.zeros((num_vertices, 3)), kintree_table=np.zeros((2, num_joints)), posedirs=np.zeros(1)
    )


LOOP = np.stack((np.r_[-1, 0, 1, 3, np.zeros(48)], np.arange(52)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (relative(6890, 24), r"is a body model of 6890 vertices and 24 joints, not SMPL\+H"),
        (relative(10475, 55), r"is a body model of 10475 vertices and 55 joints"),
        (remove("weights"), r"model\.npz has no weights, so is no body model"),
        (change(J_regressor=np.zeros((52, 9))), r"J_regressor is \(52, 9\), not \(52, 6890\)"),
        (change(shapedirs=np.zeros((6890, 16))), r"shapedirs is \(6890, 16\)"),
        (change(weights=np.full((6890, 52), np.nan)), r"weights holds NaN"),
        (change(v_template=np.array(["a"])), r"v_template is not an array of numbers"),
        (change(kintree_table=LOOP), r"kintree_table does not name each joint's parent"),
    ],
)
def test_what_is_not_smplh_is_named(
    small: Body, tmp_path: Path, change: Callable[[Body], Body], message: str
) -> None:
    np.savez_compressed(tmp_path / "model.npz", **change(small))
    with pytest.raises(DataError, match=message):
        load_body_model(tmp_path / "model.npz")


def test_an_npz_with_a_payload_is_refused(small: Body, tmp_path: Path) -> None:
    payload = np.array([Payload(tmp_path / "executed")], dtype=object)
    members: dict[str, Any] = small | {"weights": payload}
    np.savez_compressed(tmp_path / "model.npz", **members)
    with pytest.raises(DataError, match="nothing in it was executed"):
        load_body_model(tmp_path / "model.npz")
    assert not (tmp_path / "executed").exists()


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "expected",
    [
        {"male": "smplh/male/model.npz", "female": "smplh/female/model.npz"},
        {"male": "male/model.npz", "neutral": "neutral/model.npz"},
    ],
)
def test_body_models_are_found(tmp_path: Path, expected: dict[str, str]) -> None:
    for name in (*expected.values(), "models/MANO_LEFT.pkl", "male/info.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_body_models(tmp_path) == {gender: tmp_path / name for gender, name in expected.items()}


def test_a_folder_without_body_models(tmp_path: Path) -> None:
    (tmp_path / "smplx").mkdir()
    (tmp_path / "smplx/SMPLX_MALE.npz").touch()
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=r"no SMPL\+H body model in .*expected smplh/GENDER/model\.npz"):
            find_body_models(folder)


def test_a_regressor_comes_back(tmp_path: Path) -> None:
    regressor = make_regressor(20).astype(np.float32)
    np.save(tmp_path / "J_regressor.npy", regressor)
    np.testing.assert_array_equal(load_regressor(tmp_path / "J_regressor.npy"), regressor)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((14, 6890)), r"is float64 \(14, 6890\), not \(17, 6890\)"),
        (np.zeros((17, 10475)), r"\(17, 10475\)"),
        (np.zeros((24, 6890)), r"\(24, 6890\)"),
        (np.full((17, 6890), np.nan), r"holds NaN"),
        (np.full((17, 6890), 1.02 / 6890), r"the weights of pelvis sum to 1\.02, not to 1"),
        (np.full((17, 6890), "a"), r"wrong type: <U1"),
        (np.array([{}], dtype=object), r"not a whole npy file of numbers"),
    ],
)
def test_what_is_no_regressor_is_named(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "J_regressor.npy", values)
    with pytest.raises(DataError, match=message):
        load_regressor(tmp_path / "J_regressor.npy")


def test_a_regressor_that_is_no_npy_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: No such file"):
        load_regressor(tmp_path / "J_regressor.npy")
    (tmp_path / "J_regressor.npy").write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    with pytest.raises(DataError, match=r"not a whole npy file of numbers"):
        load_regressor(tmp_path / "J_regressor.npy")
    assert not (tmp_path / "executed").exists()
