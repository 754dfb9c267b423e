import pytest
import torch
from torch import Tensor, nn

from langpose_dist.config import ModelConfig
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.lifting import lift, lift_in_batches

NUM_FRAMES = 4
UNIT = 1 / 2048
"""Keeps the numbers of frames within the contract, to the bit."""


class RecordingModel(nn.Module):
    """Answers x plus 1000 times the place within the window, and remembers what it was given, in units."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.windows: list[Tensor] = []

    def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
        assert not self.training
        self.windows += list(keypoints_2d[:, :, 0, 0] / UNIT)
        place = torch.arange(keypoints_2d.shape[1])[:, None, None]
        return self.weight * (keypoints_2d + 1000 * UNIT * place)


def clips(num_clips: int, length: int) -> Tensor:
    """Clip c holds 100 c + t units at frame t, in every joint and channel."""
    frames = 100.0 * torch.arange(num_clips)[:, None] + torch.arange(length)
    return UNIT * frames[:, :, None, None].expand(-1, -1, 17, 3)


@pytest.mark.parametrize(
    ("length", "windows", "expected"),
    [
        (1, [[0, 0, 0, 0]], [0]),
        (3, [[0, 1, 2, 2]], [0, 1001, 2002]),
        (4, [[0, 1, 2, 3]], [0, 1001, 2002, 3003]),
        (5, [[0, 1, 2, 3], [1, 2, 3, 4]], [0, 1001, 2002, 3003, 3004]),
        (8, [[0, 1, 2, 3], [4, 5, 6, 7]], [0, 1001, 2002, 3003, 4, 1005, 2006, 3007]),
        (
            10,
            [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]],
            [0, 1001, 2002, 3003, 4, 1005, 2006, 3007, 2008, 3009],
        ),
    ],
)
def test_windows_cover_a_clip_of_any_length_once(
    length: int, windows: list[list[int]], expected: list[int]
) -> None:
    model = RecordingModel()
    poses = lift(model, clips(1, length), NUM_FRAMES)
    assert [window.tolist() for window in model.windows] == windows
    assert poses.shape == (1, length, 17, 3)
    assert (poses[0, :, 5, 1] / UNIT).tolist() == expected


@pytest.mark.parametrize("length", [3, 4, 11])
def test_clips_do_not_mix(length: int) -> None:
    # 20 clips are more windows than go through the model at once.
    together = lift(RecordingModel(), clips(20, length), NUM_FRAMES)
    for number, clip in enumerate(clips(20, length)):
        assert torch.equal(together[number], lift(RecordingModel(), clip[None], NUM_FRAMES)[0])


@pytest.mark.parametrize("training", [True, False])
def test_the_model_keeps_its_mode_and_gathers_no_gradient(training: bool) -> None:
    model = RecordingModel().train(training)
    assert not lift(model, clips(1, 4), NUM_FRAMES).requires_grad
    assert model.training is training


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="0 frames"):
        lift(RecordingModel(), torch.zeros(1, 0, 17, 3), NUM_FRAMES)


@pytest.mark.parametrize(
    ("axis", "value", "message"),
    [
        (1, torch.nan, "not finite"),
        (0, torch.inf, "not finite"),
        (0, 557.0, "from 0 to 557, outside of -5..5: these look like pixels; give half image widths"),
        (1, -5.5, "from -5.5 to .*look like pixels"),
        (2, 7.0, "confidences from 0 to 7, outside of 0..1; scale or clip them"),
        (2, -0.1, "confidences from -0.1"),
        (2, torch.nan, "confidences from nan"),
    ],
)
def test_input_outside_of_the_contract_is_refused(axis: int, value: float, message: str) -> None:
    keypoints = clips(1, 4).clone()
    keypoints[0, 2, 3, axis] = value
    with pytest.raises(ValueError, match=message):
        lift(RecordingModel(), keypoints, NUM_FRAMES)


@pytest.mark.parametrize("value", [-5.0, -2.4, 1.0, 5.0])
def test_joints_outside_of_the_picture_are_taken(value: float) -> None:
    keypoints = clips(1, 4).clone()
    keypoints[0, 2, 3, :2] = value
    assert lift(RecordingModel(), keypoints, NUM_FRAMES).isfinite().all()


def test_flip_averaging_is_the_mean_with_the_mirror_image_mirrored_back() -> None:
    class Sideways(nn.Module):
        """Answers the 2D joints, moved to the right."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
            return keypoints_2d + torch.tensor([0.5, 0.0, 0.0]) + self.weight

    keypoints = torch.rand(1, 6, 17, 3, generator=torch.Generator().manual_seed(0))
    # To the right in one image is to the left in the other: the mean takes it away.
    torch.testing.assert_close(lift(Sideways(), keypoints, 4, flip_averaging=True), keypoints)


def test_bfloat16_activations_are_float32_poses_nearby() -> None:
    torch.manual_seed(0)
    config = ModelConfig(dim=32, dim_representation=32, depth=1, num_heads=2, init_std=0.1)
    encoder, windows = DSTformer(config, num_frames=5), torch.rand(3, 5, 17, 3)
    exact, rough = (lift_in_batches(encoder, windows, autocast=dtype) for dtype in (None, torch.bfloat16))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).norm() < 0.02 * exact.norm()
