"""The one joint table: names, parents, mirror pairs and the maps from other skeletons.

Joints go by name everywhere else in the package. Left and right are the person's own. The order is that
of MotionBERT's Human3.6M skeleton, so published weights apply unchanged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

JointMap = Mapping[str, Mapping[str, float]]
"""Target joint -> {source joint: weight}; weights sum to 1, so the map commutes with translation."""


@dataclass(frozen=True)
class Skeleton:
    """A tree of named joints.

    Its properties are not cached: the lock of a cached one would break the graph of a compiled model.

    Args:
        name: Short name, written into manifests.
        parents: Joint name -> parent name, ``None`` for the root; parents come before children.
        body_parts: Body part -> its joints.
    """

    name: str
    parents: Mapping[str, str | None]
    body_parts: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for joint, parent in self.parents.items():
            if parent is not None and parent not in seen:
                raise ValueError(f"{self.name}: parent {parent!r} of {joint!r} must come before it")
            seen.add(joint)
        for part, joints in self.body_parts.items():
            if unknown := set(joints) - seen:
                raise ValueError(f"{self.name}: body part {part!r} has unknown joints {sorted(unknown)}")

    @property
    def joints(self) -> tuple[str, ...]:
        """Joint names in order."""
        return tuple(self.parents)

    @property
    def num_joints(self) -> int:
        """Number of joints (J)."""
        return len(self.parents)

    def index(self, joint: str) -> int:
        """Position of a joint on axis J."""
        return self.joints.index(joint)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) index pairs."""
        return tuple(
            (self.index(parent), self.index(joint)) for joint, parent in self.parents.items() if parent
        )

    @property
    def mirror(self) -> tuple[int, ...]:
        """Index of each joint's counterpart on the other side of the body."""
        return tuple(self.index(swap_sides(joint)) for joint in self.joints)


def swap_sides(name: str) -> str:
    """Exchange the prefixes ``left_`` and ``right_`` of a joint's name."""
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


H36M17 = Skeleton(
    name="h36m17",
    parents={
        "pelvis": None,
        "right_hip": "pelvis",
        "right_knee": "right_hip",
        "right_ankle": "right_knee",
        "left_hip": "pelvis",
        "left_knee": "left_hip",
        "left_ankle": "left_knee",
        "spine": "pelvis",
        "thorax": "spine",
        "neck": "thorax",
        "head": "neck",
        "left_shoulder": "thorax",
        "left_elbow": "left_shoulder",
        "left_wrist": "left_elbow",
        "right_shoulder": "thorax",
        "right_elbow": "right_shoulder",
        "right_wrist": "right_elbow",
    },
    body_parts={
        "right_leg": ("right_hip", "right_knee", "right_ankle"),
        "left_leg": ("left_hip", "left_knee", "left_ankle"),
        "left_arm": ("left_shoulder", "left_elbow", "left_wrist"),
        "right_arm": ("right_shoulder", "right_elbow", "right_wrist"),
        "trunk": ("spine", "thorax", "neck", "head"),
    },
)

_BY_NAME: JointMap = {joint: {joint: 1.0} for joint in H36M17.joints}
"""Start of maps from layouts that name their limbs as Human3.6M does; it keeps the order of the joints."""

BANDAI_NAMCO: JointMap = {
    "pelvis": {"UpperLeg_L": 0.5, "UpperLeg_R": 0.5},
    "right_hip": {"UpperLeg_R": 1.0},
    "right_knee": {"LowerLeg_R": 1.0},
    "right_ankle": {"Foot_R": 1.0},
    "left_hip": {"UpperLeg_L": 1.0},
    "left_knee": {"LowerLeg_L": 1.0},
    "left_ankle": {"Foot_L": 1.0},
    # Half way from the pelvis to the thorax lies between these two.
    "spine": {"Spine": 0.6, "Chest": 0.4},
    "thorax": {"Neck": 1.0},
    "neck": {"Nose": 1.0},
    "head": {"Head Top": 1.0},
    "left_shoulder": {"UpperArm_L": 1.0},
    "left_elbow": {"LowerArm_L": 1.0},
    "left_wrist": {"Hand_L": 1.0},
    "right_shoulder": {"UpperArm_R": 1.0},
    "right_elbow": {"LowerArm_R": 1.0},
    "right_wrist": {"Hand_R": 1.0},
}
"""From the Bandai-Namco motion dataset; Nose and Head Top are points that its reader adds to the head."""

HUMANML3D: JointMap = {
    **_BY_NAME,
    "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    # Half way from the pelvis to the thorax lies between these two.
    "spine": {"spine1": 0.3, "spine2": 0.7},
    "thorax": {"neck": 1.0},
    # In SMPL's mean body the head's joint is 65 mm above and 51 mm before the neck's, and the neck's 214 mm
    # above and 43 mm behind spine3. So nose and crown are 0.12 m and 0.24 m from the thorax, as in
    # Human3.6M, and the crown is right above it.
    "neck": {"head": 1.4, "neck": -0.4},
    "head": {"head": 0.75, "neck": 1.15, "spine3": -0.9},
}
"""From the 22 body joints of SMPL in HumanML3D."""

