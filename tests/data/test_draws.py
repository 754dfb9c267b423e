"""Draws in their proportions: counted over many windows, compared with the exact probabilities."""

import numpy as np
import pytest

from langpose_dist.config import CameraConfig, MaskingConfig, NoiseConfig
from langpose_dist.data.draws import Draw, draw_camera, draw_negatives, generator
from langpose_dist.data.masking import draw_joint_mask
from langpose_dist.data.noise import draw_noise, joint_spread
from langpose_dist.skeleton import H36M17


def masks(config: MaskingConfig, count: int, num_valid: int = 243) -> np.ndarray:
    return np.stack(
        [
            draw_joint_mask(generator(0, 0, index, Draw.MASK), 243, num_valid, H36M17, config)
            for index in range(count)
        ]
    )


def test_generators_differ_by_seed_epoch_window_and_purpose() -> None:
    places = [(0, 0, 0, Draw.MASK), (1, 0, 0, Draw.MASK), (0, 1, 0, Draw.MASK), (0, 0, 1, Draw.MASK)]
    places += [(0, 0, 0, Draw.NOISE), (0, 2**64 - 1, 0, Draw.MASK)]
    values = {generator(*place).random() for place in places}
    assert len(values) == len(places)
    assert generator(5, 6, 7, Draw.FLIP).random() == generator(5, 6, 7, Draw.FLIP).random()


def test_kinds_of_masking_come_in_their_proportions() -> None:
    drawn = masks(MaskingConfig(), 4000)
    whole_part = np.array(
        [
            any(
                mask[:, [H36M17.index(joint) for joint in part]].all() and mask.sum() == 243 * len(part)
                for part in H36M17.body_parts.values()
            )
            for mask in drawn
        ]
    )
    frames = drawn.all(axis=2)
    runs = np.abs(np.diff(frames.astype(int), axis=1, prepend=0, append=0)).sum(axis=1) == 2
    stretch = runs & (drawn.sum(axis=(1, 2)) == 17 * frames.sum(axis=1))
    # Standard deviation of a share of 1/4 over 4000 draws is 0.7 %.
    assert whole_part.mean() == pytest.approx(0.25, abs=0.03)
    assert stretch.mean() == pytest.approx(0.25, abs=0.03)
    assert (~whole_part & ~stretch).mean() == pytest.approx(0.5, abs=0.03)


def test_random_masking_hides_joints_and_frames_in_their_ratios() -> None:
    config = MaskingConfig(random_probability=1, time_window_probability=0, body_part_probability=0)
    drawn = masks(config, 200)
    frames = drawn.all(axis=2)
    assert frames.mean() == pytest.approx(0.15, abs=0.005)
    assert drawn[~frames].mean() == pytest.approx(0.05, abs=0.002)


def test_a_hidden_stretch_is_as_long_as_configured_both_ends_included() -> None:
    config = MaskingConfig(
        random_probability=0, time_window_probability=1, body_part_probability=0, time_window_frames=(30, 33)
    )
    lengths = masks(config, 400).all(axis=2).sum(axis=1)
    values, counts = np.unique(lengths, return_counts=True)
    assert values.tolist() == [30, 31, 32, 33]
    assert counts.min() > 60  # 100 expected of each


def test_a_short_clip_keeps_at_least_half_of_its_frames() -> None:
    config = MaskingConfig(random_probability=0, time_window_probability=1, body_part_probability=0)
    frames = np.asarray(masks(config, 200, num_valid=20).all(axis=2))
    assert (frames[:, :20].sum(axis=1) == 10).all()
    assert not frames[:, 20:].any()


