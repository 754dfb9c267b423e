import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from langpose_dist.metrics.pose import (
    PCK_JOINTS,
    acceleration_error,
    auc_3dhp,
    joint_mpjpe,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pck_3dhp,
)
from langpose_dist.skeleton import H36M17

METRICS = [mpjpe, p_mpjpe, n_mpjpe, mpjve]


def random_poses(seed: int, *, num_windows: int = 2, num_frames: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(num_windows, num_frames, 17, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(num_windows, num_frames, 17, 3, generator=generator, dtype=torch.float64)
    return target + 0.3 * noise, target, torch.ones(num_windows, num_frames, dtype=torch.bool)


def random_rotation(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    orthogonal, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return orthogonal * torch.linalg.det(orthogonal).sign()


def horn_aligned(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One frame's best similarity transform by Horn's unit quaternions (JOSA A 1987), not by an SVD."""
    shape, goal = predicted - predicted.mean(0), target - target.mean(0)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = shape.T @ goal
    symmetric = np.array(
        [
            [xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, xx - yy - zz, xy + yx, zx + xz],
            [zx - xz, xy + yx, yy - xx - zz, yz + zy],
            [xy - yx, zx + xz, yz + zy, zz - xx - yy],
        ]
    )
    w, x, y, z = np.linalg.eigh(symmetric)[1][:, -1]
    rotation = np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )
    rotated = shape @ rotation.T
    return (rotated * goal).sum() / (shape * shape).sum() * rotated + target.mean(0)


def test_mpjpe_of_one_displaced_joint_by_hand() -> None:
    target = torch.zeros(1, 2, 4, 3)
    predicted = target.clone()
    predicted[0, 0, 1] = torch.tensor([3.0, 4.0, 0.0])  # length 5 over 2 frames x 4 joints
    assert mpjpe(predicted, target, torch.ones(1, 2, dtype=torch.bool)).tolist() == [0.625]


def test_mpjpe_is_a_mean_per_window_over_its_own_frames() -> None:
    target = torch.zeros(2, 3, 1, 3)
    predicted = target.clone()
    predicted[0, :, 0, 0] = torch.tensor([1.0, 2.0, 100.0])
    predicted[1, :, 0, 0] = torch.tensor([4.0, 5.0, 6.0])
    frame_mask = torch.tensor([[True, True, False], [True, True, True]])
    assert mpjpe(predicted, target, frame_mask).tolist() == [1.5, 5.0]


def test_n_mpjpe_by_hand() -> None:
    # Joints (1, 0, 0) and (0, 1, 0) against (2, 0, 0) and (0, 0, 1): scale 2 / 2 = 1, errors 1 and sqrt(2).
    predicted = torch.tensor([[[[1.0, 0, 0], [0, 1, 0]]]])
    target = torch.tensor([[[[2.0, 0, 0], [0, 0, 1]]]])
    value = n_mpjpe(predicted, target, torch.ones(1, 1, dtype=torch.bool))
    assert value.item() == pytest.approx((1 + 2**0.5) / 2)


def test_mpjve_by_hand() -> None:
    # Speeds 1, 3 and 0 against 0: mean 4/3. A constant offset has no speed.
    predicted = torch.zeros(1, 4, 1, 3)
    predicted[0, :, 0, 2] = torch.tensor([7.0, 8.0, 11.0, 11.0])
    target = torch.zeros(1, 4, 1, 3)
    assert mpjve(predicted, target, torch.ones(1, 4, dtype=torch.bool)).item() == pytest.approx(4 / 3)


def test_mpjve_uses_no_difference_with_an_invalid_frame() -> None:
    predicted = torch.zeros(1, 5, 1, 3)
    predicted[0, :, 0, 0] = torch.tensor([0.0, 1.0, 50.0, 60.0, 62.0])
    target = torch.zeros(1, 5, 1, 3)
    frame_mask = torch.tensor([[True, True, False, True, True]])
    assert mpjve(predicted, target, frame_mask).item() == pytest.approx(1.5)  # of 1 and 2


def test_p_mpjpe_equals_horns_quaternion_method_frame_by_frame() -> None:
    predicted, target, frame_mask = random_poses(0)
    expected = [
        np.mean(
            [
                np.linalg.norm(horn_aligned(p, t) - t, axis=-1).mean()
                for p, t in zip(window_p, window_t, strict=True)
            ]
        )
        for window_p, window_t in zip(predicted.numpy(), target.numpy(), strict=True)
    ]
    assert p_mpjpe(predicted, target, frame_mask).tolist() == pytest.approx(expected, abs=1e-12)


def test_p_mpjpe_does_not_mirror() -> None:
    _, target, frame_mask = random_poses(1)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    expected = np.mean(
        [
            np.linalg.norm(horn_aligned(p, t) - t, axis=-1).mean()
            for p, t in zip(mirrored[0].numpy(), target[0].numpy(), strict=True)
        ]
    )
    value = p_mpjpe(mirrored, target, frame_mask)[0].item()
    assert value == pytest.approx(expected, abs=1e-12)
    assert value > 0.1


@pytest.mark.parametrize("axes", [0, 1, 2], ids=["point", "line", "plane"])
def test_p_mpjpe_of_degenerate_poses_is_finite(axes: int) -> None:
    predicted, target, frame_mask = random_poses(2)
    predicted[..., axes:] = 0
    value = p_mpjpe(predicted, target, frame_mask)
    assert value.isfinite().all()
    assert p_mpjpe(predicted, predicted, frame_mask).tolist() == pytest.approx([0, 0], abs=1e-12)
    if axes == 0:
        spread = (target - target.mean(dim=2, keepdim=True)).norm(dim=-1).mean(dim=(1, 2))
        assert value.tolist() == pytest.approx(spread.tolist())


def test_n_mpjpe_of_a_prediction_at_the_root_is_the_targets_size() -> None:
    _, target, frame_mask = random_poses(3)
    value = n_mpjpe(torch.zeros_like(target), target, frame_mask)
    assert value.tolist() == pytest.approx(target.norm(dim=-1).mean(dim=(1, 2)).tolist())


@pytest.mark.parametrize("metric", METRICS)
def test_padding_does_not_count_even_if_it_is_not_finite(metric) -> None:
    predicted, target, frame_mask = random_poses(4)
    expected = metric(predicted[:, :3], target[:, :3], frame_mask[:, :3])
    predicted[:, 3:] = torch.nan
    target[:, 3:] = torch.inf
    frame_mask[:, 3:] = False
    assert metric(predicted, target, frame_mask).tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize("metric", METRICS)
def test_a_prediction_that_is_not_finite_spoils_its_own_window_only(metric) -> None:
    predicted, target, frame_mask = random_poses(5)
    predicted[1, 2, 0, 0] = torch.nan
    assert metric(predicted, target, frame_mask).isnan().tolist() == [False, True]


@pytest.mark.parametrize("metric", METRICS)
def test_a_window_without_valid_frames_has_no_value(metric) -> None:
    predicted, target, frame_mask = random_poses(6)
    frame_mask[0] = False
    assert metric(predicted, target, frame_mask).isnan().tolist() == [True, False]


def test_shape_annotations_are_checked_in_the_tests() -> None:
    predicted, target, frame_mask = random_poses(7)
    with pytest.raises(TypeCheckError, match="frame_mask"):
        mpjpe(predicted, target, frame_mask[:, :-1])


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_p_mpjpe_does_not_see_rotation_translation_and_scale(seed: int, scale: float, shift: float) -> None:
    predicted, target, frame_mask = random_poses(seed)
    moved = scale * predicted @ random_rotation(seed + 1) + shift
    before, after = p_mpjpe(predicted, target, frame_mask), p_mpjpe(moved, target, frame_mask)
    assert after.tolist() == pytest.approx(before.tolist(), abs=1e-9)
    assert p_mpjpe(scale * target @ random_rotation(seed) - shift, target, frame_mask).max() < 1e-9


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_aligned_errors_stay_below_the_plain_root_mean_square(seed: int) -> None:
    # Each alignment minimises the sum of squares and contains the identity, and a mean is at most the root
    # mean square. The three means themselves are not ordered.
    predicted, target, frame_mask = random_poses(seed, num_frames=1)
    bound = (predicted - target).square().sum(dim=-1).mean(dim=(1, 2)).sqrt()
    for metric in (mpjpe, n_mpjpe, p_mpjpe):
        assert (metric(predicted, target, frame_mask) <= bound + 1e-12).all()


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 100))
def test_n_mpjpe_does_not_see_scale(seed: int, scale: float) -> None:
    predicted, target, frame_mask = random_poses(seed)
    before, after = (
        n_mpjpe(predicted, target, frame_mask),
        n_mpjpe(scale * predicted, target, frame_mask),
    )
    assert after.tolist() == pytest.approx(before.tolist(), abs=1e-12)


def everywhere(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def test_acceleration_error_by_hand() -> None:
    target = torch.zeros(1, 4, 2, 3)
    predicted = target.clone()
    predicted[0, 2, 0, 1] = 3.0
    # Second differences of 0, 0, 3, 0 are 3 and -6; half of that is each frame's mean over two joints.
    assert acceleration_error(predicted, target, everywhere(1, 4)).tolist() == [2.25]
    mask = everywhere(1, 4)
    mask[0, 0] = False  # leaves the three frames whose second difference is -6
    assert acceleration_error(predicted, target, mask).tolist() == [3.0]


def test_steady_motion_has_no_acceleration_error() -> None:
    predicted, target, mask = random_poses(3)
    drift = torch.arange(5, dtype=torch.float64)[None, :, None, None] * torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(
        acceleration_error(predicted + drift, target, mask), acceleration_error(predicted, target, mask)
    )


def test_pck_counts_14_joints_strictly_below_150_mm() -> None:
    target = torch.zeros(1, 1, 17, 3, dtype=torch.float64)
    predicted = target.clone()
    for joint in ("pelvis", "spine", "neck"):
        predicted[0, 0, H36M17.index(joint), 0] = 9.0  # not counted
    predicted[0, 0, H36M17.index("left_wrist"), 0] = 0.15  # not strictly below
    predicted[0, 0, H36M17.index("head"), 0] = 0.1499
    assert len(PCK_JOINTS) == 14
    assert pck_3dhp(predicted, target, everywhere(1, 1)).tolist() == pytest.approx([100 * 13 / 14])


def test_auc_has_a_ceiling_of_30_of_31_thresholds() -> None:
    target = torch.zeros(1, 1, 17, 3, dtype=torch.float64)
    assert auc_3dhp(target, target, everywhere(1, 1)).tolist() == pytest.approx([96.774], abs=1e-3)
    predicted = target.clone()
    predicted[..., 0] = 0.012  # below 15, 20, ... 150 mm: 28 of the 31
    assert auc_3dhp(predicted, target, everywhere(1, 1)).tolist() == pytest.approx([100 * 28 / 31])


def test_auc_and_pck_agree_with_a_plain_loop() -> None:
    predicted, target, mask = random_poses(5)
    mask[0, 2] = False
    predicted = target + 0.2 * (predicted - target)
    for window in range(2):
        shares = []
        for millimetres in range(0, 151, 5):
            hits = [
                float(
                    (predicted[window, frame, joint] - target[window, frame, joint]).norm() * 1000
                    < millimetres
                )
                for frame in range(5)
                if mask[window, frame]
                for joint in PCK_JOINTS
            ]
            shares.append(100 * sum(hits) / len(hits))
        assert auc_3dhp(predicted, target, mask)[window] == pytest.approx(sum(shares) / 31)
        assert pck_3dhp(predicted, target, mask)[window] == pytest.approx(shares[-1])


def test_errors_of_some_joints() -> None:
    target = torch.zeros(1, 2, 17, 3)
    predicted = target.clone()
    predicted[0, :, 4, 2] = 2.0
    predicted[0, :, 5, 2] = 4.0
    chosen = torch.zeros(1, 2, 17, dtype=torch.bool)
    chosen[0, 0, 4] = chosen[0, 1, 5] = True
    assert joint_mpjpe(predicted, target, chosen).tolist() == [3.0]
    assert joint_mpjpe(predicted, target, torch.zeros_like(chosen)).isnan().all()
