"""Tables 2 and 3 of LangPose's supplement, as printed: Human3.6M's 15 actions."""

from collections.abc import Mapping
from typing import NamedTuple


class PrintedRow(NamedTuple):
    """One action."""

    visibility: float
    """Table 2: share of joints with a confidence above 0.6."""
    same: float
    """Table 3: squared MMD, validation to training of Human3.6M."""
    babel: float
    """Table 3: squared MMD, validation of Human3.6M to training of BABEL."""
    improvement_mm: float
    """Table 3: MPJPE of MotionBERT less that of LangPose."""


PRINTED: Mapping[str, PrintedRow] = {
    "Directions": PrintedRow(0.947, 0.015, 0.246, 0.5),
    "Discussion": PrintedRow(0.930, 0.065, 0.298, 0.0),
    "Eating": PrintedRow(0.943, 0.019, 0.189, 0.5),
    "Greeting": PrintedRow(0.952, 0.017, 0.442, 0.4),
    "Phoning": PrintedRow(0.914, 0.036, 0.127, 0.2),
    "Photo": PrintedRow(0.908, 0.026, 0.154, 0.9),
    "Posing": PrintedRow(0.969, 0.005, 0.337, -0.4),
    "Purchases": PrintedRow(0.921, 0.013, 0.197, 1.9),
    "Sitting": PrintedRow(0.899, 0.037, 0.152, 0.7),
    "SittingDown": PrintedRow(0.830, 0.014, 0.233, 4.6),
    "Smoking": PrintedRow(0.915, 0.012, 0.157, 0.5),
    "Waiting": PrintedRow(0.939, 0.024, 0.326, 0.3),
    "Walking": PrintedRow(0.958, 0.073, 0.434, 0.5),
    "WalkingDog": PrintedRow(0.919, 0.010, 0.321, 1.4),
    "WalkingTogether": PrintedRow(0.972, 0.047, 0.462, 0.2),
}
"""Table 3 says WalkDog and WalkTogether."""
