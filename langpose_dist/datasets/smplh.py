"""The SMPL+H body: reading its official files, and the keypoints of posed bodies without their meshes.

Hands: AMASS gives the full rotation of every finger joint with nothing to be added. Its own reader, BodyModel
of human_body_prior, adds no mean hand, and where hands were not captured the files hold the mean hand itself.
In terms of smplx that is ``use_pca=False, flat_hand_mean=True``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.arrays import read_npy
from langpose_dist.datasets.pickles import load_npz
from langpose_dist.skeleton import H36M17

NUM_VERTICES = 6890
NUM_JOINTS = 52
NUM_POSE_FEATURES = (NUM_JOINTS - 1) * 9

FRAMES_AT_ONCE = 512
"""Fixed, as sums of another shape may be rounded otherwise."""

REMEDY = "download 'Extended SMPL+H' (smplh/GENDER/model.npz) from https://mano.is.tue.mpg.de"

_ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")


@dataclass(frozen=True, eq=False)
class BodyModel:
    """An SMPL+H model, checked. Metres; x to the body's left, y up, z forward."""

    path: Path
    template: Float64[np.ndarray, "6890 3"]
    shape_directions: Float64[np.ndarray, "6890 3 B"]
    """Displacement per unit of each shape parameter; 10 or 16 of them as a rule."""
    pose_directions: Float64[np.ndarray, "6890 3 459"]
    """Displacement per entry of the rotation matrices of joints 1 to 51, less the identity."""
    joint_regressor: Float64[np.ndarray, "52 6890"]
    """Joints at rest as weighted sums of the shaped vertices."""
    weights: Float64[np.ndarray, "6890 52"]
    """Share of each joint in the movement of a vertex."""
    parents: tuple[int, ...]
    """Index of each joint's parent, which comes before it; -1 for the pelvis."""


def load_body_model(path: Path) -> BodyModel:
    """Read an official SMPL+H file; nothing in it can run.

    Raises:
        DataError: If it cannot be read, is another body model, or does not hold what SMPL+H holds.
    """
    members = load_npz(path, free_bytes=NUM_VERTICES * 3 * 8 * NUM_POSE_FEATURES)  # which may be all 0
    numbers = {name: _numbers(path, members, name) for name in _ARRAYS}
    num_vertices, num_joints = len(numbers["v_template"]), numbers["kintree_table"].shape[-1]
    if (num_vertices, num_joints) != (NUM_VERTICES, NUM_JOINTS):
        raise DataError(
            f"{path} is a body model of {num_vertices} vertices and {num_joints} joints, not SMPL+H, "
            f"which has {NUM_VERTICES} and {NUM_JOINTS}; {REMEDY}"
        )
    num_betas = numbers["shapedirs"].shape[-1]
    for name, shape in {
        "v_template": (NUM_VERTICES, 3),
        "shapedirs": (NUM_VERTICES, 3, num_betas),
        "posedirs": (NUM_VERTICES, 3, NUM_POSE_FEATURES),
        "J_regressor": (NUM_JOINTS, NUM_VERTICES),
        "weights": (NUM_VERTICES, NUM_JOINTS),
        "kintree_table": (2, NUM_JOINTS),
    }.items():
        if numbers[name].shape != shape:
            raise DataError(f"{path}: {name} is {numbers[name].shape}, not {shape} as in SMPL+H; {REMEDY}")
        if not np.isfinite(numbers[name]).all():
            raise DataError(f"{path}: {name} holds NaN or infinity; copy the file again")
    return BodyModel(
        path=path,
        template=numbers["v_template"],
        shape_directions=numbers["shapedirs"],
        pose_directions=numbers["posedirs"],
        joint_regressor=numbers["J_regressor"],
        weights=numbers["weights"],
        parents=_parents(path, numbers["kintree_table"][0]),
    )


def find_body_models(folder: Path) -> dict[str, Path]:
    """Official model files by gender: ``GENDER/model.npz``.

    Args:
        folder: ``smplh``, which holds these, or the one above it.

    Raises:
        DataError: If there is none.
    """
    places = {gender: Path(gender) / "model.npz" for gender in ("male", "female", "neutral")}
    for parent in (folder / "smplh", folder):
        found = {gender: parent / place for gender, place in places.items() if (parent / place).is_file()}
        if found:
            return found
    raise DataError(
        f"no SMPL+H body model in {folder}: expected smplh/GENDER/model.npz, with male, female or neutral "
        f"for GENDER; {REMEDY}"
    )


