"""Pictures of a sweep: parameters, curves by rung, importance, Pareto front and cost.

As in ``plots``, figures are made without pyplot and nothing global changes.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from langpose_dist.host.redaction import printable
from langpose_dist.metrics.table import higher_is_better
from langpose_dist.report.plots import new_figure, save_figure
from langpose_dist.report.sweep.importance import Importance
from langpose_dist.report.sweep.numbers import OUTCOMES, Configuration, Cost
from langpose_dist.report.sweep.records import Dimension, TrialRecord, is_number
from langpose_dist.report.sweep.report import Report
from langpose_dist.report.sweep.text import say_value, short_names

_BEST = "#c8373d"
_BASELINE = "black"
_FAINT = "#8c8c8c"
_OUTCOME_COLOURS = {"finished": "#35978f", "stopped": "#e0a458", "failed": "#c8373d", "unfinished": "#b0b0b0"}
_LOG_SCALE_RATIO = 30.0
_LABEL_BOX = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
_UNUSED = -0.17
"""Height at which lines pass the axis of a parameter that they do not use."""
_MAX_PANEL_PARAMETERS = 24
_MAX_LABELS = 9
_DRAWN = {chr(number) for number in (*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA))}
"""What Matplotlib's own font holds for sure."""
_RETRIEVAL = (("masked/mpjpe_mm", "masked/r_at_1"), ("clean/mpjpe_mm", "clean/r_at_1"))


def draw_pictures(report: Report, folder: Path) -> list[Path]:
    """Draw every picture that there is something to show in, as PNG files; old ones of the others go.

    Returns:
        The files.
    """
    figures: dict[str, Figure | None] = {
        "parallel.png": build_parallel(report) if report.configurations else None,
        "curves.png": build_curves(report) if any(trial.evaluations for trial in report.trials) else None,
        "front.png": build_front(report),
        "importance.png": build_importance(report.importance),
        "cost.png": build_cost(report.cost) if report.cost.total_hours else None,
    }
    files = []
    for name, figure in figures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)
            continue
        save_figure(figure, folder / name)
        files.append(folder / name)
    return files


def build_parallel(report: Report) -> Figure:
    """Parallel coordinates: an axis per parameter and objective, a line per configuration, better ones up.

    Configurations that did not reach the step of the best are faint and end before the objectives, since
    their values are not comparable.
    """
    sweep, configurations = report.sweep, report.configurations
    dimensions = sweep.dimensions[:_MAX_PANEL_PARAMETERS]
    names = short_names(dimension.key for dimension in dimensions)
    axes_of = [_parameter_axis(dimension, report) for dimension in dimensions]
    first = next((one for one in configurations if one.values), None)
    shown = [one for one in configurations if one.values and _place(one) == _place(first)]
    axes_of += [_objective_axis(metric, shown) for metric in sweep.objective]
    width = max(6.0, 1.75 * len(axes_of) + 1.0)
    figure = new_figure(min(width, 26.0), 5.4)
    panel = figure.subplots()
    for number, axis in enumerate(axes_of):
        axis.draw(panel, number)
        if number < len(dimensions) and dimensions[number].when:
            _label(panel, number, _UNUSED, "not in use")
    colours = _colours([one.mean(sweep.objective[0]) for one in shown], sweep.objective[0])
    colour_of = {one.rank: colour for one, colour in zip(shown, colours, strict=True)}
    best = next((one for one in shown if not one.is_baseline), None)
    alpha = 0.85 if len(shown) <= 40 else 0.5
    for one in reversed(configurations):
        params = sweep.baseline_params if one.is_baseline else one.params
        heights = [
            axis.height(params[dimension.key], one.rank)
            if dimension.key in params
            else (_UNUSED if dimension.when and params else math.nan)
            for axis, dimension in zip(axes_of, dimensions, strict=False)
        ]
        if one.rank in colour_of:
            ends = zip(axes_of[len(dimensions) :], sweep.objective, strict=True)
            heights += [axis.height(one.mean(metric)) for axis, metric in ends]
        style: dict[str, Any] = {"color": colour_of.get(one.rank, _FAINT), "linewidth": 1.3, "alpha": alpha}
        if one.rank not in colour_of:
            style |= {"linewidth": 0.8, "alpha": 0.35, "zorder": 1}
        if one.is_baseline:
            style |= {"color": _BASELINE, "linewidth": 1.8, "linestyle": (0, (4, 2)), "alpha": 1, "zorder": 4}
        if best is not None and one.rank == best.rank:
            style |= {"color": _BEST, "linewidth": 2.8, "alpha": 1, "zorder": 5}
        panel.plot(range(len(heights)), heights, marker="o", markersize=3, **style)
    labels = [names[dimension.key] for dimension in dimensions] + [
        f"{name}\n(better up)" for name in sweep.objective
    ]
    panel.set_xticks(range(len(labels)), [_wrap(label) for label in labels], fontsize=9)
    panel.set_xlim(-0.45, len(labels) - 0.55 + 0.25)
    panel.set_ylim((_UNUSED if any(dimension.when for dimension in dimensions) else 0) - 0.07, 1.06)
    panel.set_yticks([])
    panel.tick_params(axis="x", length=0)
    panel.spines[:].set_visible(False)
    title = _count(len(configurations), "configuration")
    title += f", values at step {first.step}" if first is not None else ", no values"
    if len(sweep.dimensions) > len(dimensions):
        title += f", {len(sweep.dimensions) - len(dimensions)} parameters not shown"
    panel.set_title(title, fontsize=10)
    handles = [Line2D([], [], color=_BEST, linewidth=2.8, label="best")] if best is not None else []
    if any(one.is_baseline for one in configurations):
        handles.append(
            Line2D([], [], color=_BASELINE, linewidth=1.8, linestyle=(0, (4, 2)), label="baseline")
        )
    if any(not one.is_baseline and one is not best for one in shown):
        handles.append(Line2D([], [], color=_colormap()(0.5), label="others, yellow (good) to blue"))
    if len(shown) < len(configurations):
        label = "not comparable: stopped, lost or only searched"
        handles.append(Line2D([], [], color=_FAINT, linewidth=0.8, alpha=0.6, label=label))
    _legend(figure, handles)
    return figure


