"""The procedural body: a person, in the official layout, whose keypoints are where they should be."""

from pathlib import Path

import numpy as np
import pytest
import smplx
import torch
from jaxtyping import Float64

from langpose_dist.datasets.smplh import (
    BodyModel,
    KeypointBody,
    find_body_models,
    load_body_model,
    load_regressor,
)
from langpose_dist.skeleton import H36M17, swap_sides
from langpose_dist.synthesis.body import (
    body_model,
    keypoint_regressor,
    pose_keypoints,
    shaped_rest_joints,
)
from langpose_dist.synthesis.figure import JOINTS, PARENTS, pose_joints, rest_joints, to_matrices

GENDERS = ("neutral", "male", "female")
REGRESSOR = "regressor.npy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("body")
    for gender in GENDERS:
        (folder / "smplh" / gender).mkdir(parents=True)
        np.savez(folder / "smplh" / gender / "model.npz", allow_pickle=False, **body_model(gender))
    np.save(folder / REGRESSOR, keypoint_regressor())
    return folder


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, BodyModel]:
    return {gender: load_body_model(path) for gender, path in find_body_models(folder).items()}


@pytest.fixture(scope="module")
def faces(folder: Path) -> np.ndarray:
    with np.load(folder / "smplh/neutral/model.npz", allow_pickle=False) as members:
        return members["f"].astype(np.int64)