def load_regressor(path: Path) -> Float64[np.ndarray, "17 6890"]:
    """Read the matrix that makes the keypoints of ``H36M17`` from the vertices, such as
    ``J_regressor_h36m_correct.npy``.

    Raises:
        DataError: If it is no npy file of such a matrix, or a keypoint is no weighted mean of vertices.
    """
    try:
        values = read_npy(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    expected = (H36M17.num_joints, NUM_VERTICES)
    if values.shape != expected or values.dtype.kind not in "iuf":
        raise DataError(
            f"{path} is {values.dtype} {values.shape}, not {expected}: one row for each joint of "
            f"{H36M17.name}, one column for each vertex of SMPL+H; use J_regressor_h36m_correct.npy"
        )
    regressor = values.astype(np.float64)
    if not np.isfinite(regressor).all():
        raise DataError(f"{path} holds NaN or infinity; copy it again")
    sums = regressor.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > 1e-2:
        raise DataError(
            f"{path}: the weights of {H36M17.joints[worst]} sum to {sums[worst]:.4g}, not to 1; "
            "use J_regressor_h36m_correct.npy"
        )
    return regressor


def check_joint_order(model: BodyModel, regressor: Float64[np.ndarray, "17 6890"]) -> None:
    """Check that a regressor's joints are where their names say, on the body at rest.

    Regressors of the same shape are about whose rows stand in another order; what they give would look like
    people and train nothing.

    Raises:
        DataError: If they are not.
    """
    at = dict(zip(H36M17.joints, regressor @ model.template, strict=True))
    limbs = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    if swapped := [limb for limb in limbs if at[f"left_{limb}"][0] <= at[f"right_{limb}"][0]]:
        raise DataError(
            f"left and right are exchanged in its rows of {', '.join(swapped)}; the legs are so in SPIN's "
            "J_regressor_h36m.npy"
        )
    heights = [at[name][1] for name in ("left_ankle", "left_knee", "pelvis", "thorax", "head")]
    if heights != sorted(heights):
        raise DataError("its rows are in another order: ankle, knee, pelvis, thorax and head do not rise")


class KeypointBody:
    """Keypoints of posed bodies, exactly those of the whole mesh without making it.

    A keypoint is a weighted sum over vertices v, and a posed vertex one over joints j of the transforms T_j:
    sum_v R[k, v] sum_j W[v, j] T_j p_v. The vertex at rest p_v is affine in shape and pose features, so the
    sum over v of R[k, v] W[v, j] p_v is taken here, once for each keypoint and joint, for the template and
    every direction of shape and pose. What a frame costs then depends on the pairs of keypoint and joint that
    have a common vertex (about 80 where a keypoint is made of few vertices, 884 at most), not on the number
    of vertices.

    Args:
        model: The body.
        regressor: Rows of weights, one for each keypoint of ``H36M17``.
    """

    def __init__(self, model: BodyModel, regressor: Float64[np.ndarray, "17 6890"]) -> None:
        self._path = model.path
        self._parents = model.parents
        self._joints = _product(model.joint_regressor, model.template)
        self._joint_directions = _fold(model.joint_regressor, model.shape_directions)
        self._sums = regressor.sum(axis=1)

        touched = np.flatnonzero(regressor.any(axis=0))
        products = regressor[:, None, touched] * model.weights[touched].T  # keypoint, joint, vertex
        keypoints, joints = np.nonzero(products.any(axis=2))
        folding = products[keypoints, joints]
        self._pair_joints = joints
        self._pair_ranges = np.searchsorted(keypoints, np.arange(len(regressor) + 1))
        self._masses = folding.sum(axis=1)
        self._points = _product(folding, model.template[touched])
        self._shape = _fold(folding, model.shape_directions[touched])
        self._pose = _fold(folding, model.pose_directions[touched]).reshape(-1, NUM_POSE_FEATURES)

    @property
    def num_betas(self) -> int:
        """Shape directions of the body."""
        return self._shape.shape[-1]

    def keypoints(
        self,
        poses: Float[np.ndarray, "N 156"],
        trans: Float[np.ndarray, "N 3"],
        betas: Float[np.ndarray, "B"],
    ) -> Float64[np.ndarray, "N 17 3"]:
        """Keypoints of every frame; equal input gives equal bytes on one machine.

        Args:
            poses: Axis-angle of each joint relative to its parent, radians, as in AMASS.
            trans: Metres.
            betas: Shape of the body, at most 16 numbers; what is left out is 0.

        Returns:
            Joints of ``H36M17``, metres, in the axes of ``trans``.

        Raises:
            DataError: If there are more shape parameters than the model has.
        """
        num_betas = self._shape.shape[-1]
        if betas[num_betas:].any():
            raise DataError(
                f"too many betas: {len(betas)}, but {self._path} has {num_betas} shape directions; {REMEDY}"
            )
        betas = betas[:num_betas].astype(np.float64)
        joints = self._joints + self._joint_directions[..., : len(betas)] @ betas
        points = self._points + self._shape[..., : len(betas)] @ betas
        points -= self._masses[:, None] * joints[self._pair_joints]
        result = np.empty((len(poses), len(self._sums), 3))
        for start in range(0, len(poses), FRAMES_AT_ONCE):
            frames = slice(start, start + FRAMES_AT_ONCE)
            rotations = _rotations(poses[frames].astype(np.float64))
            offsets = _product(self._pose, _pose_features(rotations))
            offsets = offsets.reshape(len(points), 3, -1) + points[..., None]
            positions = self._follow_chains(rotations, joints)
            for keypoint in range(len(self._sums)):
                pairs = slice(*self._pair_ranges[keypoint : keypoint + 2])
                of_pairs = self._pair_joints[pairs]
                turned = np.einsum("jacn,jcn->na", rotations[of_pairs], offsets[pairs])
                result[frames, keypoint] = turned + np.einsum(
                    "j,jan->na", self._masses[pairs], positions[of_pairs]
                )
        return result + self._sums[:, None] * trans[:, None]

    def _follow_chains(
        self, rotations: Float64[np.ndarray, "52 3 3 N"], joints: Float64[np.ndarray, "52 3"]
    ) -> Float64[np.ndarray, "52 3 N"]:
        """Positions of the joints, and, in place, rotations of the parents' axes to the world's."""
        positions = np.empty((NUM_JOINTS, 3, rotations.shape[-1]))
        positions[0] = joints[0, :, None]
        for joint, parent in enumerate(self._parents[1:], 1):
            turn = rotations[parent]
            bone = joints[joint] - joints[parent]
            positions[joint] = positions[parent] + np.einsum("acn,c->an", turn, bone)
            rotations[joint] = np.einsum("abn,bcn->acn", turn, rotations[joint])
        return positions


def _fold(
    folding: Float64[np.ndarray, "P V"], directions: Float64[np.ndarray, "V 3 D"]
) -> Float64[np.ndarray, "P 3 D"]:
    sums = _product(folding, directions.reshape(len(directions), -1))
    return sums.reshape(len(folding), *directions.shape[1:])


def _product(a: Float64[np.ndarray, "M K"], b: Float64[np.ndarray, "K N"]) -> Float64[np.ndarray, "M N"]:
    """``a @ b``, on one thread: with more, the last bits may depend on their number, and numpy's do."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Copies, so that they always begin at the same alignment.
        return (torch.tensor(a) @ torch.tensor(b)).numpy()
    finally:
        torch.set_num_threads(num_threads)


def _rotations(poses: Float64[np.ndarray, "N 156"]) -> Float64[np.ndarray, "52 3 3 N"]:
    """Rotation matrices by Rodrigues' formula; frames last, so that every operation runs along them."""
    vectors = np.ascontiguousarray(poses.T).reshape(NUM_JOINTS, 3, -1)
    angles = np.sqrt((vectors**2).sum(axis=1))
    # np.sinc is sin(pi x) / (pi x): both factors stay exact towards no rotation.
    sine = np.sinc(angles / np.pi)
    versine = 0.5 * np.sinc(angles / (2 * np.pi)) ** 2
    rotations = (versine[:, None] * vectors)[:, :, None] * vectors[:, None]
    x, y, z = np.moveaxis(vectors * sine[:, None], 1, 0)
    for row, column, value in ((2, 1, x), (0, 2, y), (1, 0, z)):
        rotations[:, row, column] += value
        rotations[:, column, row] -= value
    for axis in range(3):
        rotations[:, axis, axis] += np.cos(angles)
    return rotations


def _pose_features(rotations: Float64[np.ndarray, "52 3 3 N"]) -> Float64[np.ndarray, "459 N"]:
    return (rotations[1:] - np.eye(3)[..., None]).reshape(NUM_POSE_FEATURES, -1)


def _numbers(path: Path, members: Mapping[str, Any], name: str) -> Float64[np.ndarray, "..."]:
    if name not in members:
        raise DataError(f"{path} has no {name}, so is no body model of the SMPL family; {REMEDY}")
    value = members[name]  # outside of what is caught: its own error says what is wrong
    try:
        return np.asarray(value).astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{path}: {name} is not an array of numbers; {REMEDY}") from None


def _parents(path: Path, row: Float64[np.ndarray, "52"]) -> tuple[int, ...]:
    """The root's entry is -1, in some files as unsigned; it is not looked at."""
    parents = (-1, *(int(parent) for parent in row[1:]))
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise DataError(f"{path}: kintree_table does not name each joint's parent before it; {REMEDY}")
    return parents
