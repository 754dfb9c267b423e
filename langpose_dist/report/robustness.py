"""Pictures of models on corrupted input."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from langpose_dist.metrics.table import metric_of
from langpose_dist.report.plots import new_figure, plain_text, save_figure, tidy

Curve = Mapping[str, Any]

_COLOURS = ("#4d4d4d", "#c8373d", "#2166ac", "#e08214", "#35978f", "#7b3294")
_STYLES = ("-", "--", ":")
_MOST_COLUMNS = 4


def draw_robustness(path: Path, section: Mapping[str, Any]) -> Figure:
    """Draw errors over severities: a panel per corruption, a colour per model, a line style per variant.

    Panels have their own vertical scale, because the mildest corruptions cost little beside the worst.
    ``section`` is ``robustness`` of a report.
    """
    panels = [
        [*group] for _, group in itertools.groupby(section["curves"], lambda c: (c["corruption"], c["unit"]))
    ]
    num_columns = min(_MOST_COLUMNS, len(panels))
    num_rows = math.ceil(len(panels) / num_columns)
    figure = new_figure(3.7 * num_columns + 0.4, 3.3 * num_rows + 0.8)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes, curves in zip(grid.flatten(), panels, strict=False):
        _draw_panel(axes, curves)
    for axes in grid.flatten()[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{metric_of(section['metric']).axis}, all joints", fontsize=9)
    names = [model["name"] for model in section["curves"][0]["models"]]
    handles = [
        Line2D([], [], color=_colour(place), label=plain_text(name)) for place, name in enumerate(names)
    ]
    handles.append(Line2D([], [], color="grey", linewidth=0.8, alpha=0.6, label="clean input"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)
    return save_figure(figure, path)


def _draw_panel(axes: Axes, curves: Sequence[Curve]) -> None:
    first = curves[0]
    for place, model in enumerate(first["models"]):
        axes.axhline(model["clean_input"], color=_colour(place), linewidth=0.8, alpha=0.6)
    if first["unit"] == "limb":
        _draw_categories(axes, first)
    else:
        _draw_lines(axes, curves)
    axes.set_title(_title(curves), fontsize=10)
    axes.set_xlabel(first["unit"], fontsize=9)
    tidy(axes)


def _draw_lines(axes: Axes, curves: Sequence[Curve]) -> None:
    levels = curves[0]["levels"]
    for curve, style in zip(curves, _STYLES, strict=False):
        for place, model in enumerate(curve["models"]):
            axes.plot(*(levels, model["all_joints"]), style, color=_colour(place), marker="o", markersize=3.5)
    axes.set_xticks(levels, [f"{level:g}" for level in levels])
    if len(curves) > 1:
        handles = [
            Line2D([], [], color="black", linestyle=style, label=curve["variant"])
            for curve, style in zip(curves, _STYLES, strict=False)
        ]
        axes.legend(handles=handles, fontsize=8, frameon=False, handlelength=3)


def _draw_categories(axes: Axes, curve: Curve) -> None:
    """Points without a line between them, those of the models side by side."""
    num_levels, num_models = len(curve["levels"]), len(curve["models"])
    for place, model in enumerate(curve["models"]):
        aside = 0.3 * ((place + 0.5) / num_models - 0.5)
        places = [level + aside for level in range(num_levels)]
        axes.plot(
            *(places, model["all_joints"]), linestyle="none", color=_colour(place), marker="o", markersize=5
        )
    axes.set_xticks(range(num_levels), [level.replace("_", "\n") for level in curve["levels"]])
    axes.margins(x=0.12)


def _title(curves: Sequence[Curve]) -> str:
    """Name of the corruption; with its variant where the panel has but one."""
    return curves[0]["corruption"] + (f", {curves[0]['variant']}" if len(curves) == 1 else "")


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]
