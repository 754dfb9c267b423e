"""Procedural motion: anatomy, contact with the floor, and that each action moves what its label says.

Floor contact and speeds are measured on joints from an independent chain of rotation matrices.
"""

from functools import cache

import numpy as np
import pytest

from langpose_dist.synthesis.actions import ACTIONS, Action
from langpose_dist.synthesis.figure import JOINTS, PARENTS, pose_joints, rest_joints, to_matrices
from langpose_dist.synthesis.motion import (
    CHANNELS,
    INDEX,
    SOLE_HEIGHT_M,
    Person,
    Take,
    interpolate,
    key,
    keyed,
    mirrored,
    ramped,
)
from langpose_dist.synthesis.rig import rotation, solve, to_axis_angles
from langpose_dist.synthesis.sequence import draw_actions, perform

FPS = 60.0
SEEDS = (0, 1, 2)
LABELS = sorted({action.label for action in ACTIONS})


def joint(name: str) -> int:
    return JOINTS.index(name)


def chains(action: Action) -> list[tuple[Action, ...]]:
    """The action, after one that leads to the posture it begins from."""
    before = [other for other in ACTIONS if other.after == action.before and other.before == "standing"]
    return [(action,)] if action.before == "standing" else [(before[0], action)]


@cache
def performance(number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World joints, world turns and local axis-angles of one action."""
    rng = np.random.default_rng(seed)
    person = Person.draw(rng, rest_joints())
    (chain,) = chains(ACTIONS[number])
    sequence = perform(person, chain, rng)
    poses, trans = sequence.sample(FPS)
    first = round(sequence.segments[-1].start * FPS)
    poses, trans = poses[first:], trans[first:]
    turns = to_matrices(poses.reshape(len(poses), -1, 3))
    for index, parent in enumerate(PARENTS):
        if parent >= 0:
            turns[:, index] = turns[:, parent] @ turns[:, index]
    return pose_joints(poses, trans), turns, poses.reshape(len(poses), -1, 3)


def of(label: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    (number,) = [index for index, action in enumerate(ACTIONS) if action.label == label]
    return performance(number, seed)


def headings(turns: np.ndarray) -> np.ndarray:
    """Where the pelvis faces, degrees counter-clockwise from above, without jumps."""
    forward = turns[:, 0, :, 2]
    return np.degrees(np.unwrap(np.arctan2(forward[:, 1], forward[:, 0])))


def soles(joints: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Ball and heel of both feet: T x 4 x 3."""
    rest = rest_joints()
    points = []
    for side in ("left", "right"):
        ankle, ball = joint(f"{side}_ankle"), joint(f"{side}_foot")
        height = rest[ankle, 1] - rest[ball, 1] + SOLE_HEIGHT_M
        points.append(joints[:, ball] - [0, 0, SOLE_HEIGHT_M])
        points.append(joints[:, ankle] + turns[:, ankle] @ np.array([0, -height, -0.05]))
    return np.stack(points, axis=1)


def test_there_are_many_actions_and_both_sides_of_each() -> None:
    assert len(LABELS) >= 28
    for label in LABELS:
        words = label.split()
        swapped = [{"left": "right", "right": "left"}.get(word, word) for word in words]
        assert " ".join(swapped) in LABELS
    for action in ACTIONS:
        assert action.label == " ".join(action.label.lower().split())
        assert action.categories
        assert action.phrases


@pytest.mark.parametrize("number", range(len(ACTIONS)), ids=lambda number: ACTIONS[number].label)
def test_feet_meet_the_floor_and_limbs_bend_the_right_way(number: int) -> None:
    flies = any(word in ACTIONS[number].label for word in ("jump", "hop", "run", "jog"))
    for seed in SEEDS:
        joints, turns, angles = performance(number, seed)
        points = soles(joints, turns)
        lowest = points[..., 2].min(axis=1)
        assert lowest.min() > -0.01
        assert flies or lowest.max() < 0.01
        # What touches the floor stays: within 2 mm of it, no point of a sole goes faster than 0.25 m/s.
        down = (points[1:, :, 2] < 0.002) & (points[:-1, :, 2] < 0.002)
        speeds = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1) * FPS
        assert (speeds * down).max() < 0.25
        knees = np.degrees(angles[:, [joint("left_knee"), joint("right_knee")]])
        assert knees[..., 0].min() > 0
        assert knees[..., 0].max() <= 150
        assert np.abs(knees[..., 1:]).max() < 1e-6  # a hinge
        assert joints[:, [joint("left_knee"), joint("right_knee")], 2].min() > 0.03
        for side, sign in (("left", -1), ("right", 1)):
            elbow = np.degrees(angles[:, joint(f"{side}_elbow")])
            assert (sign * elbow[:, 1]).min() >= 0
            assert (sign * elbow[:, 1]).max() <= 150
            assert np.abs(elbow[:, [0, 2]]).max() < 1e-6
        limits = {"ankle": 65, "hip": 145, "wrist": 75, "spine1": 30, "spine2": 30, "spine3": 30, "neck": 50}
        for index, name in enumerate(JOINTS):
            limit = limits.get(name.rpartition("_")[2])
            if limit is not None:
                assert np.degrees(np.linalg.norm(angles[:, index], axis=-1)).max() < limit, name
        # Nothing jumps: no joint of the body is faster than a kicking foot.
        assert (np.linalg.norm(np.diff(joints[:, :22], axis=0), axis=-1) * FPS).max() < 16


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "label", ["wave {} hand", "raise {} arm", "point with {} hand", "punch with {} hand"]
)
def test_the_arm_that_the_label_names_moves(label: str, side: str, seed: int) -> None:
    joints, _, _ = of(label.format(side), seed)
    travelled = {
        name: np.linalg.norm(np.diff(joints[:, joint(f"{name}_wrist")], axis=0), axis=-1).sum()
        for name in ("left", "right")
    }
    other = "left" if side == "right" else "right"
    # Both fists go up for a punch.
    assert travelled[side] > (1.2 if "punch" in label else 3) * travelled[other]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_leg_that_the_label_names_kicks_and_the_other_hops(side: str, seed: int) -> None:
    other = "left" if side == "right" else "right"
    joints, _, _ = of(f"kick with {side} leg", seed)
    heights = {name: joints[:, joint(f"{name}_ankle"), 2].max() for name in ("left", "right")}
    assert heights[side] > heights[other] + 0.2
    joints, turns, _ = of(f"hop on {side} foot", seed)
    points = soles(joints, turns)[..., 2]
    middle = slice(len(points) // 4, 3 * len(points) // 4)
    own, free = (
        (points[middle, :2], points[middle, 2:])
        if side == "left"
        else (points[middle, 2:], points[middle, :2])
    )
    assert own.min() < 0.005
    assert own.min(axis=1).max() > 0.03
    assert free.min() > 0.05


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("label", "direction", "least"),
    [
        ("walk", 0, 1.0),
        ("run", 0, 3.0),
        ("crouch walk", 0, 1.0),
        ("jump forward", 0, 0.4),
        ("step over", 0, 0.5),
        ("walk backward", 180, 0.6),
        ("side step left", 90, 0.3),
        ("side step right", -90, 0.3),
    ],
)
def test_people_go_where_the_label_says(label: str, direction: float, least: float, seed: int) -> None:
    joints, turns, _ = of(label, seed)
    angle = np.radians(headings(turns)[0] + direction)
    way = joints[-1, 0, :2] - joints[0, 0, :2]
    along = way @ [np.cos(angle), np.sin(angle)]
    assert along > least
    assert along > 0.95 * np.linalg.norm(way)


