"""From pixels to the model's half image widths.

``image`` divides by half the picture's width, as the 2D joints of data sets are normalised. ``box`` puts each
window's person into the middle, as large as the people that the model was trained on: it does not mind
portrait, zoom or cropping, which change size and place in the picture and not the person.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from langpose_dist.config import UserError
from langpose_dist.inference.person import LIMB_LENGTHS
from langpose_dist.keypoints import MAX_COORDINATE, check_keypoints
from langpose_dist.skeleton import H36M17

Normalisation = Literal["image", "box"]

_UPPER, _LOWER = (list(ends) for ends in zip(*H36M17.bones, strict=True))
_FORESHORTENING = 0.85
"""Mean length of a limb in a picture over its length: most limbs of standing people are upright."""
_LEAST_UNIT_PX = 1.0


Normalised = tuple[Float[np.ndarray, "N T 17 3"], Float[np.ndarray, "N 2"]]
"""Windows as a model takes them, 0, 0, 0 for joints that were not seen; and their centres, pixels."""


def normalise(
    keypoints: Float[np.ndarray, "N T 17 3"],
    by: Normalisation,
    size: tuple[int, int] | None,
    units_per_metre: float,
) -> Normalised:
    """Windows as a model takes them.

    Args:
        keypoints: x, y in pixels and confidence; confidence 0 where a joint was not seen.
        by: Which normalisation.
        size: Width and height of the picture; ``image`` needs it.
        units_per_metre: At the people that the model was trained on; ``box`` needs it.

    Raises:
        UserError: If joints lie so far outside of the picture that its size must be another.
    """
    if by == "box":
        values, centre = normalise_box(keypoints, units_per_metre)
        return values.clip(-MAX_COORDINATE, MAX_COORDINATE), centre
    assert size is not None
    values, centre = normalise_image(keypoints, size)
    try:
        check_keypoints(values)
    except ValueError:
        raise UserError(
            f"joints lie several widths outside of a picture of {size[0]}x{size[1]}; give its true --size"
        ) from None
    return values, centre


def normalise_image(keypoints: Float[np.ndarray, "N T 17 3"], size: tuple[int, int]) -> Normalised:
    """Windows in half image widths from the picture's middle.

    Args:
        keypoints: x, y in pixels and confidence.
        size: Width and height of the picture.
    """
    centre = np.tile(np.array(size) / 2, (len(keypoints), 1))
    return _normalise(keypoints, centre, np.full(len(keypoints), size[0] / 2))


def normalise_box(keypoints: Float[np.ndarray, "N T 17 3"], units_per_metre: float) -> Normalised:
    """Windows with the pelvis' mean place in the middle, and an adult of a given size in them.

    The size is taken from the lengths of the limbs that are seen, so it is right for half a person and for
    one who sits. A window where no limb is seen keeps a unit of its own extent.

    Args:
        keypoints: x, y in pixels and confidence.
        units_per_metre: At the distance of the people that the model was trained on.
    """
    seen = keypoints[..., 2] > 0
    lengths = np.linalg.norm(keypoints[..., _LOWER, :2] - keypoints[..., _UPPER, :2], axis=-1)
    is_whole = seen[..., _LOWER] & seen[..., _UPPER]
    expected = (is_whole * LIMB_LENGTHS).sum(axis=-1) * _FORESHORTENING
    centre, unit = [], []
    for window in range(len(keypoints)):
        points = keypoints[window, ..., :2]
        pelvis = points[:, 0][seen[window, :, 0]]
        inside = points[seen[window]] if seen[window].any() else points.reshape(-1, 2)
        centre.append(pelvis.mean(0) if len(pelvis) else (inside.min(0) + inside.max(0)) / 2)
        has_limbs = expected[window] > 0
        found = (lengths[window] * is_whole[window]).sum(-1)[has_limbs] / expected[window][has_limbs]
        pixels_per_metre = np.median(found) if has_limbs.any() else np.ptp(inside, axis=0).max()
        unit.append(max(pixels_per_metre / units_per_metre, _LEAST_UNIT_PX))
    return _normalise(keypoints, np.array(centre), np.array(unit))


def share_outside(points: Float[np.ndarray, "N 2"], size: tuple[int, int]) -> float:
    """Share of the points, in pixels, that lie outside of a picture of this width and height."""
    return float(((points < 0) | (points > size)).any(axis=-1).mean())


def ray_rotations(
    centre: Float[np.ndarray, "N 2"], size: tuple[int, int], focal_length: float
) -> Float[np.ndarray, "N 3 3"]:
    """Rotations from a camera that looks at some points to the camera that took the picture.

    A person who stands aside is seen from another side than one in the middle: what ``box`` moves to the
    middle has to be turned back.

    Args:
        centre: Pixels.
        size: Width and height of the picture.
        focal_length: Pixels.

    Returns:
        Columns are right, down and forward of the turned camera in the axes of the other.
    """
    aside = centre - np.array(size) / 2
    forward = np.concatenate((aside, np.full((len(aside), 1), focal_length)), axis=1)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack((right, np.cross(forward, right), forward), axis=-1)


def _normalise(
    keypoints: Float[np.ndarray, "N T 17 3"], centre: Float[np.ndarray, "N 2"], unit: Float[np.ndarray, "N"]
) -> Normalised:
    places = (keypoints[..., :2] - centre[:, None, None]) / unit[:, None, None, None]
    values = np.concatenate((places, keypoints[..., 2:]), axis=-1) * (keypoints[..., 2:] > 0)
    return values.astype(np.float32), centre
