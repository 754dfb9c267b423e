"""Corruptions worked out by hand on clips of a few frames."""

import itertools

import numpy as np
import pytest

from langpose_dist.config import UserError
from langpose_dist.evaluation.corruption_table import CORRUPTIONS, NAMES, Corruption, Level, find_corruptions
from langpose_dist.evaluation.corruptions import corrupt
from langpose_dist.keypoints import check_keypoints
from langpose_dist.skeleton import H36M17

PX = 0.002  # a picture of 1000 px is 2 half widths wide
DAMAGES = [(row, level) for row in CORRUPTIONS.values() for level in row.levels]
LEFT_LEG = [H36M17.index(f"left_{part}") for part in ("hip", "knee", "ankle")]
RIGHT_LEG = [H36M17.index(f"right_{part}") for part in ("hip", "knee", "ankle")]


def make_clip(num_frames: int = 40) -> np.ndarray:
    """Every value another one; x below 0, y above, confidences from 0.5 to 1."""
    rng = np.random.default_rng(0)
    low, high = [-0.9, 0.1, 0.5], [-0.1, 0.9, 1.0]
    return rng.uniform(low, high, (num_frames, 17, 3)).astype(np.float32)


def rising(num_frames: int) -> np.ndarray:
    """Frame f has x = f / 100, y = 0.5, confidence 1, at every joint."""
    clip = np.ones((num_frames, 17, 3), np.float32)
    clip[..., 0] = np.arange(num_frames)[:, None] / 100
    clip[..., 1] = 0.5
    return clip


def names(damages: list[tuple[Corruption, Level]]) -> list[str]:
    return [f"{row.key}-{level}" for row, level in damages]


def test_the_six_corruptions_have_the_levels_that_were_agreed_on() -> None:
    assert NAMES == ("noise_px", "drop_joints", "drop_frames", "hide_limb", "swap_lr", "low_fps")
    levels = {key: row.levels for key, row in CORRUPTIONS.items()}
    assert levels == {
        "noise_px/blind": (2, 5, 10, 15, 20),
        "noise_px/told": (2, 5, 10, 15, 20),
        "drop_joints/zero": (0.1, 0.2, 0.3, 0.5),
        "drop_joints/hold": (0.1, 0.2, 0.3, 0.5),
        "drop_joints/interp": (0.1, 0.2, 0.3, 0.5),
        "drop_frames/random": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        "drop_frames/gap": (5, 15, 30, 60),
        "hide_limb/zero": ("right_arm", "left_arm", "right_leg", "left_leg", "lower_body"),
        "swap_lr/legs": (1, 5, 15, 30),
        "swap_lr/jump": (1, 5, 15, 30),
        "low_fps/repeat": (2, 3, 5),
        "low_fps/interp": (2, 3, 5),
    }


@pytest.mark.parametrize(("row", "level"), DAMAGES, ids=names(DAMAGES))
def test_what_is_not_corrupted_keeps_its_values_and_the_contract_holds(row: Corruption, level: Level) -> None:
    clip = make_clip()
    clip[::2, 3] = 0  # missing in the input
    clip[:, 5, 0] = 5.0  # at the limit of the contract
    before = clip.copy()
    found, mask = corrupt(row, level, clip, "clip")
    check_keypoints(found)
    np.testing.assert_array_equal(clip, before)
    np.testing.assert_array_equal(found[~mask], before[~mask])
    assert mask.any()
    assert not mask[::2, 3].any()
    # A joint that is put where it was, such as one at the limit, may count as corrupted and look the same.
    unchanged = (found == before).all(axis=-1) & mask
    assert not unchanged[:, [joint for joint in range(17) if joint != 5]].any()


@pytest.mark.parametrize(("row", "level"), DAMAGES, ids=names(DAMAGES))
def test_draws_depend_on_the_clip_and_on_nothing_else(row: Corruption, level: Level) -> None:
    first, first_mask = corrupt(row, level, make_clip(), "clip")
    corrupt(row, level, make_clip(30), "another clip between")
    again, again_mask = corrupt(row, level, make_clip(), "clip")
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_mask, again_mask)


@pytest.mark.parametrize("key", ["noise_px/told", "drop_joints/zero", "drop_frames/random", "swap_lr/jump"])
def test_every_clip_has_draws_of_its_own(key: str) -> None:
    row = CORRUPTIONS[key]
    one, other = (corrupt(row, row.levels[-1], make_clip(), name)[0] for name in ("clip", "other clip"))
    assert (one != other).any()


def test_every_level_has_draws_of_its_own() -> None:
    row = CORRUPTIONS["noise_px/blind"]
    mild, bad = (corrupt(row, level, rising(3), "clip")[0][..., 1] - 0.5 for level in (2, 20))
    assert (bad / mild).std() > 1  # not the same draw, ten times as large