@pytest.mark.parametrize("seed", SEEDS)
def test_left_turns_are_counter_clockwise_from_above(seed: int) -> None:
    for label, sign in (("turn left", 1), ("turn right", -1)):
        joints, turns, _ = of(label, seed)
        turned = headings(turns)
        assert 60 < sign * (turned[-1] - turned[0]) < 120
        # The hips say the same as the matrices: left is a quarter turn from where the person faces.
        hips = joints[-1, joint("left_hip"), :2] - joints[-1, joint("right_hip"), :2]
        left = np.degrees(np.arctan2(hips[1], hips[0]))
        assert abs((left - turned[-1] - 90 + 180) % 360 - 180) < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_body_goes_down_or_up_as_labelled(seed: int) -> None:
    def pelvis(label: str) -> np.ndarray:
        return of(label, seed)[0][:, 0, 2]

    standing = pelvis("stand").mean()
    assert standing == pytest.approx(0.95, abs=0.03)
    assert pelvis("sit down")[-1] < standing - 0.3
    assert pelvis("kneel on left knee")[-1] < standing - 0.35
    assert pelvis("squat").min() < standing - 0.3
    assert pelvis("jump").max() > standing + 0.15
    joints, turns, _ = of("jump", seed)
    assert soles(joints, turns)[..., 2].min(axis=1).max() > 0.12
    for number, action in enumerate(ACTIONS):
        if action.label == "stand up":
            joints, _, _ = performance(number, seed)
            assert joints[-1, 0, 2] > joints[0, 0, 2] + 0.3
    bent = of("touch toes", seed)[0]
    reach = bent[:, [joint("left_middle3"), joint("right_middle3")], 2].min(axis=0)
    assert reach.max() < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_knee_that_the_label_names_is_on_the_floor(seed: int) -> None:
    for side, other in (("left", "right"), ("right", "left")):
        joints, _, _ = of(f"kneel on {side} knee", seed)
        assert joints[-1, joint(f"{side}_knee"), 2] < 0.12
        assert joints[-1, joint(f"{other}_knee"), 2] > 0.4


