"""Where in the room a person is: an estimate, from where the joints of its figure are in the picture."""

import numpy as np
from jaxtyping import Float

from langpose_dist.config import UserError
from langpose_dist.detections.people import extent

_MIN_JOINTS = 4
_MIN_EXTENT_PX = 1.0


def estimate_root(
    poses: Float[np.ndarray, "T 17 3"],
    keypoints: Float[np.ndarray, "T 17 3"],
    size: tuple[int, int],
    focal_length: float,
) -> Float[np.ndarray, "T 3"]:
    """Place of the pelvis in each frame, by least squares over the joints, weighted by confidence.

    A joint at ``(x, y, z)`` from a pelvis at ``(X, Y, Z)`` is seen at ``u``, focal lengths from the picture's
    middle, where ``X - u Z = u z - x``, and likewise for y: linear in the unknown place. The distance is as
    right as the size of the figure and the focal length are. A frame with too few joints, or with all of them
    on one pixel, lies between its neighbours.

    Args:
        poses: Camera axes, metres, pelvis at 0.
        keypoints: x, y in pixels and confidence.
        size: Width and height of the picture; its middle is taken for the camera's axis.
        focal_length: Pixels.

    Returns:
        Metres, origin at the camera.

    Raises:
        UserError: If all joints are on one pixel in every frame.
    """
    places = (keypoints[..., :2] - np.array(size) / 2) / focal_length
    weight = keypoints[..., 2].astype(np.float64)
    u, v = places[..., 0], places[..., 1]
    zero, one = np.zeros_like(u), np.ones_like(u)
    rows = np.stack((np.stack((one, zero, -u), -1), np.stack((zero, one, -v), -1)), axis=2)
    right = places * poses[..., 2:] - poses[..., :2]
    normal = np.einsum("tjai,tjak,tj->tik", rows, rows, weight)
    product = np.einsum("tjai,tja,tj->ti", rows, right, weight)
    has_joints = (keypoints[..., 2] > 0).sum(axis=1) >= _MIN_JOINTS
    if not has_joints.any():
        return np.zeros((len(poses), 3), np.float32)
    known = np.flatnonzero(has_joints & (extent(keypoints) > _MIN_EXTENT_PX))
    if not len(known):
        raise UserError(
            f"all joints of a person lie within {_MIN_EXTENT_PX:g} pixel in every frame, which says nothing "
            "about its place; leave out --focal-length, or check the keypoints"
        )
    solved = np.linalg.solve(normal[known], product[known][..., None])[..., 0]
    times = np.arange(len(poses))
    return np.stack([np.interp(times, known, axis) for axis in solved.T], axis=-1).astype(np.float32)
