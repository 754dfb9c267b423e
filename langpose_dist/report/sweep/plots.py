"""Pictures of a sweep: parameters, curves and Pareto front."""

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from langpose_dist.host.redaction import printable
from langpose_dist.metrics.table import higher_is_better, metric_of
from langpose_dist.report.plots import fit_scale, new_figure, plain_text, save_figure, tidy
from langpose_dist.report.sweep.importance import comparable_points
from langpose_dist.report.sweep.numbers import Configuration
from langpose_dist.report.sweep.records import Dimension, TrialRecord, say_count, say_value, short_names
from langpose_dist.report.sweep.report import Report

_BEST, _BASELINE, _OTHER, _FAINT = "#c8373d", "black", "#5a8fc0", "#8c8c8c"
_MAX_PARAMETERS = 8
"""Most panels of a slice picture."""
_MAX_TICKS = 6
"""Most labels of a listed parameter."""


def draw_pictures(report: Report, folder: Path) -> list[Path]:
    """Draw the pictures that have something to show as PNG files; delete earlier ones of the others.

    Returns:
        The files.
    """
    builders: dict[str, Callable[[Report], Figure | None]] = {
        "slice.png": build_slice,
        "curves.png": build_curves,
        "front.png": build_front,
    }
    files = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the font lacks a character and draws a box
        for name, build in builders.items():
            (folder / name).unlink(missing_ok=True)
            if (figure := build(report)) is not None:
                save_figure(figure, folder / name)
                files.append(folder / name)
    return files


def build_slice(report: Report) -> Figure | None:
    """The first objective by each parameter, a point per configuration of the search.

    All are compared at the highest step that they have in common, as for the importance.

    Returns:
        ``None`` if nothing can be compared.
    """
    metric = report.sweep.objective[0]
    found = comparable_points(report.trials, metric)
    dimensions = report.sweep.dimensions[:_MAX_PARAMETERS]
    if not dimensions or not found.params:
        return None
    best = _best_of_space(report)
    colours = [_BEST if best is not None and params == best.params else _OTHER for params in found.params]
    baseline = [
        trial.values_at(found.step)[metric]
        for trial in report.trials
        if trial.is_baseline and trial.stage == "search" and found.step in trial.steps_with([metric])
    ]
    figure = new_figure(max(5.5, 2.3 * len(dimensions) + 0.8), 4.2)
    panels = figure.subplots(1, len(dimensions), sharey=True, squeeze=False)[0]
    names = short_names(report.sweep.space)
    for panel, dimension in zip(panels, dimensions, strict=True):
        points = zip(found.params, found.values, colours, strict=True)
        for params, value, colour in points:
            zorder = 4 if colour == _BEST else 3
            panel.plot(_place(dimension, params), value, "o", color=colour, mec="white", zorder=zorder)
        for value in baseline:
            panel.axhline(value, color=_BASELINE, linestyle="--", linewidth=1.2)
        panel.set_xlabel(textwrap.fill(_say(names[dimension.key]), 24), fontsize=9)
        _label_values(panel, dimension)
        tidy(panel)
    panels[0].set_ylabel(_axis_label(metric), fontsize=9)
    fit_scale(panels[0], [*found.values, *baseline])
    title = f"{say_count(len(found.params), 'configuration')} of the search at step {found.step}"
    if num_hidden := len(report.sweep.dimensions) - len(dimensions):
        title += f"\n{say_count(num_hidden, 'parameter')} not shown"
    figure.suptitle(title, fontsize=10)
    handles = []
    if _BEST in colours:
        handles.append(Line2D([], [], color=_BEST, marker="o", linestyle="none", label="best"))
    if baseline:
        handles.append(Line2D([], [], color=_BASELINE, linestyle="--", label="baseline"))
    _legend(figure, handles)
    return figure


def build_curves(report: Report) -> Figure | None:
    """Each objective by step, a line per trial; rungs are vertical lines.

    Returns:
        ``None`` before the first evaluation.
    """
    if not any(trial.evaluations for trial in report.trials):
        return None
    sweep = report.sweep
    best = _best_of_space(report)
    of_best = {trial.trial_id for trial in best.trials} if best is not None else set()
    has_confirmed = any(trial.stage == "confirm" for trial in report.trials)
    figure = new_figure(7.0 * len(sweep.objective), 4.6)
    for panel, metric in zip(
        figure.subplots(1, len(sweep.objective), squeeze=False)[0], sweep.objective, strict=True
    ):
        for rung in sweep.rungs:
            panel.axvline(rung, color=_FAINT, linewidth=0.8, linestyle=":", zorder=0)
        drawn = []
        for trial in report.trials:
            steps = trial.steps_with([metric])
            values = [trial.values_at(step)[metric] for step in steps]
            drawn += values
            style = _curve_style(trial, trial.trial_id in of_best, has_confirmed and trial.stage == "search")
            panel.plot(steps, values, **style, marker="o" if len(steps) == 1 else "")
            if trial.is_lost and steps:
                panel.plot(steps[-1], values[-1], "x", color=_BEST, markersize=6, zorder=6)
        fit_scale(panel, drawn)
        panel.set_xlim(0, sweep.num_steps * 1.03)
        panel.set_xlabel(f"step{', dotted: rungs' if sweep.rungs else ''}", fontsize=9)
        panel.set_ylabel(_axis_label(metric), fontsize=9)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        tidy(panel)
    handles = []
    if of_best:
        handles.append(Line2D([], [], color=_BEST, linewidth=2.4, label="best"))
    if any(trial.is_baseline for trial in report.trials):
        handles.append(Line2D([], [], color=_BASELINE, linewidth=1.8, linestyle="--", label="baseline"))
    if has_confirmed:
        handles.append(Line2D([], [], color=_OTHER, linewidth=0.8, label="thin: search"))
    if any(trial.is_lost and trial.evaluations for trial in report.trials):
        handles.append(Line2D([], [], color=_BEST, marker="x", linestyle="none", label="failed or diverged"))
    _legend(figure, handles)
    return figure


