"""Table of corruptions of 2D input: six by name, in one or more variants each.

Nothing here computes, so that a command's help can list them; ``corruptions.py`` carries them out.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from langpose_dist.config import UserError, suggest_or_list

VERSION = 1
"""Version of levels, definitions and draws together: numbers of different versions do not compare."""

Level = int | float | str
Unit = Literal["px", "share of joints", "share of frames", "frames", "every n-th frame", "limb"]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One row: a corruption in one variant."""

    name: str
    variant: str
    """Encoding of the damage, or kind of it."""
    unit: Unit
    """Unit of the levels; px are those of a picture 1000 px wide."""
    levels: tuple[Level, ...]
    """Severities, from the mildest on; with the unit ``limb`` categories without an order."""
    clean_level: int | None = 0
    """Level that changes nothing, where curves begin; ``None`` for categories."""
    description: str

    @property
    def key(self) -> str:
        """Name and variant, such as ``noise_px/told``."""
        return f"{self.name}/{self.variant}"


def _rows(
    name: str, unit: Unit, levels: Sequence[Level], variants: dict[str, str], clean_level: int | None = 0
) -> list[Corruption]:
    return [
        Corruption(
            name=name,
            variant=variant,
            unit=unit,
            levels=tuple(levels),
            clean_level=clean_level,
            description=description,
        )
        for variant, description in variants.items()
    ]


_NOISE = "Gaussian error, new for every joint and frame, of this standard deviation along x and y"
_DROPPED = "joints missing with this probability, drawn for every joint and frame"
_SLOW = "only every n-th frame is seen"

_TABLE = (
    *_rows(
        *("noise_px", "px", (2, 5, 10, 15, 20)),
        {
            "blind": f"{_NOISE}; confidences stay",
            "told": f"{_NOISE}; a confidence falls with its joint's error, to half of it at 25 px",
        },
    ),
    *_rows(
        *("drop_joints", "share of joints", (0.1, 0.2, 0.3, 0.5)),
        {
            "zero": f"{_DROPPED}; x, y and confidence are 0, as where training masks",
            "hold": f"{_DROPPED}; the joint stays as last seen",
            "interp": f"{_DROPPED}; on a straight line between the moments when it is seen",
        },
    ),
    *_rows(
        *("drop_frames", "share of frames", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
        {"random": "whole frames missing with this probability; all values are 0"},
    ),
    *_rows(
        *("drop_frames", "frames", (5, 15, 30, 60)),
        {"gap": "a block of frames in the middle of the clip is missing; all values are 0"},
    ),
    *_rows(
        *("hide_limb", "limb", ("right_arm", "left_arm", "right_leg", "left_leg", "lower_body")),
        {"zero": "never seen in the whole clip, values 0; lower_body: the picture ends above the pelvis"},
        None,
    ),
    *_rows(
        *("swap_lr", "frames", (1, 5, 15, 30)),
        {
            "legs": "left and right leg exchanged for a block of frames",
            "jump": "one joint displaced by 150 to 350 px to the left or right for a block of frames, as if "
            "taken from another person; its confidence stays",
        },
    ),
    *_rows(
        *("low_fps", "every n-th frame", (2, 3, 5)),
        {
            "repeat": f"{_SLOW}, the others repeat it",
            "interp": f"{_SLOW}, the others lie on a straight line between",
        },
        1,
    ),
)

CORRUPTIONS = MappingProxyType({row.key: row for row in _TABLE})
"""Key -> row."""
NUM_LIFTS = 1 + sum(len(row.levels) for row in _TABLE)
"""Times that everything lifts a recording: clean, and at each level."""
NAMES = tuple(dict.fromkeys(row.name for row in _TABLE))


def find_corruptions(words: Sequence[str]) -> tuple[Corruption, ...]:
    """Rows of the table, in its order.

    Args:
        words: Names, which stand for all their variants, and keys such as ``noise_px/told``; empty: all.

    Raises:
        UserError: If one is unknown, with the nearest or all names.
    """
    for word in words:
        if word not in {*NAMES, *CORRUPTIONS}:
            hint = suggest_or_list(word, NAMES)
            raise UserError(f"--robustness {word} is unknown{hint}; models stand before --robustness")
    return tuple(row for row in _TABLE if not words or row.name in words or row.key in words)


def list_corruptions() -> str:
    """Lines for a command's help: every row with its levels and description."""
    return "\n".join(
        f"  {row.key:19} {row.unit}: {' '.join(map(str, row.levels))}\n"
        + textwrap.fill(row.description, 105, initial_indent=" " * 6, subsequent_indent=" " * 6)
        for row in _TABLE
    )