@pytest.mark.parametrize("seed", SEEDS)
def test_arms_swing_against_the_legs(seed: int) -> None:
    joints, turns, _ = of("walk", seed)
    forward = turns[:, 0, :, 2]

    def ahead(name: str) -> np.ndarray:
        return ((joints[:, joint(name)] - joints[:, 0]) * forward).sum(axis=1)

    assert np.corrcoef(ahead("left_wrist"), ahead("left_ankle"))[0, 1] < -0.5
    assert np.corrcoef(ahead("left_wrist"), ahead("right_ankle"))[0, 1] > 0.5


def test_hands_meet_when_clapping() -> None:
    joints, _, _ = of("clap", 0)
    gap = np.linalg.norm(joints[:, joint("left_middle1")] - joints[:, joint("right_middle1")], axis=-1)
    assert gap.min() < 0.1


def test_a_chain_is_continuous_and_its_segments_fill_it() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        actions = draw_actions(rng, 6)
        posture = "standing"
        for action in actions:
            assert action.before == posture or (action.seated and posture == "sitting")
            posture = posture if action.seated else action.after
        sequence = perform(Person.draw(rng, rest_joints()), actions, rng)
        ends = [segment.end for segment in sequence.segments]
        assert [segment.start for segment in sequence.segments] == [0.0, *ends[:-1]]
        assert [segment.action for segment in sequence.segments[::2]] == list(actions)
        assert all(segment.action is None for segment in sequence.segments[1::2])
        joints = pose_joints(*sequence.sample(FPS))
        assert np.linalg.norm(np.diff(joints[:, :22], axis=0), axis=-1).max() * FPS < 16


def test_a_frame_rate_only_decides_when_one_looks() -> None:
    rng = np.random.default_rng(0)
    sequence = perform(Person.draw(rng, rest_joints()), draw_actions(rng, 3), rng)
    fast, slow = pose_joints(*sequence.sample(120.0)), pose_joints(*sequence.sample(60.0))
    np.testing.assert_allclose(fast[::2][: len(slow)], slow, atol=0.02)  # feet clear the floor by their speed


def test_the_left_arm_is_on_the_left_and_forward_is_forward() -> None:
    person = Person.draw(np.random.default_rng(0), rest_joints())
    row = person.neutral.copy()
    row[INDEX["left_up"]], row[INDEX["left_out"]] = 90.0, 90.0
    row[INDEX["right_up"]], row[INDEX["right_out"]], row[INDEX["right_elbow"]] = 90.0, 0.0, 0.0
    (joints,) = pose_joints(*solve(row[None], person))
    left = joints[joint("left_elbow")] - joints[joint("left_shoulder")]
    right = joints[joint("right_wrist")] - joints[joint("right_shoulder")]
    # Yaw 0 faces the world's x; the left side is then at y > 0.
    np.testing.assert_allclose(left / np.linalg.norm(left), (0, 1, 0), atol=0.05)
    np.testing.assert_allclose(right / np.linalg.norm(right), (1, 0, 0), atol=0.05)
    assert joints[joint("left_foot"), 0] > joints[joint("left_ankle"), 0]