def build_front(report: Report) -> Figure | None:
    """The complete configurations by both objectives; those on the Pareto front bear their rank.

    Returns:
        ``None`` with one objective, or if no configuration is complete.
    """
    shown = [one for one in report.configurations if one.front is not None]
    if not shown:
        return None
    first, second = report.sweep.objective
    figure = new_figure(6.4, 4.9)
    panel = figure.subplots()
    for one in shown:
        style = {"color": _BEST if one.is_on_front else _OTHER, "marker": "o", "zorder": 3}
        if one.is_baseline:
            style |= {"color": _BASELINE, "marker": "D"}
        x, y = (fmean(one.values[metric].values()) for metric in (first, second))
        panel.errorbar(x, y, one.spread(second), one.spread(first), elinewidth=0.8, capsize=2, **style)
        if one.is_on_front:
            panel.annotate(str(one.rank), (x, y), (5, 5), textcoords="offset points", fontsize=8)
    panel.set_xlabel(_axis_label(first), fontsize=9)
    panel.set_ylabel(_axis_label(second), fontsize=9)
    left_out = len(report.configurations) - len(shown)
    title = f"{say_count(len(shown), 'configuration')} at step {report.sweep.num_steps}"
    panel.set_title(title + (f", {left_out} not comparable" if left_out else ""), fontsize=10)
    tidy(panel)
    handles = [Line2D([], [], color=_BEST, marker="o", linestyle="none", label="on the front, with its rank")]
    if any(one.is_baseline for one in shown):
        handles.append(Line2D([], [], color=_BASELINE, marker="D", linestyle="none", label="baseline"))
    if any(one.spread(first) is not None for one in shown):
        handles.append(Line2D([], [], color=_FAINT, marker="|", label="+- standard deviation over seeds"))
    _legend(figure, handles)
    return figure


def _best_of_space(report: Report) -> Configuration | None:
    return next((one for one in report.configurations if one.values and not one.is_baseline), None)


def _place(dimension: Dimension, params: Mapping[str, Any]) -> Any:
    """Horizontal coordinate: the value itself, or the index of a listed one."""
    value = params[dimension.key]
    return value if dimension.is_range else dimension.values.index(value)


def _label_values(panel: Axes, dimension: Dimension) -> None:
    """Scale of a range, or listed values in place of their indices."""
    if dimension.kind == "log_uniform":
        panel.set_xscale("log")
    elif dimension.is_range:
        panel.locator_params(axis="x", nbins=4)
    else:
        places = range(0, len(dimension.values), -(-len(dimension.values) // _MAX_TICKS))
        labels = [_say(say_value(dimension.values[place]), 14) for place in places]
        is_tight = sum(map(len, labels)) > 24
        panel.set_xticks(places, labels, rotation=30 if is_tight else 0, ha="right" if is_tight else "center")
        panel.set_xlim(-0.5, len(dimension.values) - 0.5)


def _curve_style(trial: TrialRecord, is_best: bool, is_minor: bool) -> dict[str, Any]:
    style: dict[str, Any] = {"color": _OTHER, "linewidth": 1.1, "alpha": 0.6, "zorder": 2}
    if trial.is_baseline:
        style = {"color": _BASELINE, "linewidth": 1.8, "linestyle": "--", "zorder": 5}
    elif is_best:
        style = {"color": _BEST, "linewidth": 2.4, "zorder": 4}
    return style | ({"alpha": 0.4, "linewidth": 0.8, "zorder": 1} if is_minor else {}) | {"markersize": 4}


def _axis_label(name: str) -> str:
    """Condition, title and unit of a metric, and its direction."""
    which = "higher" if higher_is_better(name) else "lower"
    return _say(f"{name.rpartition('/')[0]} {metric_of(name).axis}, {which} is better".strip(), 60)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    if handles:
        columns = 4 if figure.get_figwidth() > 6.5 else 2
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _say(text: str, limit: int = 40) -> str:
    """Text for a picture: one line, no formula, cut in the middle."""
    text = printable(text)
    if len(text) > limit:
        text = f"{text[: limit // 2 - 1]}...{text[-(limit // 2 - 2) :]}"
    return plain_text(text)
