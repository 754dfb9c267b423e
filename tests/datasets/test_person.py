import numpy as np
import pytest

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.person import check_person
from langpose_dist.skeleton import H36M17
from tests.corpus import swing


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        (1000, "millimetres: 1.8 m"),
        (100, "centimetres: 1.8 m"),
        (39.37, "inches: 1.8 m"),
        (3.28, "feet: 1.8 m"),
        (10, "decimetres: 1.8 m"),
        (0.1, "centimetres taken for millimetres: 1.8 m"),
        (0.01, "metres taken for centimetres: 1.8 m"),
        (0.001, "metres taken for millimetres: 1.8 m"),
    ],
)
def test_another_unit_is_refused_and_named(factor: float, unit: str) -> None:
    check_person(swing(None, 4))
    with pytest.raises(DataError, match=f"^implausible size: .* looks like {unit}$"):
        check_person(swing(None, 4) * np.float32(factor))


def test_what_no_unit_explains_is_refused_too() -> None:
    with pytest.raises(DataError, match=r"^implausible size: 0 m .*all joints are in one point"):
        check_person(np.zeros((4, 17, 3), np.float32))
    with pytest.raises(DataError, match=r"^implausible size: .*check the unit"):
        check_person(swing(None, 4) * np.float32(1e30))


def test_small_people_need_limits_of_their_own() -> None:
    child = swing(None, 4) * np.float32(0.45)
    with pytest.raises(DataError, match="implausible size"):
        check_person(child)
    check_person(child, (0.5, 2.3))


def test_an_arm_without_length_is_refused() -> None:
    poses = swing(None, 4)
    poses[:, H36M17.index("left_wrist")] = poses[:, H36M17.index("left_elbow")]
    with pytest.raises(DataError, match=r"^implausible limbs: 0 m from left_elbow to left_wrist"):
        check_person(poses)


def test_bones_that_change_their_length_are_refused_with_the_frame() -> None:
    poses = swing(None, 40)
    poses[7] = 0  # lost by the tracker
    with pytest.raises(DataError, match=r"^bones change their length: .* in frame 7 .* in 1 of 40 frames"):
        check_person(poses)


def test_joints_may_move_as_those_regressed_from_a_surface_do() -> None:
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (200, 17, 3))
    check_person((swing(None, 200) + noise).astype(np.float32))
