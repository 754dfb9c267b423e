import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from langpose_dist.report.plots import (
    draw_comparison,
    draw_curves,
    draw_skeletons,
)
from langpose_dist.skeleton import H36M17

NUM_BONES = 16
TRUE_WIDTH, PREDICTED_WIDTH = 5.0, 1.4


def make_poses(num_frames: int) -> torch.Tensor:
    return torch.randn(num_frames, 17, 3, generator=torch.Generator().manual_seed(0))


def bones(axes: Axes, width: float) -> list[np.ndarray]:
    """(2, 2) points of every bone that is drawn with this width."""
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_linewidth() == width]


def rings(axes: Axes) -> np.ndarray:
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    return np.asarray(line.get_xydata())


def curves(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Labelled curves of a panel as (step, value)."""
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


def panel(figure: Figure, title: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_title() == title]
    return axes


def test_skeletons_show_evenly_spread_moments_with_their_error(tmp_path: Path) -> None:
    true = make_poses(11)
    predicted = true.clone()
    predicted[5, :, 1] += 0.05
    figure = draw_skeletons(tmp_path / "picture.png", true, predicted, title="a title", frames=3)
    assert len(figure.axes) == 2 * 3
    assert figure.get_suptitle() == "a title"
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == ["frame 0\n0 mm", "frame 5\n50 mm", "frame 10\n0 mm"]


def test_the_front_view_has_x_and_y_and_the_side_view_z_and_y_with_y_down(tmp_path: Path) -> None:
    true, predicted = make_poses(2), make_poses(2) + 1
    front, side = draw_skeletons(tmp_path / "picture.png", true, predicted, frames=1).axes
    wrist = H36M17.index("right_wrist")
    elbow = H36M17.index("right_elbow")
    for axes, horizontal in ((front, 0), (side, 2)):
        for pose, width in ((true[0], TRUE_WIDTH), (predicted[0], PREDICTED_WIDTH)):
            drawn = bones(axes, width)
            assert len(drawn) == NUM_BONES
            np.testing.assert_allclose(drawn[-1], pose[[elbow, wrist]][:, [horizontal, 1]])
        bottom, top = axes.get_ylim()
        assert bottom > top
        assert axes.get_aspect() == 1.0


def test_limbs_have_the_colour_of_their_side(tmp_path: Path) -> None:
    front, _ = draw_skeletons(tmp_path / "picture.png", make_poses(1), make_poses(1)).axes
    colours = [line.get_color() for line in front.lines if line.get_linewidth() == PREDICTED_WIDTH]
    children = [H36M17.joints[child] for _, child in H36M17.bones]
    by_side = {
        side: {colour for colour, child in zip(colours, children, strict=True) if child.startswith(side)}
        for side in ("right_", "left_", "")
    }
    assert len(by_side["right_"]) == len(by_side["left_"]) == 1
    assert by_side["right_"].isdisjoint(by_side["left_"])
    assert len(by_side[""]) == 3  # right, left and trunk


def test_hidden_joints_are_ringed_and_left_out_of_the_input(tmp_path: Path) -> None:
    true = make_poses(2)
    keypoints = torch.cat((true[..., :2], torch.ones(2, 17, 1)), dim=-1)
    hidden = torch.zeros(2, 17, dtype=torch.bool)
    hidden[0, H36M17.index("head")] = True
    hidden[1] = True
    figure = draw_skeletons(
        tmp_path / "picture.png", true, true, frames=2, hidden=hidden, keypoints_2d=keypoints
    )
    first_input, second_input, first, second, *_ = figure.axes
    assert len(bones(first_input, PREDICTED_WIDTH)) == NUM_BONES - 1  # the head is the end of one bone
    assert len(bones(second_input, PREDICTED_WIDTH)) == 0
    assert [text.get_text() for text in second_input.texts] == ["all hidden"]
    np.testing.assert_allclose(rings(first), true[0, [H36M17.index("head")], :2])
    assert rings(second).shape == (17, 2)


def test_a_window_shorter_than_the_number_of_moments_shows_each_frame_once(tmp_path: Path) -> None:
    assert len(draw_skeletons(tmp_path / "picture.png", make_poses(2), make_poses(2), frames=6).axes) == 2 * 2


def test_another_skeleton_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 joints, skeleton h36m17 has 17"):
        draw_skeletons(tmp_path / "picture.png", torch.zeros(1, 16, 3), torch.zeros(1, 16, 3))


LINES = [
    {"step": 10, "train/loss": 3.0, "train/loss_con": 2.0, "train/learning_rate": 1e-4},
    {"step": 20, "train/loss": 2.0, "train/loss_con": math.nan},
    {
        "step": 20,
        "validation/clean/loss": 2.5,
        "validation/masked/loss": 2.75,
        "validation/masked/mpjpe_mm": 90.0,
    },
    {"step": 30, "train/loss": 1.0, "train/loss_con": 1.0},
    {"step": 30, "validation/clean/loss": 1.5, "validation/masked/loss": 3.75},
]


def test_curves_have_a_panel_per_loss_term_with_every_point(tmp_path: Path) -> None:
    figure = draw_curves(tmp_path / "picture.png", LINES)
    assert [axes.get_title() for axes in figure.axes] == ["total loss", "contrastive loss"]
    assert curves(panel(figure, "total loss")) == {
        "train": [(10, 3.0), (20, 2.0), (30, 1.0)],
        "validation/clean": [(20, 2.5), (30, 1.5)],
        "validation/masked": [(20, 2.75), (30, 3.75)],
    }
    # A value that is not finite leaves a gap.
    assert curves(panel(figure, "contrastive loss")) == {"train": [(10, 2.0), (30, 1.0)]}


def test_long_training_curves_are_smoothed_over_the_raw_values(tmp_path: Path) -> None:
    lines = [{"step": step, "train/loss": 1.0 + (-1) ** step} for step in range(200)]
    raw, smooth = panel(draw_curves(tmp_path / "picture.png", lines), "total loss").lines
    assert [float(y) for y in np.asarray(raw.get_ydata())] == [line["train/loss"] for line in lines]
    # The mean over 11 alternating values 0 and 2 is 10 / 11 or 12 / 11.
    middle = np.asarray(smooth.get_ydata())[50:150]
    np.testing.assert_allclose(np.abs(middle - 1), 1 / 11)


def test_losses_that_fall_far_are_drawn_on_a_logarithmic_scale(tmp_path: Path) -> None:
    fallen = draw_curves(
        tmp_path / "picture.png", [{"step": 0, "train/loss": 100.0}, {"step": 1, "train/loss": 1.0}]
    )
    assert panel(fallen, "total loss").get_yscale() == "log"
    assert panel(draw_curves(tmp_path / "picture.png", LINES), "total loss").get_yscale() == "linear"


def test_a_run_without_losses_says_so(tmp_path: Path) -> None:
    (axes,) = draw_curves(tmp_path / "picture.png", []).axes
    assert [text.get_text() for text in axes.texts] == ["no losses recorded"]


def test_a_comparison_has_a_panel_per_run_and_marks_the_lowest_validation(tmp_path: Path) -> None:
    figure = draw_comparison(tmp_path / "picture.png", {"one": LINES, "two": LINES[:1], "none": []})
    assert curves(panel(figure, "one")) == {
        "train": [(10, 3.0), (20, 2.0), (30, 1.0)],
        "validation/masked": [(20, 2.75), (30, 3.75)],
        "lowest: 2.75 at step 20": [(20, 2.75)],
    }
    assert curves(panel(figure, "two")) == {"train": [(10, 3.0)]}
    assert [text.get_text() for text in panel(figure, "none").texts] == ["no loss"]


def test_a_comparison_of_another_term_and_condition(tmp_path: Path) -> None:
    figure = draw_comparison(tmp_path / "picture.png", {"one": LINES}, term="loss_con", condition="clean")
    assert curves(panel(figure, "one")) == {"train": [(10, 2.0), (30, 1.0)]}


@pytest.mark.parametrize(
    "draw",
    [
        lambda path: draw_skeletons(path, make_poses(9), make_poses(9), title="a title"),
        lambda path: draw_curves(path, LINES),
        lambda path: draw_comparison(path, {"one": LINES, "two": LINES}),
    ],
)
def test_pictures_are_png_files_of_a_size_to_look_at(tmp_path: Path, draw: Callable[[Path], Figure]) -> None:
    path = tmp_path / "new folder" / "picture.png"
    draw(path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = imread(path).shape
    assert 300 < height < 1500
    assert 600 < width < 2500
    assert imread(path)[..., :3].std() > 0.01  # not blank
