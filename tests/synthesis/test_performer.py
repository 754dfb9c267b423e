"""People who act in a room: they stay in it, do what the script says and look like people."""

import numpy as np
import pytest

from langpose_dist.datasets.person import check_person
from langpose_dist.skeleton import H36M17
from langpose_dist.synthesis.actions import ACTIONS
from langpose_dist.synthesis.performer import WALK, Performer, generator

LABELS = {action.label for action in ACTIONS}


def act(*script: str, seed: int = 0, num_frames: int = 200) -> np.ndarray:
    assert set(script) <= LABELS
    performer = Performer.draw(generator(seed, 1))
    return performer.act(script, generator(seed, 2), fps=50.0, num_frames=num_frames)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "script", [(WALK,), (WALK, "bend down"), ("clap", "turn left", "turn right"), ("sit down", "stand up")]
)
def test_people_stay_within_two_metres_of_the_middle(script: tuple[str, ...], seed: int) -> None:
    poses = act(*script, seed=seed, num_frames=500)
    assert np.hypot(poses[..., 0], poses[..., 1]).max() < 2.4
    assert np.hypot(poses[:, 0, 0], poses[:, 0, 1]).max() < 2.0
    ankles = poses[:, [H36M17.index("left_ankle"), H36M17.index("right_ankle")], 2]
    assert 0.03 < ankles.min(axis=1).min() < 0.12
    check_person(poses)


def test_who_walks_goes_round_and_who_sits_goes_down() -> None:
    pelvis = act(WALK)[:, 0]
    assert np.linalg.norm(np.diff(pelvis, axis=0), axis=1).sum() > 1.5
    pelvis = act("sit down", "stand up")[:, 0]
    assert pelvis[:, 2].max() - pelvis[:, 2].min() > 0.3
    assert np.ptp(pelvis[:, :2], axis=0).max() < 0.8


def test_what_is_drawn_depends_on_the_key_alone() -> None:
    np.testing.assert_array_equal(act(WALK, seed=4), act(WALK, seed=4))
    assert np.abs(act(WALK, seed=4) - act(WALK, seed=5)).max() > 0.1


def test_a_rate_only_decides_when_one_looks() -> None:
    performer = Performer.draw(generator(0))
    slow = performer.act(["clap"], generator(1), fps=25.0, num_frames=50)
    fast = performer.act(["clap"], generator(1), fps=50.0, num_frames=100)
    np.testing.assert_allclose(fast[::2], slow, atol=0.01)  # feet clear the floor by their speed
