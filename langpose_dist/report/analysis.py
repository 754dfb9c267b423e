"""Pictures of the analyses: what goes along with an improvement, and labels over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langpose_dist.report.plots import draw_bones, new_figure, plain_text, save_figure, tidy

_LABEL_COLOURS = ("#c8373d", "#2166ac", "#35978f", "#e08214", "#7b3294", "#4d4d4d")
_OTHER_COLOUR = "#bdbdbd"


def draw_table3(path: Path, table: Mapping[str, Any]) -> Figure:
    """Draw the improvement over each column: a panel per column, a named point per action.

    ``table`` is what ``join_columns`` of the analysis returns.
    """
    figure = new_figure(4.2 * len(table["columns"]), 3.8)
    panels = figure.subplots(1, len(table["columns"]), sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, table["correlations"], strict=True):
        for action, row in table["rows"].items():
            if (value := row[found["column"]]) is not None:
                axes.plot(value, row["improvement_mm"], "o", color="#2166ac", markersize=4)
                axes.annotate(
                    plain_text(action),
                    (value, row["improvement_mm"]),
                    xytext=(3, 3),
                    textcoords="offset points",
                    fontsize=6,
                )
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_xlabel(plain_text(found["column"]), fontsize=9)
        axes.set_title(
            f"Spearman {found['spearman']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}], "
            f"p {found['p']:.2g}, n {found['num_actions']}",
            fontsize=9,
        )
        axes.margins(x=0.15)
        tidy(axes)
    panels[0].set_ylabel("improvement (mm)", fontsize=9)
    return save_figure(figure, path)


def draw_curve(path: Path, curve: Mapping[str, Any]) -> Figure:
    """Draw labels over time: probabilities, cosines, true spans, and the model's input at some moments.

    Args:
        path: PNG or SVG file to write.
        curve: From ``measure_curve`` of the analysis.
    """
    times, labels = curve["times_s"], curve["labels"]
    colours = {label: _LABEL_COLOURS[number % len(_LABEL_COLOURS)] for number, label in enumerate(labels)}
    lanes = _lanes(curve["true_spans"])
    heights = [2.4, 1.6, 0.25 + 0.22 * max(len(lanes), 1), 1.5]
    figure = new_figure(9.0, sum(heights) + 1.2)
    panels = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": heights})
    for axes, name in zip(panels, ("probabilities", "cosines"), strict=False):
        for label in labels:
            axes.plot(times, curve[name][label], color=colours[label], linewidth=1.6, label=plain_text(label))
        for span in curve["true_spans"]:
            if span["label"] in colours:
                axes.axvspan(
                    span["start_s"], span["end_s"], color=colours[span["label"]], alpha=0.12, linewidth=0
                )
        tidy(axes)
    panels[0].set_ylim(-0.03, 1.03)
    panels[0].set_ylabel(f"softmax at\ntemperature {curve['temperature']:g}", fontsize=9)
    panels[0].legend(fontsize=8, frameon=False, ncols=len(labels), loc="lower right", bbox_to_anchor=(1, 1))
    panels[1].set_ylabel("cosine", fontsize=9)
    _draw_spans(panels[2], lanes, colours)
    _draw_input(panels[3], curve["figures"], times[-1])
    panels[3].set_xlabel("time (s)", fontsize=9)
    seen = "spans alone" if curve["is_isolated"] else "spans within their window"
    figure.suptitle(
        plain_text(f"{curve['clip']}, by {curve['name']}: {curve['span_s']:.3g} s, {seen}"), fontsize=10
    )
    return save_figure(figure, path)


def _lanes(spans: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Spans in as few rows as hold them without overlap."""
    lanes: list[list[Mapping[str, Any]]] = []
    for span in sorted(spans, key=lambda span: (span["start_s"], span["end_s"])):
        lane = next((lane for lane in lanes if lane[-1]["end_s"] <= span["start_s"]), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(span)
    return lanes


def _draw_spans(axes: Axes, lanes: Sequence[Sequence[Mapping[str, Any]]], colours: Mapping[str, str]) -> None:
    for row, lane in enumerate(lanes):
        for span in lane:
            start, end = span["start_s"], span["end_s"]
            colour = colours.get(span["label"], _OTHER_COLOUR)
            axes.barh(row, end - start, left=start, height=0.85, color=colour, alpha=0.5)
            text = axes.text(start, row, f" {plain_text(span['label'])}", va="center", fontsize=7)
            text.set_clip_on(True)
    axes.set_ylim(max(len(lanes), 1) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_ylabel("labels" if lanes else "no labels", fontsize=9, rotation=0, ha="right", va="center")
    tidy(axes)


def _draw_input(axes: Axes, figures: Sequence[Mapping[str, Any]], last_s: float) -> None:
    """Draw 2D joints below the moments that they belong to, all at one scale."""
    joints = [np.array(one["keypoints_2d"])[:, :2] for one in figures]
    centred = [points - (points.min(axis=0) + points.max(axis=0)) / 2 for points in joints]
    half = 1.1 * np.abs(np.concatenate(centred)).max()
    for one, points in zip(figures, centred, strict=True):
        moment = axes.inset_axes((one["time_s"] / (last_s or 1) - 0.1, 0, 0.2, 1))
        draw_bones(moment, points, {"linewidth": 1.4, "solid_capstyle": "round"})
        moment.set(xlim=(-half, half), ylim=(half, -half), aspect="equal")
        moment.set_axis_off()
    axes.set_xlim(0, last_s)
    axes.set_yticks([])
    axes.set_ylabel("2D input", fontsize=9, rotation=0, ha="right", va="center")
    tidy(axes)
