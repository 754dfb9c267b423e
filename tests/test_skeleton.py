import pytest

from langpose_dist.skeleton import (
    BANDAI_NAMCO,
    BODY25,
    BODY25_KEYPOINTS,
    BODY25B,
    BODY25B_KEYPOINTS,
    COCO17,
    COCO17_KEYPOINTS,
    COCO18,
    COCO18_KEYPOINTS,
    H36M17,
    HALPE26,
    HALPE26_KEYPOINTS,
    HALPE136_KEYPOINTS,
    HUMANML3D,
    KIT_ML,
    MEDIAPIPE33_KEYPOINTS,
    WHOLEBODY133_KEYPOINTS,
    JointMap,
    Skeleton,
    swap_sides,
)

# MotionBERT's order, by hand.
ORDER = {
    0: "pelvis",
    1: "right_hip",
    2: "right_knee",
    3: "right_ankle",
    4: "left_hip",
    5: "left_knee",
    6: "left_ankle",
    7: "spine",
    8: "thorax",
    9: "neck",
    10: "head",
    11: "left_shoulder",
    12: "left_elbow",
    13: "left_wrist",
    14: "right_shoulder",
    15: "right_elbow",
    16: "right_wrist",
}


def test_the_joints_stand_in_motionberts_order() -> None:
    assert dict(enumerate(H36M17.joints)) == ORDER
    assert H36M17.num_joints == 17
    assert all(H36M17.index(joint) == index for index, joint in ORDER.items())


