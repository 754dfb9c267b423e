import numpy as np
import pytest
import torch

from langpose_dist.config import UserError
from langpose_dist.detections.layouts import (
    LAYOUTS,
    Layout,
    counted_layout,
    layout_of_names,
    map_keypoints,
    named_layout,
)
from langpose_dist.geometry import flip_pose
from langpose_dist.skeleton import (
    COCO17,
    COCO17_KEYPOINTS,
    H36M17,
    HALPE26,
    HALPE26_KEYPOINTS,
    swap_sides,
)
from tests.detections import made


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_detected_persons_left_is_left_and_the_joints_stand_in_their_order(layout: Layout) -> None:
    points = made.figure(layout.name, num_frames=1)
    pose = dict(zip(H36M17.joints, map_keypoints(points, layout.keypoints, layout.joint_map)[0], strict=True))
    for joint, (x, _, _) in pose.items():
        assert x == pytest.approx({"left": 230, "right": 170}.get(joint.partition("_")[0], 200)), joint
    assert pose["left_shoulder"][1] == pose["right_shoulder"][1] == 160
    for chain in (
        ("pelvis", "spine", "thorax", "neck", "head"),
        ("left_ankle", "left_knee", "left_hip", "left_shoulder"),
        ("left_wrist", "left_elbow", "left_shoulder"),
    ):
        heights = [pose[joint][1] for joint in chain]
        assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_mirrored_detection_gives_the_mirrored_joints(layout: Layout) -> None:
    points = np.random.default_rng(0).normal(size=(3, len(layout.used), 3)).astype(np.float32)
    mirrored = points[:, [layout.used.index(swap_sides(name)) for name in layout.used]]
    mirrored = mirrored * np.array([-1, 1, 1], np.float32)
    expected = flip_pose(torch.from_numpy(map_keypoints(points, layout.used, layout.joint_map)), H36M17)
    np.testing.assert_allclose(map_keypoints(mirrored, layout.used, layout.joint_map), expected, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_what_no_joint_is_made_of_has_no_influence(layout: Layout) -> None:
    points = made.figure(layout.name)
    expected = map_keypoints(points, layout.keypoints, layout.joint_map)
    used = map_keypoints(points[:, layout.columns], layout.used, layout.joint_map)
    np.testing.assert_array_equal(used, expected)


def test_a_mean_has_the_lowest_confidence_of_its_keypoints() -> None:
    points = np.ones((1, 17, 3), np.float32)
    points[0, COCO17_KEYPOINTS.index("right_hip"), 2] = 0.25
    points[0, COCO17_KEYPOINTS.index("left_shoulder"), 2] = 0
    mapped = map_keypoints(points, COCO17_KEYPOINTS, COCO17)[0, :, 2]
    confidence = dict(zip(H36M17.joints, mapped, strict=True))
    assert {joint: value for joint, value in confidence.items() if value != 1} == {
        "right_hip": 0.25,
        "pelvis": 0.25,
        "spine": 0,
        "thorax": 0,
        "left_shoulder": 0,
    }


def test_keypoints_of_another_layout_are_refused() -> None:
    with pytest.raises(ValueError, match=r"keypoints are \(1, 17, 3\), the layout has 26 x 3"):
        map_keypoints(np.zeros((1, 17, 3), np.float32), HALPE26_KEYPOINTS, HALPE26)
    with pytest.raises(ValueError, match="pelvis is made of hip, which the layout lacks"):
        map_keypoints(np.zeros((1, 17, 3), np.float32), COCO17_KEYPOINTS, HALPE26)


@pytest.mark.parametrize(
    "layout", ["coco17", "coco18", "body25", "body25b", "halpe26", "wholebody133", "halpe136"]
)
def test_a_detectors_layout_is_known_by_number_and_face(layout: str) -> None:
    assert counted_layout([*made.figure(layout)], is_bare=False).name == layout


@pytest.mark.parametrize("layout", ["coco18", "halpe26", "mediapipe33", "wholebody133", "halpe136"])
def test_a_bare_arrays_layout_is_known_where_its_number_is_the_only_one(layout: str) -> None:
    assert counted_layout([*made.figure(layout)], is_bare=True).name == layout


def test_17_keypoints_of_nobody_knows_which_program_are_asked_for() -> None:
    with pytest.raises(
        UserError, match="17 keypoints may be coco17 or h36m17, and the file does not tell; name it"
    ):
        counted_layout([*made.figure("coco17")], is_bare=True)


def test_25_keypoints_without_a_face_are_asked_for() -> None:
    people = made.figure("body25")
    people[:, [*range(1, 5), *range(15, 19)]] = 0  # what is the face in one of both
    with pytest.raises(UserError, match="25 keypoints may be body25 or body25b"):
        counted_layout([*people], is_bare=False)


def test_25_keypoints_whose_faces_contradict_each_other_are_asked_for() -> None:
    people = [*made.figure("body25", 3), *made.figure("body25b", 3)]
    with pytest.raises(UserError, match="25 keypoints may be body25 or body25b"):
        counted_layout(people, is_bare=False)


def test_an_unknown_number_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"21 keypoints .* accepted: coco17 \(17\), coco18 \(18\), body25 \(25\)"
    ):
        counted_layout([np.ones((21, 3))], is_bare=False)


def test_a_users_layout_is_checked() -> None:
    assert named_layout("body25", 25).name == "body25"
    with pytest.raises(UserError, match=r"layout 'body_25' is not one of .*; did you mean 'body25'"):
        named_layout("body_25", 25)
    with pytest.raises(UserError, match="layout halpe26 has 26 keypoints, the file has 17"):
        named_layout("halpe26", 17)


def test_named_keypoints_are_taken_by_name_in_any_order() -> None:
    order = np.random.default_rng(0).permutation(17)
    names = [COCO17_KEYPOINTS[number] for number in order]
    layout = layout_of_names(names)
    points = made.figure("coco17")[:, order]
    mapped = map_keypoints(points, layout.keypoints, layout.joint_map)
    expected = map_keypoints(made.figure("coco17"), COCO17_KEYPOINTS, COCO17)
    np.testing.assert_array_equal(mapped, expected)


def test_mmposes_names_of_human36m_are_ours() -> None:
    names = ["root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine"]
    names += ["thorax", "neck_base", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder"]
    names += ["right_elbow", "right_wrist"]
    assert layout_of_names(names).keypoints == H36M17.joints


def test_names_of_an_animal_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"2 named keypoints have no nose, left_eye, right_eye; a model with COCO's"
    ):
        layout_of_names(["tail", "left_paw"])
