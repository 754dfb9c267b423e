import numpy as np
import pytest

from langpose_dist.detections.people import MAX_ABSENCE, PeopleTracker, extent
from langpose_dist.detections.recording import Detection
from tests.detections import made


def walk(num_frames: int, x: float, speed: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """T x 26 x 3, x of the pelvis at ``x + speed * t``."""
    points = made.figure("halpe26", num_frames, x=x)[:, :20]
    points[:, :, 0] += (speed - made.STEP) * np.arange(num_frames)[:, None]
    points[:, :, :2] += np.random.default_rng(seed).normal(size=(num_frames, 20, 2)) * noise
    return points.astype(np.float32)


def follow(frames: dict[int, list[np.ndarray]]) -> PeopleTracker:
    tracker = PeopleTracker()
    for number, people in frames.items():
        tracker.add(number, [Detection(person) for person in people])
    return tracker


def speeds(tracker: PeopleTracker) -> list[float]:
    """Pixels per frame of each person from its first to its last frame."""
    return [
        float((one.points[-1] - one.points[0])[:, 0].mean() / (one.frames[-1] - one.frames[0]))
        for one in tracker.people
    ]


@pytest.mark.parametrize("seed", range(5))
def test_two_people_who_cross_in_any_order_are_not_exchanged(seed: int) -> None:
    generator = np.random.default_rng(seed)
    right, left = walk(100, 100, 4, noise=2, seed=seed), walk(100, 500, -4, noise=2, seed=seed + 50)
    pairs = [[right[number], left[number]] for number in range(100)]
    frames = {number: pair[:: generator.choice([-1, 1])] for number, pair in enumerate(pairs)}
    tracker = follow(frames)
    assert [len(one.frames) for one in tracker.people] == [100, 100]
    assert sorted(speeds(tracker)) == pytest.approx([-4, 4], abs=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_a_person_who_is_hidden_while_crossing_is_found_again(seed: int) -> None:
    right, left = walk(100, 100, 4, noise=2, seed=seed), walk(100, 500, -4, noise=2, seed=seed + 50)
    frames = {n: [right[n]] if 45 <= n < 55 else [left[n], right[n]] for n in range(100)}
    tracker = follow(frames)
    assert sorted(len(one.frames) for one in tracker.people) == [90, 100]
    assert sorted(speeds(tracker)) == pytest.approx([-4, 4], abs=0.1)


def test_a_person_who_stands_aside_is_not_taken_for_one_who_left() -> None:
    first, second = walk(40, 100, 0), walk(40, 700, 0)
    frames = {number: [first[number]] if number < 20 else [second[number]] for number in range(40)}
    assert [one.frames[0] for one in follow(frames).people] == [0, 20]


@pytest.mark.parametrize(("absence", "num_people"), [(MAX_ABSENCE - 1, 1), (MAX_ABSENCE, 2)])
def test_who_comes_back_late_is_somebody_else(absence: int, num_people: int) -> None:
    points = walk(1, 100, 0)[0]
    assert len(follow({0: [points], absence + 1: [points]}).people) == num_people


def test_the_halves_of_a_body_are_joined_and_a_second_body_is_not() -> None:
    whole, other = walk(5, 300, 3), walk(5, 420, 3)
    frames = {number: [other[number], whole[number]] for number in range(5)}
    upper, lower = whole[3].copy(), whole[3].copy()
    upper[11:] = 0
    lower[:11] = 0
    frames[3] = [lower, other[3], upper]
    tracker = follow(frames)
    assert [len(one.frames) for one in tracker.people] == [5, 5]
    assert tracker.num_merged == 1
    np.testing.assert_array_equal(tracker.people[1].points[3], whole[3])
    np.testing.assert_array_equal(tracker.people[0].points[3], other[3])


def test_a_half_without_a_whole_nearby_is_a_person() -> None:
    whole, far = walk(2, 300, 0), walk(2, 1500, 0)
    whole[1, 11:] = 0
    far[:, :11] = 0
    tracker = follow({0: [whole[0]], 1: [whole[1], far[1]]})
    assert (len(tracker.people), tracker.num_merged) == (2, 0)


def test_the_extent_is_that_of_the_box_around_what_was_seen() -> None:
    points = np.zeros((3, 4, 3), np.float32)
    points[0, :2] = [[10, 20, 1], [40, 60, 0.5]]  # a box of 30 x 40
    points[1, 2] = [5, 5, 1]
    assert extent(points).tolist() == [50, 1, 1]