KIT_ML: JointMap = {
    "pelvis": {"root": 1.0},
    "right_hip": {"RH": 1.0},
    "right_knee": {"RK": 1.0},
    "right_ankle": {"RA": 1.0},
    "left_hip": {"LH": 1.0},
    "left_knee": {"LK": 1.0},
    "left_ankle": {"LA": 1.0},
    # Half way from the pelvis to the thorax lies between these two.
    "spine": {"BP": 0.65, "BT": 0.35},
    "thorax": {"BLN": 1.0},
    # In units of a thousandth of the body height, BUN is 30 above BLN and BLN 44 above BT. So nose and crown
    # are 0.12 m and 0.24 m above the thorax of a person of 1.75 m. They follow the chest, as the angles in
    # lower and upper neck nearly cancel and the upper one moves no joint.
    "neck": {"BUN": 1.0, "BLN": 0.9, "BT": -0.9},
    "head": {"BUN": 1.0, "BLN": 2.43, "BT": -2.43},
    "left_shoulder": {"LS": 1.0},
    "left_elbow": {"LE": 1.0},
    "left_wrist": {"LW": 1.0},
    "right_shoulder": {"RS": 1.0},
    "right_elbow": {"RE": 1.0},
    "right_wrist": {"RW": 1.0},
}
"""From the 21 joints of KIT-ML, by the names of the MMM body model; its L is the person's own left."""

MPI_INF_3DHP: JointMap = {
    **_BY_NAME,
    "thorax": {"neck": 1.0},
    "neck": {"head": 1.0},
    "head": {"head_top": 1.0},
}
"""From MPI-INF-3DHP's ``relevant`` joints, which are Human3.6M's by other names: its head is the one below
the head's top, its neck the one that the shoulders hang on."""

COCO17_KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
"""COCO's 17 keypoints in their order; left and right are the person's own."""

HALPE26_KEYPOINTS = (
    *COCO17_KEYPOINTS,
    *("head", "neck", "hip"),
    *("left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe", "left_heel", "right_heel"),
)
"""The 26 body keypoints of Halpe-FullBody in their order; the first 17 are COCO's."""

COCO17: JointMap = {
    **_BY_NAME,
    "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    # Half way from the pelvis to the thorax.
    "spine": {"left_hip": 0.25, "right_hip": 0.25, "left_shoulder": 0.25, "right_shoulder": 0.25},
    "thorax": {"left_shoulder": 0.5, "right_shoulder": 0.5},
    "neck": {"nose": 1.0},
    # COCO has no point on the crown: this is well below Human3.6M's head joint.
    "head": {"left_eye": 0.5, "right_eye": 0.5},
}
"""From COCO's keypoints, as MotionBERT's ``coco2h36m`` (``lib/data/dataset_action.py``) and MMPose define it
(https://github.com/Walter0807/MotionBERT, https://github.com/open-mmlab/mmpose)."""

HALPE26: JointMap = {
    **COCO17,
    "pelvis": {"hip": 1.0},
    # Half way from the pelvis to the thorax.
    "spine": {"hip": 0.5, "neck": 0.5},
    "thorax": {"neck": 1.0},
    "head": {"head": 1.0},
}
"""From Halpe's keypoints, which have points for pelvis, thorax and crown, as MotionBERT's ``halpe2h36m``
(``lib/data/dataset_wild.py``) defines it; the limbs are COCO's."""

BODY25_KEYPOINTS = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist"),
    *("left_shoulder", "left_elbow", "left_wrist", "hip"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)
"""OpenPose's BODY_25 in its order (``doc/02_output.md`` of https://github.com/CMU-Perceptual-Computing-Lab/openpose)."""

COCO18_KEYPOINTS = (*BODY25_KEYPOINTS[:8], *BODY25_KEYPOINTS[9:19])
"""OpenPose's COCO model in its order: BODY_25 without the middle of the hips and without feet."""

BODY25B_KEYPOINTS = (
    *(*COCO17_KEYPOINTS, "neck", "head"),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel"),
)
"""OpenPose's BODY_25B in its order; the first 17 are COCO's (``doc/02_output.md`` of
https://github.com/CMU-Perceptual-Computing-Lab/openpose_train)."""

MEDIAPIPE33_KEYPOINTS = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer"),
    *("right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "left_mouth", "right_mouth"),
    *COCO17_KEYPOINTS[5:11],
    *("left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb"),
    *COCO17_KEYPOINTS[11:],
    *("left_heel", "right_heel", "left_foot_index", "right_foot_index"),
)
"""MediaPipe's 33 pose landmarks in their order, those that COCO has by COCO's names
(https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker)."""

_FACE = tuple(f"face_{number}" for number in range(68))
_HANDS = tuple(f"{side}_hand_{number}" for side in ("left", "right") for number in range(21))

WHOLEBODY133_KEYPOINTS = (*COCO17_KEYPOINTS, *BODY25B_KEYPOINTS[19:], *_FACE, *_HANDS)
"""COCO-WholeBody's keypoints in their order; the first 17 are COCO's (https://github.com/jin-s13/COCO-WholeBody)."""

HALPE136_KEYPOINTS = (*HALPE26_KEYPOINTS, *_FACE, *_HANDS)
"""Halpe-FullBody's keypoints in their order; the first 26 are the body's
(https://github.com/Fang-Haoshu/Halpe-FullBody)."""

COCO18: JointMap = {
    **COCO17,
    # Half way from the pelvis to the thorax.
    "spine": {"left_hip": 0.25, "right_hip": 0.25, "neck": 0.5},
    "thorax": {"neck": 1.0},
}
"""From OpenPose's COCO model, by analogy with ``COCO17``: its neck is the middle of the shoulders."""

BODY25: JointMap = {
    **COCO18,
    "pelvis": {"hip": 1.0},
    # Half way from the pelvis to the thorax.
    "spine": {"hip": 0.5, "neck": 0.5},
}
"""From OpenPose's BODY_25, by analogy with ``COCO18``; it has a point for the pelvis."""

BODY25B: JointMap = {
    **COCO18,
    "head": {"head": 1.0},
}
"""From OpenPose's BODY_25B, by analogy with ``HALPE26``: neck and head are MPII's upper neck and head top. In
recordings the neck lies above the middle of the shoulders by 4 % of the figure, near Human3.6M's thorax."""