def build_curves(report: Report) -> Figure:
    """Each objective by step, a line per trial, coloured by how far it came; rungs are vertical lines."""
    sweep = report.sweep
    figure = new_figure(7.6 * len(sweep.objective), 4.6)
    best = next((one for one in report.configurations if one.values and not one.is_baseline), None)
    of_best = {trial.trial_id for trial in best.trials} if best is not None else set()
    has_confirmed = any(trial.stage == "confirm" for trial in report.trials)
    norm = Normalize(0, sweep.num_steps)
    grid = figure.subplots(1, len(sweep.objective), squeeze=False)[0]
    for panel, metric in zip(grid, sweep.objective, strict=True):
        for rung in sweep.rungs:
            panel.axvline(rung, color=_FAINT, linewidth=0.8, linestyle=":", zorder=0)
        drawn = []
        for trial in report.trials:
            steps = trial.steps_with([metric])
            values = [trial.values_at(step)[metric] for step in steps]
            drawn += values
            is_minor = has_confirmed and trial.stage == "search"
            style = _curve_style(
                trial, trial.trial_id in of_best, _colormap().reversed()(norm(max(steps, default=0)))
            )
            if is_minor:
                style |= {"alpha": 0.4, "linewidth": 0.8, "zorder": 1}
            panel.plot(steps, values, **style, **({"marker": "o"} if len(steps) == 1 else {}))
            if trial.is_lost and steps:
                panel.plot(steps[-1], values[-1], "x", color=_BEST, markersize=6, zorder=6)
        if drawn and min(drawn) > 0 and max(drawn) > _LOG_SCALE_RATIO * min(drawn):
            panel.set_yscale("log")
        if not drawn:
            panel.text(0.5, 0.5, f"no {metric} yet", ha="center", va="center", transform=panel.transAxes)
        panel.set_xlim(0, sweep.num_steps * 1.03)
        panel.set_xlabel(f"step{', dotted: rungs' if sweep.rungs else ''}", fontsize=9)
        panel.set_ylabel(_say(metric), fontsize=9)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _tidy(panel)
    bar = figure.colorbar(ScalarMappable(norm, _colormap().reversed()), ax=list(grid), pad=0.01, aspect=30)
    bar.set_label("step reached", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    handles = [Line2D([], [], color=_BEST, linewidth=2.4, label="best")] if of_best else []
    if any(trial.is_baseline for trial in report.trials):
        handles.append(Line2D([], [], color=_BASELINE, linewidth=1.8, linestyle="--", label="baseline"))
    if has_confirmed:
        handles.append(Line2D([], [], color=_FAINT, linewidth=0.8, label="thin: search"))
    if any(trial.is_lost and trial.evaluations for trial in report.trials):
        handles.append(Line2D([], [], color=_BEST, marker="x", linestyle="none", label="failed or diverged"))
    _legend(figure, handles)
    return figure


def build_front(report: Report) -> Figure | None:
    """The complete configurations by two metrics: both objectives, or position against retrieval.

    Returns:
        ``None`` if there are no two metrics, or nothing was measured in both.
    """
    pair = _front_metrics(report)
    if pair is None:
        return None
    first, second = pair
    is_pareto = len(report.sweep.objective) > 1
    complete = [one for one in report.configurations if one.is_complete]
    shown = [one for one in complete if one.stage == complete[0].stage and one.mean(second) is not None]
    figure = new_figure(6.4, 4.9)
    panel = figure.subplots()
    for one in shown:
        place: Any = one.mean(first), one.mean(second)
        colour, size = ("#2166ac", 6.0) if one.is_on_front else ("#9bb8d3" if is_pareto else "#5a8fc0", 5.0)
        marker = "o"
        if one.is_baseline:
            colour, marker, size = _BASELINE, "D", 7.0
        elif one is next((other for other in shown if not other.is_baseline), None):
            colour, marker, size = _BEST, "*", 13.0
        panel.errorbar(
            *place,
            xerr=one.spread(first),
            yerr=one.spread(second),
            marker=marker,
            markersize=size,
            color=colour,
            elinewidth=0.8,
            capsize=2,
            zorder=3,
        )
    if is_pareto:
        front = sorted((one.mean(first), one.mean(second)) for one in shown if one.is_on_front)  # pyright: ignore[reportArgumentType]
        # What a point dominates lies on its worse side: right of it where less of the first is better.
        where = "pre" if higher_is_better(first) else "post"
        panel.step(*np.asarray(front).T, where=where, color="#2166ac", linewidth=1.0, alpha=0.7)
    for axis, metric in ((panel.xaxis, first), (panel.yaxis, second)):
        which = "more" if higher_is_better(metric) else "less"
        axis.set_label_text(f"{_say(metric)}, {which} is better", fontsize=9)
    unmeasured = sum(one.stage == complete[0].stage for one in complete) - len(shown)
    missed = len(report.configurations) - len(shown) - unmeasured
    reasons = ((missed, "that did not get there"), (unmeasured, f"without {_say(second)}"))
    left_out = ", ".join(f"{number} {reason}" for number, reason in reasons if number)
    note = f"; {left_out} left out" if left_out else ""
    title = (
        "Pareto front"
        if is_pareto
        else f"for information: the objective is {_say(report.sweep.objective[0])}"
    )
    panel.set_title(
        f"{title}\n{_count(len(shown), 'configuration')} at step {report.sweep.num_steps}{note}", fontsize=9
    )
    _tidy(panel)
    handles = [Line2D([], [], color=_BEST, marker="*", markersize=11, linestyle="none", label="best")]
    if any(one.is_baseline for one in shown):
        handles.append(Line2D([], [], color=_BASELINE, marker="D", linestyle="none", label="baseline"))
    if is_pareto:
        handles.append(Line2D([], [], color="#2166ac", marker="o", label="front"))
    if any(one.spread(first) is not None for one in shown):
        handles.append(Line2D([], [], color=_FAINT, marker="|", label="+- standard deviation over seeds"))
    _legend(figure, handles)
    return figure


def build_importance(importance: Sequence[Importance]) -> Figure | None:
    """Bars of the share that each parameter explains, with what chance gives.

    Returns:
        ``None`` if it was not computed.
    """
    computed = [one for one in importance if one.shares]
    if not computed:
        return None
    rows = max(len(one.shares) for one in computed)
    names = short_names(dict.fromkeys(share.key for one in computed for share in one.shares))
    figure = new_figure(6.6 * len(computed), 0.38 * rows + 1.9)
    for panel, one in zip(figure.subplots(1, len(computed), squeeze=False)[0], computed, strict=True):
        shares = one.shares[::-1]
        colours = ["#2166ac" if share.is_shown else "#b5c9de" for share in shares]
        places = range(len(shares))
        panel.barh(places, [share.share for share in shares], color=colours, height=0.62)
        by_chance = [share.by_chance for share in shares]
        panel.vlines(
            by_chance, [place - 0.4 for place in places], [place + 0.4 for place in places], color=_BEST
        )
        for place, share in zip(places, shares, strict=True):
            panel.text(
                share.share + 0.008, place, f"{share.share:.2f}", va="center", fontsize=8, bbox=_LABEL_BOX
            )
        panel.set_yticks(places, [_wrap(names[share.key], 30) for share in shares], fontsize=8)
        panel.set_xlim(0, max(0.3, 1.15 * max(max(share.share, share.by_chance) for share in shares)))
        panel.set_xlabel("share of the variance explained alone (fANOVA)", fontsize=9)
        panel.set_title(
            f"{_say(one.metric)} of {one.num_configurations} configurations at step {one.step}", fontsize=10
        )
        _tidy(panel)
        panel.grid(visible=False, axis="y")
    handles = [
        Line2D([], [], color="#2166ac", linewidth=6, label="above chance"),
        Line2D([], [], color="#b5c9de", linewidth=6, label="may be chance"),
        Line2D([], [], color=_BEST, label="largest of 19 with shuffled values"),
    ]
    _legend(figure, handles)
    return figure


def build_cost(cost: Cost) -> Figure:
    """Device hours by outcome, beside what full length for every trial would have cost."""
    has_full = cost.full_length_hours is not None
    figure = new_figure(7.0, 2.5 if has_full else 2.0)
    panel = figure.subplots()
    left = 0.0
    for name in OUTCOMES:
        if cost.num_trials[name]:
            count = cost.num_trials[name]
            label = f"{name}: {_count(count, 'trial')}, {cost.hours[name]:.3g} h"
            panel.barh(1, cost.hours[name], left=left, color=_OUTCOME_COLOURS[name], height=0.6, label=label)
            left += cost.hours[name]
    names = {1: "spent"}
    if cost.full_length_hours is not None:
        panel.barh(
            0,
            cost.full_length_hours,
            color="white",
            edgecolor=_FAINT,
            hatch="//",
            height=0.6,
            label=f"all at full length: {cost.full_length_hours:.3g} h",
        )
        names[0] = "all at full\nlength (estimate)"
    panel.set_yticks(list(names), list(names.values()), fontsize=9)
    panel.set_xlabel(f"device hours ({_say(cost.devices)})", fontsize=9)
    _tidy(panel)
    panel.grid(visible=False, axis="y")
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


@dataclass(frozen=True)
class _ParallelAxis:
    """One vertical axis of parallel coordinates; heights are between 0 and 1."""

    ticks: Sequence[Any]
    """Values that are written beside it; of a listed parameter all of them."""
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    is_listed: bool = False
    is_flipped: bool = False
    """Whether small values stand above."""

    def height(self, value: Any, number: int = 0) -> float:
        """Where a value stands; ``number`` keeps lines apart that share a listed value."""
        if self.is_listed:
            if value not in self.ticks:
                return math.nan
            place = (self.ticks.index(value) + 0.5) / len(self.ticks)
            return place + (number % 7 - 3) * 0.1 / 7 / len(self.ticks)
        if not is_number(value) or (self.is_log and value <= 0):
            return math.nan
        low, high, value = ((math.log(v) if self.is_log else v) for v in (self.low, self.high, value))
        place = (value - low) / (high - low) if high > low else 0.5
        return 1 - place if self.is_flipped else place

    def draw(self, panel: Axes, place: int) -> None:
        """The line with its labels."""
        panel.axvline(place, ymin=0, ymax=1, color="#d0d0d0", linewidth=0.8, zorder=0)
        every = max(1, math.ceil(len(self.ticks) / _MAX_LABELS)) if self.is_listed else 1
        labels = [say_value(value) for value in self.ticks] if self.is_listed else _told_apart(self.ticks)
        for value, label in list(zip(self.ticks, labels, strict=True))[::every]:
            _label(panel, place, self.height(value, 3), _say(label, 14))


def _told_apart(values: Sequence[float]) -> list[str]:
    """Numbers with three digits, or as many as it takes that they stand where they say."""
    error = 0.01 * (max(values, default=0.0) - min(values, default=0.0))

    def is_true(labels: Sequence[str]) -> bool:
        return len(set(labels)) == len(set(values)) and all(
            abs(float(label) - value) <= error for label, value in zip(labels, values, strict=True)
        )

    ways = ([f"{value:.{digits}g}" for value in values] for digits in range(3, 18))
    return next(labels for labels in ways if is_true(labels))


def _label(panel: Axes, place: int, height: float, text: str) -> None:
    """Left of an axis, above the lines."""
    style: dict[str, Any] = {"fontsize": 7.5, "color": "#404040", "zorder": 7, "bbox": _LABEL_BOX}
    panel.text(place - 0.05, height, text, ha="right", va="center", **style)


def _parameter_axis(dimension: Dimension, report: Report) -> _ParallelAxis:
    baseline = report.sweep.baseline_params.get(dimension.key)
    has_baseline = baseline is not None and any(one.is_baseline for one in report.configurations)
    if not dimension.is_range:
        values = [*dimension.values]
        if has_baseline and baseline not in values:
            values.append(baseline)
        if all(is_number(value) for value in values):
            values.sort()
        return _ParallelAxis(values, is_listed=True)
    low, high = dimension.low, dimension.high
    if has_baseline and is_number(baseline) and (baseline > 0 or not dimension.is_log):
        low, high = float(min(low, baseline)), float(max(high, baseline))
    return _ParallelAxis(_ticks(low, high, dimension.is_log), low, high, dimension.is_log)


def _objective_axis(metric: str, shown: Sequence[Configuration]) -> _ParallelAxis:
    values = [mean for one in shown if (mean := one.mean(metric)) is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return _ParallelAxis(
        _ticks(low, high, False) if values else [], low, high, is_flipped=not higher_is_better(metric)
    )


def _ticks(low: float, high: float, is_log: bool) -> list[float]:
    if high <= low:
        return [low]
    locator = LogLocator(subs=(1, 2, 5)) if is_log else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    found = [float(value) for value in locator.tick_values(low, high) if low <= value <= high]
    if is_log and len(found) > _MAX_LABELS:
        found = [
            float(v) for v in LogLocator(numticks=_MAX_LABELS).tick_values(low, high) if low <= v <= high
        ]
    # The ends of the range are worth knowing, unless another label stands there.
    gap = 0.06
    log = math.log if is_log else float
    for end in (low, high):
        span = log(high) - log(low)
        if all(abs(log(end) - log(value)) > gap * span for value in found):
            found.append(end)
    return sorted(found)


def _place(one: Configuration | None) -> tuple[int, str] | None:
    """What values must share to be comparable."""
    return None if one is None else (one.step, one.stage)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _colormap() -> Colormap:
    """From dark blue to yellow, without the palest end."""
    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.93, 256)))