def test_mirroring_exchanges_the_limbs_and_twice_gives_the_first_order() -> None:
    assert H36M17.mirror == (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
    assert [H36M17.mirror[index] for index in H36M17.mirror] == list(range(17))


def test_bones_are_the_tree_by_hand() -> None:
    legs = ((0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6))
    trunk = ((0, 7), (7, 8), (8, 9), (9, 10))
    arms = ((8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16))
    assert H36M17.bones == legs + trunk + arms


def test_body_parts_share_no_joint_and_leave_only_the_root() -> None:
    joints = [joint for part in H36M17.body_parts.values() for joint in part]
    assert len(joints) == len(set(joints))
    assert set(H36M17.joints) - set(joints) == {"pelvis"}


def test_every_body_part_has_its_mirror_image() -> None:
    for part, joints in H36M17.body_parts.items():
        assert set(H36M17.body_parts[swap_sides(part)]) == {swap_sides(joint) for joint in joints}


@pytest.mark.parametrize(
    ("name", "swapped"),
    [
        ("left_hip", "right_hip"),
        ("right_wrist", "left_wrist"),
        ("spine", "spine"),
        ("bright_left_", "bright_left_"),
    ],
)
def test_swap_sides(name: str, swapped: str) -> None:
    assert swap_sides(name) == swapped


def test_a_parent_must_come_first() -> None:
    with pytest.raises(ValueError, match="parent 'root' of 'hand' must come before it"):
        Skeleton("wrong", {"hand": "root", "root": None}, {})


def test_a_body_part_must_name_joints() -> None:
    with pytest.raises(ValueError, match=r"body part 'arm' has unknown joints \['paw'\]"):
        Skeleton("wrong", {"root": None, "hand": "root"}, {"arm": ("hand", "paw")})


DETECTED = [COCO17, COCO18, BODY25, BODY25B, HALPE26]


@pytest.mark.parametrize("joint_map", [BANDAI_NAMCO, HUMANML3D, KIT_ML, *DETECTED])
def test_a_joint_map_gives_every_joint_and_moves_with_its_source(joint_map: JointMap) -> None:
    assert tuple(joint_map) == H36M17.joints
    for joint, weights in joint_map.items():
        assert sum(weights.values()) == pytest.approx(1), joint


@pytest.mark.parametrize(("joint_map", "left", "right"), [(BANDAI_NAMCO, "_L", "_R")])
def test_a_joint_map_is_the_same_on_both_sides(joint_map: JointMap, left: str, right: str) -> None:
    def other_side(source: str) -> str:
        if source.endswith(left):
            return source.removesuffix(left) + right
        return source.removesuffix(right) + left if source.endswith(right) else source

    for joint, weights in joint_map.items():
        mirrored = {other_side(source): weight for source, weight in weights.items()}
        assert joint_map[swap_sides(joint)] == mirrored, joint


@pytest.mark.parametrize(
    ("joint_map", "left", "right"),
    [
        (HUMANML3D, "left_", "right_"),
        (KIT_ML, "L", "R"),
        *((joint_map, "left_", "right_") for joint_map in DETECTED),
    ],
)
def test_a_joint_map_by_prefixes_is_the_same_on_both_sides(
    joint_map: JointMap, left: str, right: str
) -> None:
    def other_side(source: str) -> str:
        if source.startswith(left):
            return right + source.removeprefix(left)
        return left + source.removeprefix(right) if source.startswith(right) else source

    for joint, weights in joint_map.items():
        mirrored = {other_side(source): weight for source, weight in weights.items()}
        assert joint_map[swap_sides(joint)] == mirrored, joint
        assert not joint.startswith("left_") or all(source.startswith(left) for source in weights), joint


# By hand, from the published functions: target joint -> keypoint numbers whose mean it is.
COCO_NUMBERS = {
    0: (11, 12),
    1: (12,),
    2: (14,),
    3: (16,),
    4: (11,),
    5: (13,),
    6: (15,),
    7: (5, 6, 11, 12),
    8: (5, 6),
    9: (0,),
    10: (1, 2),
    11: (5,),
    12: (7,),
    13: (9,),
    14: (6,),
    15: (8,),
    16: (10,),
}
HALPE_NUMBERS = COCO_NUMBERS | {0: (19,), 7: (18, 19), 8: (18,), 10: (17,)}
MEDIAPIPE_NUMBERS = {0: (23, 24), 1: (24,), 2: (26,), 3: (28,), 4: (23,), 5: (25,), 6: (27,), 8: (11, 12)}
MEDIAPIPE_NUMBERS |= {9: (0,), 10: (2, 5), 11: (11,), 12: (13,), 13: (15,), 14: (12,), 15: (14,), 16: (16,)}
OPENPOSE_ARMS = {9: (0,), 11: (5,), 12: (6,), 13: (7,), 14: (2,), 15: (3,), 16: (4,), 8: (1,)}
BODY25_NUMBERS = OPENPOSE_ARMS | {0: (8,), 1: (9,), 2: (10,), 3: (11,), 4: (12,), 5: (13,), 6: (14,)}
BODY25_NUMBERS |= {7: (1, 8), 10: (15, 16)}
COCO18_NUMBERS = OPENPOSE_ARMS | {0: (8, 11), 1: (8,), 2: (9,), 3: (10,), 4: (11,), 5: (12,), 6: (13,)}
COCO18_NUMBERS |= {10: (14, 15)}
BODY25B_NUMBERS = {joint: numbers for joint, numbers in COCO_NUMBERS.items() if joint != 7}
BODY25B_NUMBERS |= {8: (17,), 10: (18,)}


@pytest.mark.parametrize(
    ("joint_map", "layout", "numbers"),
    [
        (COCO17, COCO17_KEYPOINTS, COCO_NUMBERS),
        (COCO17, WHOLEBODY133_KEYPOINTS, COCO_NUMBERS),
        (COCO17, MEDIAPIPE33_KEYPOINTS, MEDIAPIPE_NUMBERS),
        (HALPE26, HALPE26_KEYPOINTS, HALPE_NUMBERS),
        (HALPE26, HALPE136_KEYPOINTS, HALPE_NUMBERS),
        (BODY25, BODY25_KEYPOINTS, BODY25_NUMBERS),
        (COCO18, COCO18_KEYPOINTS, COCO18_NUMBERS),
        (BODY25B, BODY25B_KEYPOINTS, BODY25B_NUMBERS),
    ],
)
def test_a_detectors_keypoints_are_taken_by_their_published_numbers(
    joint_map: JointMap, layout: tuple[str, ...], numbers: dict[int, tuple[int, ...]]
) -> None:
    for joint, sources in numbers.items():
        expected = {layout[source]: 1 / len(sources) for source in sources}
        assert joint_map[ORDER[joint]] == expected, ORDER[joint]


def test_the_layouts_have_as_many_keypoints_as_their_names_say() -> None:
    assert len(set(COCO17_KEYPOINTS)) == 17
    assert len(set(HALPE26_KEYPOINTS)) == 26
    assert len(set(COCO18_KEYPOINTS)) == 18
    assert len(set(BODY25_KEYPOINTS)) == len(set(BODY25B_KEYPOINTS)) == 25
    assert len(set(MEDIAPIPE33_KEYPOINTS)) == 33
    assert len(set(WHOLEBODY133_KEYPOINTS)) == 133
    assert len(set(HALPE136_KEYPOINTS)) == 136
    assert (HALPE26_KEYPOINTS[17:20], HALPE26_KEYPOINTS[25]) == (("head", "neck", "hip"), "right_heel")