def test_draws_are_those_of_version_1() -> None:
    # Taken from version 1 itself: where this fails, the version has to rise.
    found, _ = corrupt(CORRUPTIONS["noise_px/blind"], 10, rising(1), "clip")
    np.testing.assert_allclose(found[0, 0, :2], [-0.0270059, 0.5021221], atol=1e-6)


@pytest.mark.parametrize("row", [row for row in CORRUPTIONS.values() if row.clean_level is not None])
def test_the_clean_level_changes_nothing(row: Corruption) -> None:
    assert row.clean_level is not None
    found, mask = corrupt(row, row.clean_level, make_clip(), "clip")
    np.testing.assert_array_equal(found, make_clip())
    assert not mask.any()


def test_noise_has_the_spread_that_its_level_says() -> None:
    clip = np.full((2000, 17, 3), 0.5, np.float32)
    found, mask = corrupt(CORRUPTIONS["noise_px/blind"], 5, clip, "clip")
    error = found[..., :2] - clip[..., :2]
    assert error.std() == pytest.approx(5 * PX, rel=0.01)
    assert abs(error.mean()) < 0.02 * 5 * PX
    assert np.corrcoef(error[..., 0].ravel(), error[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert mask.all()
    assert (found[..., 2] == 0.5).all()


def test_told_noise_is_blind_noise_with_a_confidence_that_halves_at_25_px() -> None:
    clip = make_clip()
    blind, told = (
        corrupt(CORRUPTIONS[f"noise_px/{name}"], 20, clip, "clip")[0] for name in ("blind", "told")
    )
    np.testing.assert_array_equal(blind[..., :2], told[..., :2])
    distance = np.linalg.norm(told[..., :2] - clip[..., :2], axis=-1) / PX
    nearest = np.unravel_index(np.abs(distance - 25).argmin(), distance.shape)
    assert told[nearest][2] == pytest.approx(clip[nearest][2] / 2, rel=0.01)
    order = distance.ravel().argsort()
    assert (np.diff((told[..., 2] / clip[..., 2]).ravel()[order]) <= 1e-6).all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_joints_are_dropped_one_by_one(share: float) -> None:
    clip = make_clip(1000)
    found, mask = corrupt(CORRUPTIONS["drop_joints/zero"], share, clip, "clip")
    assert mask.mean() == pytest.approx(share, abs=0.01)
    assert (found[mask] == 0).all()
    assert 0 < mask.all(axis=1).mean() + mask.any(axis=1).mean() < 2


def test_a_dropped_joint_is_held_or_interpolated() -> None:
    clip = rising(12)
    _, mask = corrupt(CORRUPTIONS["drop_joints/zero"], 0.5, clip, "clip")
    held, held_mask = corrupt(CORRUPTIONS["drop_joints/hold"], 0.5, clip, "clip")
    straight, _ = corrupt(CORRUPTIONS["drop_joints/interp"], 0.5, clip, "clip")
    np.testing.assert_array_equal(mask, held_mask)
    for joint, frame in itertools.product(range(17), range(12)):
        seen = [f for f in range(12) if not mask[f, joint]]
        before, after = [f for f in seen if f <= frame], [f for f in seen if f >= frame]
        last = before[-1] if before else after[0]
        assert held[frame, joint] == pytest.approx([last / 100, 0.5, 1])
        # On a line that rises steadily a joint between two seen ones is where it was.
        place = frame if before and after else last if before else after[0]
        assert straight[frame, joint] == pytest.approx([place / 100, 0.5, 1])


def test_a_joint_that_is_never_seen_has_zeros() -> None:
    _, mask = corrupt(CORRUPTIONS["drop_joints/zero"], 0.5, rising(1), "clip")
    for encoding in ("hold", "interp"):
        found, _ = corrupt(CORRUPTIONS[f"drop_joints/{encoding}"], 0.5, rising(1), "clip")
        assert (found[mask] == 0).all()
        assert 0 < mask.sum() < 17


def test_a_joint_that_the_detector_missed_is_no_source_for_others() -> None:
    clip = rising(5)
    clip[2, 4] = 0  # seen in frames 0 and 4 of every second one, and missed between
    held, mask = corrupt(CORRUPTIONS["low_fps/repeat"], 2, clip, "clip")
    straight, _ = corrupt(CORRUPTIONS["low_fps/interp"], 2, clip, "clip")
    assert held[:, 4, 0].tolist() == pytest.approx([0, 0, 0, 0, 0.04])
    assert straight[:, 4, 0].tolist() == pytest.approx([0, 0.01, 0, 0.03, 0.04])
    assert mask[:, 4].tolist() == [False, True, False, True, False]


def test_whole_frames_are_dropped() -> None:
    found, mask = corrupt(CORRUPTIONS["drop_frames/random"], 0.8, make_clip(1000), "clip")
    assert (mask.all(axis=1) == mask.any(axis=1)).all()
    assert mask[:, 0].mean() == pytest.approx(0.8, abs=0.03)
    assert (found[mask] == 0).all()


@pytest.mark.parametrize(
    ("num_frames", "length", "expected"),
    [(11, 5, range(3, 8)), (12, 5, range(3, 8)), (16, 15, range(1, 15)), (2, 5, range(0)), (1, 60, range(0))],
)
def test_a_gap_lies_in_the_middle_and_leaves_both_ends(num_frames: int, length: int, expected: range) -> None:
    found, mask = corrupt(CORRUPTIONS["drop_frames/gap"], length, make_clip(num_frames), "clip")
    assert np.flatnonzero(mask.all(axis=1)).tolist() == [*expected]
    assert mask.sum() == 17 * len(expected)
    assert (found[mask] == 0).all()


@pytest.mark.parametrize(
    ("limb", "joints"),
    [
        ("right_arm", ["right_shoulder", "right_elbow", "right_wrist"]),
        ("left_leg", ["left_hip", "left_knee", "left_ankle"]),
        (
            "lower_body",
            [
                "pelvis",
                *(f"{side}_{part}" for side in ("right", "left") for part in ("hip", "knee", "ankle")),
            ],
        ),
    ],
)
def test_a_limb_is_hidden_for_the_whole_clip(limb: str, joints: list[str]) -> None:
    found, mask = corrupt(CORRUPTIONS["hide_limb/zero"], limb, make_clip(4), "clip")
    assert [H36M17.joints[joint] for joint in np.flatnonzero(mask.all(axis=0))] == joints
    assert mask.sum() == 4 * len(joints)
    assert (found[mask] == 0).all()


def test_legs_change_sides_for_one_block() -> None:
    clip = make_clip(20)
    found, mask = corrupt(CORRUPTIONS["swap_lr/legs"], 5, clip, "clip")
    frames = np.flatnonzero(mask.any(axis=1))
    assert np.diff(frames).tolist() == [1, 1, 1, 1]
    assert np.flatnonzero(mask[frames[0]]).tolist() == sorted(LEFT_LEG + RIGHT_LEG)
    np.testing.assert_array_equal(found[frames][:, LEFT_LEG], clip[frames][:, RIGHT_LEG])
    np.testing.assert_array_equal(found[frames][:, RIGHT_LEG], clip[frames][:, LEFT_LEG])


def test_blocks_lie_anywhere_and_fill_a_shorter_clip() -> None:
    row = CORRUPTIONS["swap_lr/legs"]
    starts = {int(corrupt(row, 1, make_clip(4), f"{n}")[1].any(axis=1).argmax()) for n in range(40)}
    assert starts == {0, 1, 2, 3}
    assert corrupt(row, 30, make_clip(4), "clip")[1].any(axis=1).all()


def test_one_joint_jumps_aside_for_one_block() -> None:
    row = CORRUPTIONS["swap_lr/jump"]
    joints, signs = set(), set()
    for number in range(60):
        clip = make_clip(20)
        found, mask = corrupt(row, 5, clip, f"{number}")
        frames, (joint,) = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert np.diff(frames).tolist() == [1, 1, 1, 1]
        shift = (found - clip)[frames, joint]
        assert np.ptp(shift[:, 0]) == pytest.approx(0, abs=1e-6)
        assert 150 * PX <= abs(shift[0, 0]) <= 350 * PX
        assert (shift[:, 1:] == 0).all()
        joints.add(int(joint))
        signs.add(float(np.sign(shift[0, 0])))
    assert len(joints) > 10
    assert signs == {-1.0, 1.0}


def test_a_low_rate_repeats_or_interpolates_what_lies_between() -> None:
    clip = rising(8)
    repeated, mask = corrupt(CORRUPTIONS["low_fps/repeat"], 3, clip, "clip")
    straight, _ = corrupt(CORRUPTIONS["low_fps/interp"], 3, clip, "clip")
    assert np.flatnonzero(~mask.any(axis=1)).tolist() == [0, 3, 6]
    assert (repeated[:, 0, 0] * 100).round().tolist() == [0, 0, 0, 3, 3, 3, 6, 6]
    # After the last frame that is seen nothing is known: it stays.
    assert (straight[:, 0, 0] * 100).round(3).tolist() == [0, 1, 2, 3, 4, 5, 6, 6]


def test_a_level_that_a_corruption_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"noise_px/blind has no level 7; choose one of 2, 5, 10, 15, 20"):
        corrupt(CORRUPTIONS["noise_px/blind"], 7, make_clip(), "clip")


def test_words_choose_rows_in_the_order_of_the_table() -> None:
    assert [row.key for row in find_corruptions([])] == [*CORRUPTIONS]
    found = find_corruptions(["low_fps", "noise_px/told"])
    assert [row.key for row in found] == ["noise_px/told", "low_fps/repeat", "low_fps/interp"]


@pytest.mark.parametrize(
    ("word", "hint"), [("nois_px", "did you mean 'noise_px'"), ("qqq", "known are noise_px, drop_joints")]
)
def test_an_unknown_word_is_refused_with_the_nearest(word: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"--robustness {word} is unknown; {hint}"):
        find_corruptions([word])
