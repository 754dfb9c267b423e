"""Clip rules and merging on models whose answers tell which input they saw."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from langpose_dist.evaluation.lifting import frames_around, lift_recording
from langpose_dist.evaluation.protocols import PROTOCOLS, Protocol

T = 4
PLAIN = replace(PROTOCOLS["virtual_camera"], flip_averaging=False, merging="none")
UNIT = 1 / 1024


class Model(nn.Module):
    """Answers each frame's own number, plus a thousand times its place in the window."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.num_windows = 0

    def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
        self.num_windows += len(keypoints_2d)
        place = torch.arange(keypoints_2d.shape[1])[:, None, None]
        return keypoints_2d / UNIT + 1000 * place


def recording(length: int) -> Tensor:
    return (UNIT * torch.arange(length, dtype=torch.float32))[:, None, None].expand(length, 17, 3)


def run(length: int, protocol: Protocol, wanted: Tensor | None = None) -> tuple[list[float], list[bool], int]:
    model = Model()
    wanted = torch.ones(length, dtype=torch.bool) if wanted is None else wanted
    poses, counted = lift_recording(model, recording(length), T, protocol, wanted)
    return poses[:, 5, 1].tolist(), counted.tolist(), model.num_windows


def test_whole_windows_drop_the_tail() -> None:
    poses, counted, num_windows = run(10, replace(PLAIN, clip_rule="whole_windows"))
    assert counted == [True] * 8 + [False] * 2  # 10 mod 4 frames are in no window
    assert poses[:8] == [0, 1001, 2002, 3003, 4, 1005, 2006, 3007]
    assert num_windows == 2


@pytest.mark.parametrize(("length", "num_counted"), [(4, 4), (7, 4), (8, 8), (243, 240)])
def test_frames_that_whole_windows_count(length: int, num_counted: int) -> None:
    assert sum(run(length, replace(PLAIN, clip_rule="whole_windows"))[1]) == num_counted


def test_a_short_recording_is_stretched_and_its_last_copies_count() -> None:
    poses, counted, num_windows = run(3, replace(PLAIN, clip_rule="whole_windows"))
    # The window shows frames 0, 0, 1, 2; frame 0 is taken from its second copy.
    assert poses == [1000, 2001, 3002]
    assert (counted, num_windows) == ([True] * 3, 1)


def test_every_frame_takes_the_last_window_from_the_end() -> None:
    poses, counted, _ = run(6, PLAIN)
    assert poses == [0, 1001, 2002, 3003, 2004, 3005]
    assert all(counted)


def test_centre_lifts_a_window_for_each_wanted_frame_alone() -> None:
    wanted = torch.tensor([True, False, False, True, False, True])
    poses, counted, num_windows = run(6, replace(PLAIN, merging="centre"), wanted)
    assert counted == wanted.tolist()
    assert num_windows == 3
    assert [poses[frame] for frame in (0, 3, 5)] == [2000, 2003, 2005]


def test_windows_around_frames_repeat_the_ends() -> None:
    assert frames_around(torch.tensor([0, 5]), 4, 6).tolist() == [[0, 0, 0, 1], [3, 4, 5, 5]]
