"""Protocols of the field by name: how a split's recordings become the numbers that a paper prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from langpose_dist.config import ClipRule, Space, UserError, suggest_or_list

POSE_METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "accel_mm")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to evaluate; two numbers compare only if their protocols are equal."""

    name: str
    title: str
    space: Space
    """In which models predict and errors are measured."""
    metrics: tuple[str, ...] = POSE_METRICS
    """Rows of ``metrics/table.py``."""
    observation: Literal["camera", "stored"] = "stored"
    """2D input, as ``data.observation``."""
    sources: tuple[str, ...] = ()
    """Kinds of data that it is defined on; empty: any."""
    fps: float | None = None
    """Rate of those data; ``None``: any."""
    split: str = "test"
    clip_rule: ClipRule = "every_frame"
    """As ``window.clip_rule``."""
    merging: Literal["none", "centre"] = "none"
    """Windows to recording. none: side by side, the last one ends with the clip. centre: a window around each
    frame, padded with the clip's first and last frame."""
    flip_averaging: bool = True
    excluded: tuple[str, ...] = ()
    """Remarks, such as ``drifting``, whose recordings are left out and counted."""
    group: Literal["action", "sequence"] = "action"
    """Groups of the second mean: over the frames of each group first, then over the groups."""
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Named sets of groups that get a mean over their frames."""
    has_held_out_camera: bool = False
    """Test on the camera that training left out, one model for each."""
    scale_source: str = "none: metric poses"
    root: str = "pelvis of prediction and truth at 0 in every frame"
    source: str = ""
    """Where it is defined."""

    def describe(self) -> dict[str, Any]:
        """Everything that a number needs to be understood; plain containers."""
        content = {**vars(self), "sets": {name: list(values) for name, values in self.sets.items()}}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}


_ROWS = (
    Protocol(
        name="motionbert",
        title="Human3.6M as MotionBERT evaluates it",
        space="image_25d",
        sources=("human36m",),
        fps=50.0,
        clip_rule="whole_windows",
        excluded=("drifting",),
        scale_source="ground-truth factor of every test frame",
        source="MotionBERT train.py, evaluate(), commit dccfe7b",
    ),
    Protocol(
        name="videopose3d",
        title="Human3.6M as VideoPose3D evaluates it",
        space="camera",
        sources=("human36m",),
        fps=50.0,
        source="VideoPose3D run.py, commit 1afb1ca",
    ),
    Protocol(
        name="cross_camera",
        title="Human3.6M, trained on three cameras and tested on the fourth",
        space="camera",
        sources=("human36m",),
        fps=50.0,
        has_held_out_camera=True,
        source="Fang et al., AAAI 2018",
    ),
    Protocol(
        name="mpi_3dhp",
        title="MPI-INF-3DHP's valid test frames, universal annotation",
        space="camera",
        metrics=("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "pck_3dhp", "auc_3dhp"),
        sources=("mpi-inf-3dhp",),
        fps=25.0,
        merging="centre",
        group="sequence",
        sets=MappingProxyType({"GS": ("ts1", "ts2"), "noGS": ("ts3", "ts4"), "outdoor": ("ts5", "ts6")}),
        source="P-STMO, commit aea43d0; mpii_compute_3d_pck.m",
    ),
    Protocol(
        name="virtual_camera",
        title="any motion, each window seen by a virtual camera with a synthetic detector",
        space="camera",
        observation="camera",
        source="langpose_dist",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({row.name: row for row in _ROWS})


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        UserError: If there is none, with the nearest name or all of them.
    """
    if name not in PROTOCOLS:
        raise UserError(f"--protocol {name} is unknown{suggest_or_list(name, PROTOCOLS)}")
    return PROTOCOLS[name]
