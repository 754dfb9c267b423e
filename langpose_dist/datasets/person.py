"""Check that poses are those of a person: of a plausible size, with bones that keep their length."""

import numpy as np
from jaxtyping import Float

from langpose_dist.data.sample import DataError
from langpose_dist.skeleton import H36M17

SIZES = (0.9, 2.3)
"""Metres from the ankles along the bones to the crown, which do not depend on the posture: from a child of
four to the tallest people."""

LIMBS = (0.04, 0.6)
"""Shares of the size that a thigh, shin, upper arm or forearm may have; people have 0.15 to 0.27."""

TOLERANCE = 0.12
"""Share of the size by which a bone may differ from its mean in any frame. Joints that are regressed from a
body's surface, or estimated from images, move by a few hundredths; another unit, joint or person by more."""

_UNITS = {
    0.001: "millimetres",
    0.01: "centimetres",
    0.0254: "inches",
    0.1: "decimetres",
    0.3048: "feet",
    2.54: "inches taken for centimetres",
    10.0: "centimetres taken for millimetres",
    100.0: "metres taken for centimetres",
    1000.0: "metres taken for millimetres",
}
"""Metres per unit -> the unit that explains it."""

_USUAL = (1.2, 2.1)
"""Sizes by which a unit is recognised; no two units fit one size, but for inches and decimetres."""


def check_person(poses: Float[np.ndarray, "T 17 3"], sizes: tuple[float, float] = SIZES) -> None:
    """Check size and bones of a clip.

    Args:
        poses: In metres.
        sizes: Least and largest size of the source's people, from the ankles to the crown.

    Raises:
        DataError: If they are no person's in any frame.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused below
        bones = _bone_lengths(poses)
        usual = bones.mean(axis=0)
    size = float(usual[_TRUNK].sum() + usual[_LEGS].sum() / 2)
    low, high = sizes
    if not low <= size <= high:
        raise DataError(
            f"implausible size: {size:.3g} m from ankle to crown, not {low:g} to {high:g}; {_explain(size)}"
        )
    for bone in _LIMBS:
        if not LIMBS[0] <= (share := usual[bone] / size) <= LIMBS[1]:
            raise DataError(
                f"implausible limbs: {usual[bone]:.3g} m from {_name(bone)}, "
                f"{share:.0%} of the size; check which joint is which"
            )
    differences = np.abs(bones - usual)
    if differences.max() > TOLERANCE * size:
        frame, bone = np.unravel_index(int(differences.argmax()), differences.shape)
        num_wrong = int((differences > TOLERANCE * size).any(axis=1).sum())
        raise DataError(
            f"bones change their length: {_name(bone)} is {bones[frame, bone]:.3g} m in frame {frame} and "
            f"{usual[bone]:.3g} m on average; so in {num_wrong} of {len(bones)} frames"
        )


_PARENTS, _CHILDREN = (list(joints) for joints in zip(*H36M17.bones, strict=True))


def _bones_to(*joints: str) -> list[int]:
    return [_CHILDREN.index(H36M17.index(joint)) for joint in joints]


_SIDES = ("left", "right")
_LEGS = _bones_to(*(f"{side}_{joint}" for side in _SIDES for joint in ("hip", "knee", "ankle")))
_LIMBS = _bones_to(*(f"{side}_{joint}" for side in _SIDES for joint in ("knee", "ankle", "elbow", "wrist")))
_TRUNK = _bones_to("spine", "thorax", "neck", "head")


def _bone_lengths(poses: Float[np.ndarray, "T 17 3"]) -> Float[np.ndarray, "T 16"]:
    bones = poses[:, _CHILDREN] - poses[:, _PARENTS]
    return np.sqrt(np.einsum("tbc,tbc->tb", bones, bones))


def _name(bone: int | np.intp) -> str:
    return f"{H36M17.joints[_PARENTS[bone]]} to {H36M17.joints[_CHILDREN[bone]]}"


def _explain(size: float) -> str:
    """The likely unit, by which people have a usual size."""
    fits = [factor for factor in _UNITS if _USUAL[0] <= size * factor <= _USUAL[1]]
    if size < 1e-6:
        return "all joints are in one point"
    if not fits:
        return "check the unit, and which joint is which"
    return f"looks like {_UNITS[fits[0]]}: {size * fits[0]:.3g} m"
