"""Pictures of a run: skeletons, loss curves, and several runs side by side.

Each function draws a picture into a PNG file and returns its figure. Figures are made without pyplot, so
nothing here depends on or changes a global state.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from langpose_dist.host.redaction import printable
from langpose_dist.metrics.table import METRICS
from langpose_dist.skeleton import H36M17

MetricLines = Sequence[Mapping[str, float | int]]
"""Lines of ``metrics.jsonl``: each has ``step`` and some named values, such as ``train/loss``."""

_DPI = 110
_COLOURS = {"right": "#c8373d", "left": "#2166ac", "trunk": "#4d4d4d"}
_TRAIN_COLOUR = "#4d4d4d"
_VALIDATION_COLOURS = ("#c8373d", "#2166ac", "#e08214", "#35978f")
_LOG_SCALE_RATIO = 30.0
_VIEWS = {"front": (0, "x (m)"), "side, z away from the camera": (2, "z (m)")}
"""View -> axis drawn to the right, and its label."""
_TRUE: dict[str, Any] = {"linewidth": 5.0, "alpha": 0.3, "solid_capstyle": "round"}
_PREDICTED: dict[str, Any] = {"linewidth": 1.4, "alpha": 1.0, "solid_capstyle": "round"}
_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 0.8,
}


def draw_skeletons(
    path: Path,
    true_poses: Float[Tensor, "T J 3"],
    predicted_poses: Float[Tensor, "T J 3"],
    *,
    title: str = "",
    frames: int = 6,
    hidden: Bool[Tensor, "T J"] | None = None,
    keypoints_2d: Float[Tensor, "T J 3"] | None = None,
) -> Figure:
    """Draw moments of a window side by side, predicted against true, from the front and from the side.

    Args:
        path: PNG file to write.
        true_poses: Skeleton h36m17, camera axes (x right, y down, z forward), pelvis at 0, metres.
        predicted_poses: The same.
        title: Above the picture.
        frames: Moments, spread evenly over the window.
        hidden: Joints that the model did not see; ringed in the prediction, left out of the input.
        keypoints_2d: The model's input, drawn above: x, y (down) in half image widths, and confidence.

    Raises:
        ValueError: If the joints are not those of h36m17.
    """
    if true_poses.shape[1] != H36M17.num_joints:
        raise ValueError(f"{true_poses.shape[1]} joints, skeleton h36m17 has {H36M17.num_joints}")
    true, predicted = _to_numpy(true_poses), _to_numpy(predicted_poses)
    concealed = np.zeros(true.shape[:2], dtype=bool) if hidden is None else hidden.cpu().numpy()
    moments = np.unique(np.linspace(0, len(true) - 1, frames).round().astype(int))
    num_rows = len(_VIEWS) + (keypoints_2d is not None)
    figure = new_figure(1.8 * len(moments) + 0.8, 2.8 * num_rows + 0.9)
    grid = figure.subplots(num_rows, len(moments), sharex="row", sharey="row", squeeze=False)
    errors = 1000 * np.linalg.norm(predicted - true, axis=-1).mean(axis=-1)
    for axes, moment in zip(grid[0], moments, strict=True):
        axes.set_title(f"frame {moment}\n{errors[moment]:.0f} mm", fontsize=9)
    for row, view in zip(grid[-2:], _VIEWS, strict=True):
        _draw_view(row, view, true[moments], predicted[moments], concealed[moments])
    if keypoints_2d is not None:
        _draw_input(grid[0], _to_numpy(keypoints_2d)[moments], concealed[moments])
    figure.suptitle(title, fontsize=11)
    handles = [Line2D([], [], color=colour, label=name) for name, colour in _COLOURS.items()]
    handles += [
        Line2D([], [], color=_COLOURS["trunk"], label="true", **_TRUE),
        Line2D([], [], color=_COLOURS["trunk"], label="predicted", **_PREDICTED),
    ]
    if hidden is not None:
        handles.append(Line2D([], [], linestyle="none", label="hidden from the model", **_RING))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    return save_figure(figure, path)


def draw_curves(path: Path, lines: MetricLines) -> Figure:
    """Draw losses of one run by step: a panel per term, with training and every validation condition in it.

    Args:
        path: PNG file to write.
        lines: Values named ``train/TERM`` and ``SPLIT/CONDITION/TERM``; a term's name begins with ``loss``.
    """
    terms = _loss_terms(lines)
    num_columns = min(2, max(1, len(terms)))
    num_rows = max(1, math.ceil(len(terms) / num_columns))
    figure = new_figure(5.2 * num_columns, 3.1 * num_rows + 0.4)
    grid = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes, term in zip(grid, terms, strict=False):
        _draw_term(axes, lines, term)
        axes.set_title(_term_title(term), fontsize=10)
    for axes in grid[len(terms) :]:
        axes.set_axis_off()
    if not terms:
        grid[0].text(0.5, 0.5, "no losses recorded", ha="center", va="center")
    return save_figure(figure, path)


def draw_comparison(
    path: Path, runs: Mapping[str, MetricLines], *, term: str = "loss", condition: str = "masked"
) -> Figure:
    """Draw one loss term of several runs, training against validation, a panel per run.

    The lowest validation loss is marked: where the curve rises after it, the run overfits. Panels have
    their own vertical scale, because losses of different forms are not comparable.

    Args:
        path: PNG file to write.
        runs: Name of a run -> its lines.
        term: Loss term to draw.
        condition: Condition of the validation.

    Source:
        The paper's Fig. 2.
    """
    figure = new_figure(4.2 * len(runs), 3.6)
    grid = figure.subplots(1, len(runs), sharex=True, squeeze=False)[0]
    for axes, (name, lines) in zip(grid, runs.items(), strict=True):
        axes.set_title(name, fontsize=10)
        _draw_term(axes, lines, term, only=f"validation/{condition}")
        steps, values = _series(lines, f"validation/{condition}/{term}")
        if len(values):
            best = int(values.argmin())
            label = f"lowest: {values[best]:.4g} at step {steps[best]:g}"
            axes.plot(
                steps[best], values[best], "*", markersize=11, color=_VALIDATION_COLOURS[0], label=label
            )
            axes.legend(fontsize=8, frameon=False)
    grid[0].set_ylabel(_term_title(term), fontsize=9)
    return save_figure(figure, path)


def draw_bones(
    axes: Axes, joints: np.ndarray, style: Mapping[str, Any], visible: np.ndarray | None = None
) -> None:
    """Draw a skeleton of J x 2 joints in the colours of its sides, without the bones of hidden joints."""
    for parent, child in H36M17.bones:
        if visible is None or (visible[parent] and visible[child]):
            side = H36M17.joints[child].partition("_")[0]
            colour = _COLOURS.get(side, _COLOURS["trunk"])
            axes.plot(*joints[[parent, child]].T, color=colour, **style)


def _draw_view(
    row: np.ndarray, view: str, true: np.ndarray, predicted: np.ndarray, concealed: np.ndarray
) -> None:
    """Draw true and predicted poses from one side, a panel of the row per moment."""
    horizontal, label = _VIEWS[view]
    for axes, *poses, hidden in zip(row, true, predicted, concealed, strict=True):
        for pose, style in zip(poses, (_TRUE, _PREDICTED), strict=True):
            draw_bones(axes, pose[:, [horizontal, 1]], style)
        axes.plot(*poses[1][hidden][:, [horizontal, 1]].T, linestyle="none", **_RING)
        axes.set_xlabel(label, fontsize=8)
    row[0].set_ylabel(f"{view}\ny down (m)", fontsize=8)
    _set_limits(row[0], np.concatenate((true, predicted)).reshape(-1, 3)[:, [horizontal, 1]])


def _draw_input(row: np.ndarray, keypoints: np.ndarray, concealed: np.ndarray) -> None:
    """Draw the visible keypoints, a panel of the row per moment."""
    for axes, points, hidden in zip(row, keypoints, concealed, strict=True):
        visible = (points[:, 2] > 0) & ~hidden
        if not visible.any():
            axes.text(0.5, 0.5, "all hidden", ha="center", va="center", transform=axes.transAxes, fontsize=9)
        draw_bones(axes, points[:, :2], _PREDICTED, visible)
        axes.plot(*points[visible, :2].T, linestyle="none", marker=".", markersize=4, color="black")
        axes.set_xlabel("x (half image widths)", fontsize=8)
    row[0].set_ylabel("2D input\ny down", fontsize=8)
    found = keypoints.reshape(-1, 3)
    _set_limits(row[0], found[found[:, 2] > 0][:, :2])


def _set_limits(axes: Axes, points: np.ndarray) -> None:
    """Limits for a whole row of panels: equal scales, y down, some room around the points."""
    if not len(points):
        return
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, 0.55 * (high - low) + 1e-6
    half = np.maximum(half, 0.65 * half.max())
    axes.set_xlim(centre[0] - half[0], centre[0] + half[0])
    axes.set_ylim(centre[1] + half[1], centre[1] - half[1])
    for panel in axes.get_shared_x_axes().get_siblings(axes):
        panel.set_aspect("equal")
        panel.tick_params(labelsize=7)
        panel.locator_params(nbins=4)
        panel.grid(alpha=0.2)


def _draw_term(axes: Axes, lines: MetricLines, term: str, only: str | None = None) -> None:
    """Training and validation of one term; ``only`` names the one validation to show."""
    steps, values = _series(lines, f"train/{term}")
    if len(values):
        axes.plot(steps, values, color=_TRAIN_COLOUR, linewidth=0.8, alpha=0.35)
        axes.plot(steps, _smooth(values), color=_TRAIN_COLOUR, linewidth=1.6, label="train")
    drawn = [*values]
    for number, (name, steps, values) in enumerate(_validations(lines, term)):
        if only is not None and name != only:
            continue
        colour = _VALIDATION_COLOURS[0 if only else number % len(_VALIDATION_COLOURS)]
        axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=name)
        drawn += [*values]
    fit_scale(axes, drawn)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
    else:
        axes.text(0.5, 0.5, f"no {term}", ha="center", va="center", transform=axes.transAxes)
        axes.set_yticks([])
    axes.set_xlabel("step", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    tidy(axes)


def _loss_terms(lines: MetricLines) -> list[str]:
    names = {name.rpartition("/")[2] for line in lines for name in line if name.count("/")}
    terms = {name for name in names if name.startswith("loss")}
    return [term for term in METRICS if term in terms] + sorted(terms - METRICS.keys())


def _term_title(term: str) -> str:
    return METRICS[term].axis if term in METRICS else term


def _validations(lines: MetricLines, term: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    groups = {name.rpartition("/")[0] for line in lines for name in line if name.endswith(f"/{term}")}
    for group in sorted(groups - {"train"}):
        steps, values = _series(lines, f"{group}/{term}")
        if len(values):
            yield group, steps, values


def _series(lines: MetricLines, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one name, without values that are not finite."""
    points = [(line["step"], line[name]) for line in lines if math.isfinite(line.get(name, math.nan))]
    steps, values = np.asarray(points, dtype=float).reshape(-1, 2).T
    return steps, values


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a twentieth of the curve around each point; the steep beginning keeps its shape."""
    half = len(values) // 40
    sums = np.concatenate(([0.0], np.cumsum(values)))
    place = np.arange(len(values))
    before = np.minimum(half, place)
    after = np.minimum(before, place[::-1])
    return (sums[place + after + 1] - sums[place - before]) / (before + after + 1)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy()


def tidy(axes: Axes) -> None:
    """Give a panel the look of all others: small ticks, a faint grid, two spines."""
    axes.tick_params(labelsize=8, which="both")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def fit_scale(axes: Axes, values: Sequence[float]) -> None:
    """Use a logarithmic vertical axis where positive values span a factor of more than 30."""
    if values and min(values) > 0 and max(values) > _LOG_SCALE_RATIO * min(values):
        axes.set_yscale("log")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that belongs to no window."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Figure:
    """Draw a figure into a PNG file or, by its ending, an SVG file, in a new folder if need be; returns it.

    An SVG file keeps text as text, and is the same whenever it is drawn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".svg":
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "langpose"}):
            figure.savefig(path, format="svg", metadata={"Date": None})
    else:
        figure.savefig(path, dpi=_DPI, format="png")
    return figure


def plain_text(text: str) -> str:
    """Text of others for a figure: one line, and no formula."""
    return printable(text).replace("$", "\\$")
