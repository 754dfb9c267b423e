from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from langpose_dist.models.lifting import lift

NUM_FRAMES = 4


class RecordingModel(nn.Module):
    """Answers x plus 1000 times the place within the window, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.windows: list[Tensor] = []

    def forward(self, keypoints_2d: Tensor, *, with_features: bool = True) -> SimpleNamespace:
        assert not with_features
        assert not self.training
        self.windows += list(keypoints_2d[:, :, 0, 0])
        place = torch.arange(keypoints_2d.shape[1])[:, None, None]
        return SimpleNamespace(poses_3d=self.weight * (keypoints_2d + 1000 * place))


def clips(num_clips: int, length: int) -> Tensor:
    """Clip c holds 100 c + t at frame t, in every joint and channel."""
    frames = 100.0 * torch.arange(num_clips)[:, None] + torch.arange(length)
    return frames[:, :, None, None].expand(-1, -1, 17, 3)


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
    assert poses[0, :, 5, 1].tolist() == expected


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


def test_values_that_are_not_finite_are_refused() -> None:
    keypoints = clips(1, 4).clone()
    keypoints[0, 2, 3, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        lift(RecordingModel(), keypoints, NUM_FRAMES)
