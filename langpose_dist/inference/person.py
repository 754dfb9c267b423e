"""The size of a person, which no picture tells."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from langpose_dist.config import Space
from langpose_dist.skeleton import H36M17

_LIMBS = {
    "hip": 0.133,
    "knee": 0.443,
    "ankle": 0.454,
    "spine": 0.233,
    "thorax": 0.257,
    "neck": 0.121,
    "head": 0.115,
    "shoulder": 0.151,
    "elbow": 0.279,
    "wrist": 0.252,
}
"""Metres from a joint's parent to it, of an adult in Human3.6M."""
ADULT_HEIGHT = 1.70
"""Of that adult, metres: ankle to crown is 1.62."""
LIMB_LENGTHS: Float[np.ndarray, "L"] = np.array(
    [_LIMBS[H36M17.joints[child].rpartition("_")[2]] for _, child in H36M17.bones]
)
"""The 16 limbs of that adult, in the order of the skeleton's bones, metres."""


def limb_total_of(height: float) -> float:
    """Sum of the limb lengths of a person of this height, both in metres."""
    return float(LIMB_LENGTHS.sum()) / ADULT_HEIGHT * height


@dataclass(frozen=True)
class Person:
    """The size that a figure gets."""

    limb_total: float | None
    """Sum of limb lengths, metres; ``None``: as the model predicts it, in metres."""
    source: str
    """Of the size, for a reader of the results."""


def choose_person(space: Space, limb_total: float | None, height: float | None) -> Person:
    """The size of a person, by what is known best.

    Args:
        space: That the model predicts in.
        limb_total: Sum of limb lengths of the people that it was trained on, metres, if its file says it.
        height: As the user says, metres.
    """
    if height is not None:
        return Person(limb_total_of(height), f"limb lengths of a person of {height:g} m, as stated")
    if space == "camera":
        return Person(None, "as the model predicts it, by the people of its training data")
    if limb_total is not None:
        return Person(limb_total, "mean limb lengths of the training data")
    return Person(limb_total_of(ADULT_HEIGHT), f"limb lengths of an adult of {ADULT_HEIGHT:g} m, assumed")