def test_a_rest_skeleton_of_another_size_stands_on_the_floor_too() -> None:
    tall = rest_joints() * 1.15 + [0.01, -0.2, 0.03]  # body models have the pelvis off the origin
    rng = np.random.default_rng(0)
    sequence = perform(Person.draw(rng, tall), draw_actions(rng, 2), rng)
    joints = pose_joints(*sequence.sample(30.0), tall)
    balls = joints[:, [joint("left_foot"), joint("right_foot")], 2]
    assert balls[0] == pytest.approx(SOLE_HEIGHT_M, abs=1e-6)


def test_axis_angles_are_exact_near_half_a_turn() -> None:
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(200, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    for angle in (0.0, 1e-9, 1e-4, 1.0, 3.0, np.pi - 1e-7):
        matrices = to_matrices(angle * axes)
        np.testing.assert_allclose(to_matrices(to_axis_angles(matrices)), matrices, atol=1e-7)
    quarter = rotation("z", np.array([90.0]))[0]
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(to_axis_angles(quarter), [0, 0, np.pi / 2], atol=1e-12)


def test_key_poses_are_reached_without_overshoot() -> None:
    start = np.zeros(len(CHANNELS))
    take = keyed(start, key(1.0, bend=10.0), key(0.5, {"bend": 30.0}, lean=5.0), key(1.0))
    rows = take.evaluate(np.linspace(0, 2.5, 251))
    bend = rows[:, INDEX["bend"]]
    assert take.duration == 2.5
    assert bend[[0, 100, 150, 250]].tolist() == pytest.approx([0, 10, 30, 30])
    assert (np.diff(bend) >= -1e-9).all()
    assert rows[:100, INDEX["lean"]] == pytest.approx(0)
    line = interpolate(np.array([0.5]), np.array([0.0, 1.0]), np.array([[0.0], [2.0]]))
    assert line.tolist() == [[1.0]]


def test_channels_named_without_a_side_are_of_both_and_the_last_value_counts() -> None:
    take = keyed(np.zeros(len(CHANNELS)), key(1.0, {"up": 40.0}, left_up=10.0, foot_aside=(0.1, -0.2)))
    values = {
        name: take.end[INDEX[name]] for name in ("left_up", "right_up", "left_foot_aside", "right_foot_aside")
    }
    assert values == {"left_up": 10.0, "right_up": 40.0, "left_foot_aside": 0.1, "right_foot_aside": -0.2}
    assert np.count_nonzero(take.end) == 4


def test_a_mirrored_action_does_the_same_on_the_other_side() -> None:
    def lean(person: Person, rng: np.random.Generator, start: np.ndarray) -> Take:
        return keyed(start, key(1.0, lean=20.0, bend=5.0, left_up=90.0, left_foot_yaw=10.0))

    person = Person.draw(np.random.default_rng(0), rest_joints())
    start = person.neutral.copy()
    start[INDEX["right_curl"]] = 70.0
    end = mirrored(lean)(person, np.random.default_rng(0), start).end
    expected = start.copy()
    for name, value in {"lean": -20.0, "bend": 5.0, "right_up": 90.0, "right_foot_yaw": -10.0}.items():
        expected[INDEX[name]] = value
    np.testing.assert_array_equal(end, expected)


def test_easing_to_full_speed_and_to_a_halt() -> None:
    t = np.linspace(0, 5, 5001)
    way = ramped(t, 5.0, 1.5)
    speed = np.gradient(way, t)
    assert way[[0, -1]].tolist() == pytest.approx([0.0, 3.5])
    assert speed[[0, -1]] == pytest.approx(0, abs=1e-3)
    assert speed[2500] == pytest.approx(1)
    assert (speed > -1e-9).all()