def _colours(values: Sequence[float | None], metric: str) -> list[Any]:
    """By rank and not by value, so that one bad configuration does not make all others look alike."""
    sign = -1 if higher_is_better(metric) else 1
    known = sorted({sign * value for value in values if value is not None})
    span = max(1, len(known) - 1)
    return [
        _FAINT if value is None else _colormap()(1 - known.index(sign * value) / span) for value in values
    ]


def _curve_style(trial: TrialRecord, is_best: bool, colour: Any) -> dict[str, Any]:
    if trial.is_baseline:
        return {"color": _BASELINE, "linewidth": 1.8, "linestyle": "--", "zorder": 5, "markersize": 4}
    if is_best:
        return {"color": _BEST, "linewidth": 2.4, "zorder": 4, "markersize": 4}
    return {"color": colour, "linewidth": 1.1, "alpha": 0.75, "zorder": 2, "markersize": 3.5}


def _front_metrics(report: Report) -> tuple[str, str] | None:
    first, *others = report.sweep.objective
    pairs: list[tuple[str, str]] = list(_RETRIEVAL)
    if others:
        pairs = [(first, others[0])]
    elif first.startswith("clean/"):
        pairs.reverse()
    best = next((one for one in report.configurations if one.is_complete), None)
    if best is None:
        return None
    return next((pair for pair in pairs if all(best.mean(metric) is not None for metric in pair)), None)


def _tidy(panel: Axes) -> None:
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    if handles:
        columns = 4 if figure.get_figwidth() > 7 else 2
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _say(text: str, limit: int = 40) -> str:
    """Text for a picture: one line, no formula, cut in the middle."""
    text = "".join(sign if sign in _DRAWN else "?" for sign in printable(text))
    if len(text) > limit:
        text = f"{text[: limit // 2 - 1]}...{text[-(limit // 2 - 2) :]}"
    return text.replace("$", "\\$")


def _wrap(label: str, width: int = 15) -> str:
    """A name in lines, broken after its dots and underscores where it can be."""
    lines = [""]
    for word in re.findall(r"[^._/\n]+[._/]?|[._/]|\n", label):
        if word == "\n" or (lines[-1] and len(lines[-1]) + len(word) > width):
            lines.append("")
        lines[-1] += word.strip("\n")
    return "\n".join(_say(line, 2 * width // 2 + 4) for line in lines[:4])