def shape_vertices(model: BodyModel, betas: np.ndarray) -> Float64[np.ndarray, "6890 3"]:
    return model.template + model.shape_directions @ betas


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """In litres, positive where faces are seen counter-clockwise from outside."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6 * 1000)


def bend(joint: str, rotation: tuple[float, float, float]) -> np.ndarray:
    poses = np.zeros((1, len(JOINTS), 3))
    poses[0, JOINTS.index(joint)] = rotation
    return poses.reshape(1, -1)


def intended_keypoints(poses: np.ndarray, trans: np.ndarray) -> Float64[np.ndarray, "T 17 3"]:
    """Keypoints of the neutral, unshaped body from its joints and two points of its head, without a mesh."""
    joints = pose_joints(poses, trans)
    turns = to_matrices(poses.reshape(len(poses), -1, 3))
    for joint, parent in enumerate(PARENTS[1:], 1):
        turns[:, joint] = turns[:, parent] @ turns[:, joint]
    places = {name: joints[:, index] for index, name in enumerate(JOINTS)}
    head, turn = places["head"], turns[:, JOINTS.index("head")]
    nose, skull = head + turn @ [0.0, 0.034, 0.016], head + turn @ [0.0, 0.115, 0.0]
    places |= {
        "pelvis": (places["left_hip"] + places["right_hip"]) / 2,
        "spine": 0.3 * places["spine1"] + 0.7 * places["spine2"],
        "thorax": places["neck"],
        "neck": nose,
        "head": 1.5 * skull - 0.5 * nose,
    }
    return np.stack([places[name] for name in H36M17.joints], axis=1)


def test_all_genders_are_there(models: dict[str, BodyModel]) -> None:
    assert set(models) == set(GENDERS)
    for model in models.values():
        assert model.shape_directions.shape == (6890, 3, 16)


def test_the_joints_at_rest_are_the_figures(models: dict[str, BodyModel]) -> None:
    joints = models["neutral"].joint_regressor @ models["neutral"].template
    np.testing.assert_allclose(joints, rest_joints(), atol=1e-9)


def test_weights_are_shares(models: dict[str, BodyModel]) -> None:
    weights = models["neutral"].weights
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights.max(axis=0) == 1).all()  # every joint moves some vertex alone
    assert ((weights > 0.1) & (weights < 0.9)).any(axis=0).all()


def test_the_surface_is_closed_and_faces_look_outward(
    models: dict[str, BodyModel], faces: np.ndarray
) -> None:
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = np.sort(edges[:, 0] * 10_000 + edges[:, 1])
    assert (np.diff(forward) > 0).all()
    np.testing.assert_array_equal(forward, np.sort(edges[:, 1] * 10_000 + edges[:, 0]))
    assert np.array_equal(np.unique(faces), np.arange(6890))
    assert 55 < volume(models["neutral"].template, faces) < 85


def test_left_and_right_are_mirror_images(models: dict[str, BodyModel]) -> None:
    template = models["neutral"].template
    points = {tuple(point) for point in np.round(template, 6).tolist()}
    mirrored = {tuple(point) for point in np.round(template * (-1, 1, 1), 6).tolist()}
    # Rings around the middle begin at its left, so their points lie on their mirror images too.
    assert points == mirrored
    left = models["neutral"].weights[:, JOINTS.index("left_wrist")] > 0
    assert (template[left, 0] > 0.4).all()


def test_men_are_taller_and_broader_than_women(models: dict[str, BodyModel]) -> None:
    shoulders = [JOINTS.index(f"{side}_shoulder") for side in ("left", "right")]
    heights, widths = {}, {}
    for gender, model in models.items():
        heights[gender] = np.ptp(model.template[:, 1])
        left, right = (model.joint_regressor @ model.template)[shoulders]
        widths[gender] = left[0] - right[0]
    assert 1.55 < heights["female"] < heights["neutral"] < heights["male"] < 1.9
    assert widths["female"] < 0.95 * widths["neutral"] < 0.95 * 0.95 * widths["male"]


def test_the_first_beta_is_height(models: dict[str, BodyModel]) -> None:
    model = models["neutral"]
    joints = model.joint_regressor @ shape_vertices(model, np.eye(16)[0])
    np.testing.assert_allclose(joints, 1.035 * rest_joints(), atol=1e-9)


@pytest.mark.parametrize("gender", GENDERS)
def test_three_units_of_any_beta_leave_a_person(
    models: dict[str, BodyModel], faces: np.ndarray, gender: str
) -> None:
    model = models[gender]
    for number in range(16):
        assert np.abs(model.shape_directions[..., number]).max() > 5e-4
        for size in (-3.0, 3.0):
            vertices = shape_vertices(model, size * np.eye(16)[number])
            assert 1.4 < np.ptp(vertices[:, 1]) < 2.05
            assert 40 < volume(vertices, faces) < 125


def test_joints_of_a_shape_are_those_that_readers_find(models: dict[str, BodyModel]) -> None:
    betas = np.random.default_rng(0).normal(size=16)
    for gender, model in models.items():
        joints = model.joint_regressor @ shape_vertices(model, betas)
        np.testing.assert_allclose(shaped_rest_joints(gender, betas), joints, atol=1e-12)


def test_the_regressor_is_sparse(folder: Path) -> None:
    regressor = load_regressor(folder / REGRESSOR)
    np.testing.assert_allclose(regressor.sum(axis=1), 1)
    assert np.count_nonzero(regressor.any(axis=0)) < 500


def test_keypoints_at_rest(folder: Path, models: dict[str, BodyModel]) -> None:
    body = KeypointBody(models["neutral"], load_regressor(folder / REGRESSOR))
    trans = np.array([[1.0, 2.0, 3.0]])
    (keypoints,) = body.keypoints(np.zeros((1, 156)), trans, np.zeros(16)) - trans
    expected = {
        "pelvis": (0, -0.085, 0),
        "right_hip": (-0.085, -0.085, 0),
        "left_ankle": (0.1, -0.885, -0.025),
        "spine": (0, 0.206, -0.013),  # 0.3 of 0.115 and 0.7 of 0.245
        "thorax": (0, 0.51, -0.03),
        "neck": (0, 0.629, 0.026),
        "head": (0, 0.7505, 0.002),  # the nose is at 0.034, 0.016 of the head, the skull at 0.115, 0
        "left_wrist": (0.7, 0.455, -0.04),
        "right_wrist": (-0.7, 0.455, -0.04),
    }
    for joint, position in expected.items():
        np.testing.assert_allclose(keypoints[H36M17.index(joint)], position, atol=1e-6, err_msg=joint)


def test_keypoints_of_bent_bodies_are_within_a_millimetre(folder: Path, models: dict[str, BodyModel]) -> None:
    rng = np.random.default_rng(0)
    poses, trans = rng.normal(size=(100, 156)) * 0.7, rng.normal(size=(100, 3))
    body = KeypointBody(models["neutral"], load_regressor(folder / REGRESSOR))
    keypoints = body.keypoints(poses, trans, np.zeros(16))
    np.testing.assert_allclose(keypoints, intended_keypoints(poses, trans), atol=1e-3)


@pytest.mark.parametrize(
    ("joint", "moved"),
    [
        ("right_elbow", ["right_wrist"]),
        ("right_shoulder", ["right_elbow", "right_wrist"]),
        ("left_knee", ["left_ankle"]),
        ("head", ["neck", "head"]),
    ],
)
def test_a_bent_joint_moves_what_hangs_on_it(
    folder: Path, models: dict[str, BodyModel], joint: str, moved: list[str]
) -> None:
    body = KeypointBody(models["neutral"], load_regressor(folder / REGRESSOR))
    bent, rest = (
        body.keypoints(poses, np.zeros((1, 3)), np.zeros(16))[0]
        for poses in (bend(joint, (0.6, 0.0, 1.0)), np.zeros((1, 156)))
    )
    changed = np.abs(bent - rest).max(axis=1) > 1e-6
    assert [H36M17.joints[index] for index in np.flatnonzero(changed)] == sorted(moved, key=H36M17.index)


def test_turns_go_the_way_they_should() -> None:
    (rest,) = intended_keypoints(np.zeros((1, 156)), np.zeros((1, 3)))
    # About z, by the right hand: the right arm, which points to -x, goes down; about x the face goes down.
    (lowered,) = intended_keypoints(bend("right_elbow", (0, 0, np.pi / 2)), np.zeros((1, 3)))
    wrist, elbow = H36M17.index("right_wrist"), H36M17.index("right_elbow")
    np.testing.assert_allclose(lowered[wrist] - lowered[elbow], (0, -0.255, 0), atol=1e-9)
    (nodding,) = intended_keypoints(bend("head", (0.5, 0, 0)), np.zeros((1, 3)))
    crown = H36M17.index("head")
    assert nodding[crown, 2] > rest[crown, 2] + 0.05
    assert nodding[crown, 1] < rest[crown, 1]


def test_the_fast_path_and_smplx_agree(folder: Path, models: dict[str, BodyModel]) -> None:
    class SMPLH16(smplx.SMPLH):
        SHAPE_SPACE_DIM = 16

    rng = np.random.default_rng(1)
    poses, trans, betas = rng.normal(size=(8, 156)) * 0.7, rng.normal(size=(8, 3)), rng.normal(size=16)
    regressor = load_regressor(folder / REGRESSOR)
    for gender, model in models.items():
        mesh = SMPLH16(
            str(model.path), ext="npz", num_betas=16, use_pca=False, flat_hand_mean=True, dtype=torch.float64
        )
        root, body, left, right = torch.tensor(poses).split((3, 63, 45, 45), dim=1)
        with torch.no_grad():
            output = mesh(
                betas=torch.tensor(betas).expand(8, -1),
                global_orient=root,
                body_pose=body,
                left_hand_pose=left,
                right_hand_pose=right,
                transl=torch.tensor(trans),
            )
        expected = np.einsum("kv,nvc->nkc", regressor, output.vertices.numpy())
        keypoints = KeypointBody(model, regressor).keypoints(poses, trans, betas)
        np.testing.assert_allclose(keypoints, expected, atol=1e-6, err_msg=gender)
        joints = output.joints.numpy()
        for name in ("right_wrist", "left_ankle", "left_shoulder"):
            index, other = H36M17.index(name), H36M17.index(swap_sides(name))
            np.testing.assert_allclose(keypoints[:, index], joints[:, JOINTS.index(name)], atol=1e-6)
            assert np.abs(keypoints[:, other] - joints[:, JOINTS.index(name)]).max() > 0.05


@pytest.mark.parametrize("gender", GENDERS)
def test_keypoints_without_a_mesh_are_those_of_the_mesh(
    folder: Path, models: dict[str, BodyModel], gender: str
) -> None:
    rng = np.random.default_rng(2)
    poses, trans, betas = rng.normal(size=(5, 156)) * 0.7, rng.normal(size=(5, 3)), rng.normal(size=16)
    expected = KeypointBody(models[gender], load_regressor(folder / REGRESSOR)).keypoints(poses, trans, betas)
    np.testing.assert_allclose(pose_keypoints(gender, betas, poses, trans), expected, atol=1e-6)