@pytest.mark.parametrize("num_valid", [1, 2, 3])
def test_the_shortest_clips_can_be_masked(num_valid: int) -> None:
    config = MaskingConfig(random_probability=0, time_window_probability=1, body_part_probability=0)
    assert masks(config, 20, num_valid=num_valid).all(axis=2).sum(axis=1).tolist() == [num_valid // 2] * 20


def test_every_body_part_is_hidden_about_equally_often() -> None:
    config = MaskingConfig(random_probability=0, time_window_probability=0, body_part_probability=1)
    hidden = masks(config, 1000)[:, 0].astype(int)
    share = {part: hidden[:, H36M17.index(joints[0])].mean() for part, joints in H36M17.body_parts.items()}
    assert share == pytest.approx(dict.fromkeys(share, 1 / len(share)), abs=0.05)


def test_noise_has_the_configured_spread_per_joint() -> None:
    config = NoiseConfig(gaussian_std=0.02, uniform_probability=0, jitter_std=0.004, confidence_std=0.05)
    drawn = [draw_noise(generator(0, 0, index, Draw.NOISE), 50, H36M17, config) for index in range(200)]
    keyframes, jitter = (np.stack(part) for part in zip(*drawn, strict=True))
    spread = joint_spread(H36M17.joints)[:, 0]
    assert spread[H36M17.index("left_wrist")] == 2
    assert spread[H36M17.index("pelvis")] == 1
    np.testing.assert_allclose(keyframes.std(axis=(0, 1, 3)), 0.02 * spread, rtol=0.05)
    np.testing.assert_allclose(jitter.std(axis=(0, 1, 2)), [0.004, 0.004, 0.05], rtol=0.02)


def test_gross_errors_come_as_often_as_configured_and_stay_in_range() -> None:
    config = NoiseConfig(gaussian_std=0.0, uniform_probability=0.3, uniform_range=0.2)
    keyframes = np.stack(
        [draw_noise(generator(0, 0, index, Draw.NOISE), 9, H36M17, config)[0] for index in range(100)]
    )
    gross = (keyframes != 0).all(axis=-1)
    assert gross.mean() == pytest.approx(0.3, abs=0.01)
    assert np.abs(keyframes).max() <= 0.2
    assert keyframes[gross].std() == pytest.approx(0.2 / np.sqrt(3), rel=0.02)


def test_cameras_stay_in_their_ranges_and_fill_them() -> None:
    config = CameraConfig()
    cameras = np.stack([draw_camera(generator(0, 0, index, Draw.CAMERA), config) for index in range(500)])
    low = np.array([-np.pi, np.radians(-10), 3.0, 1.5])
    high = np.array([np.pi, np.radians(30), 7.0, 3.0])
    span = high - low
    assert (cameras.min(axis=0) >= low - 1e-6).all()
    assert (cameras.max(axis=0) <= high + 1e-6).all()
    assert (cameras.max(axis=0) - cameras.min(axis=0) > 0.97 * span).all()


def negatives(weights: list[float], anchor: int, wanted: int, count: int) -> np.ndarray:
    return np.stack(
        [
            draw_negatives(generator(0, 0, index, Draw.NEGATIVES), [anchor], np.array(weights), wanted)
            for index in range(count)
        ]
    )


def test_a_single_negative_is_drawn_in_proportion_to_its_weight() -> None:
    drawn = negatives([5.0, 1.0, 2.0, 3.0, 0.0], anchor=0, wanted=1, count=3000)[:, 0]
    shares = np.bincount(drawn, minlength=5) / 3000
    np.testing.assert_allclose(shares, [0, 1 / 6, 2 / 6, 3 / 6, 0], atol=0.03)


def test_negatives_are_distinct_and_never_the_anchor() -> None:
    drawn = negatives([1.0] * 30, anchor=7, wanted=16, count=200)
    assert drawn.shape == (200, 16)
    assert (drawn != 7).all()
    assert all(len(set(row)) == 16 for row in drawn.tolist())


def test_negatives_that_no_label_is_left_for_are_missing() -> None:
    drawn = negatives([1.0, 1.0, 1.0, 0.0], anchor=0, wanted=3, count=5)
    assert [sorted(row) for row in drawn.tolist()] == [[-1, 1, 2]] * 5


def test_labels_that_are_true_are_never_negatives() -> None:
    rng = generator(0, 0, 0, Draw.NEGATIVES)
    assert sorted(draw_negatives(rng, [0, 2], np.ones(4), 3).tolist()) == [-1, 1, 3]
