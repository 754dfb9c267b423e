"""The sections of a sweep's report."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from langpose_dist.metrics.table import metric_of
from langpose_dist.report import render
from langpose_dist.report.sections import NONE, Section, Table, decimals, say_number
from langpose_dist.report.sweep.numbers import LEVEL, Configuration, Difference
from langpose_dist.report.sweep.records import say_count, say_value, short_names
from langpose_dist.report.sweep.report import Report


def to_text(report: Report) -> str:
    """Render for a terminal, where long tables are cut."""
    return render.to_text(build_sections(report), whole="sweep.md")


def describe_difference(difference: Difference, *, against: str) -> str:
    """One line: both values, the difference with its interval, and what it says."""
    scale = max(abs(difference.one), abs(difference.other))
    values = f"{say_number(difference.one, scale)} against {say_number(difference.other, scale)}"
    text = f"{difference.metric}: {values}, difference {_say_difference(difference, scale)}"
    seeds = f"paired over {difference.num_seeds} seeds"
    interval = f"{LEVEL:.0%} interval, Student t, {seeds}, df {difference.df}"
    match difference.verdict:
        case "no interval":
            count = "1 seed" if difference.num_seeds else "no seed"
            return f"{text} ({count} in common: no interval, nothing is shown)"
        case "not shown":
            return f"{text} ({interval}); it holds 0: no difference from {against} is shown"
        case verdict:
            return f"{text} ({interval}): {verdict} than {against}"


def build_sections(report: Report) -> list[Section]:
    """All that the report says, in order."""
    sections = [_overview(report)]
    if report.folder.warnings:
        sections.append(Section("Warnings", [*report.folder.warnings]))
    sections += [_table_section(report), _comparison_section(report)]
    if len(report.sweep.objective) > 1:
        ranks = [str(one.rank) for one in report.configurations if one.is_on_front]
        text = f"on the front: rank {', '.join(ranks) or NONE}"
        figures = {"front.png": "both objectives, a point per configuration"}
        sections.append(Section("Pareto front", [text], figures=figures))
    return [*sections, _importance_section(report), _cost_section(report)]


def _overview(report: Report) -> Section:
    sweep = report.sweep
    lines = [f"status: {sweep.status}{f' ({sweep.reason})' if sweep.reason else ''}"]
    if sweep.status == "running":
        lines.append("the sweep still runs: everything below may change")
    lines += [f"swept: {key}: {_one_line(entry)}" for key, entry in sweep.space.items()]
    for name in sweep.objective:
        metric = metric_of(name)
        which = "higher" if metric.higher_is_better else "lower"
        lines.append(f"objective: {name} ({which} is better): {metric.protocol}")
    lines += [
        *_say_origin(report),
        f"trials: {_count_trials(report)}",
        f"searcher: {sweep.searcher}, seed {sweep.seed}; scheduler: {_say_scheduler(report)}",
        f"seeds: {_say_seeds(report)}",
        f"per trial: {sweep.num_steps} steps, {sweep.resources.workers} x ({sweep.resources.cpus:g} CPUs, "
        f"{sweep.resources.gpus:g} GPUs); machine: {sweep.environment.get('devices', 'unknown')}",
        f"cost: {_say_hours(report.cost.total_hours)} device hours ({report.cost.devices}), "
        f"{_say_hours(sweep.seconds / 3600)} hours by the clock, started {sweep.started or 'unknown'}"
        f"{f', {sweep.attempts} attempts' if sweep.attempts > 1 else ''}",
    ]
    if sweep.tracking.run_id:
        lines.append(f"MLflow: run {sweep.tracking.run_id} in {sweep.tracking.tracking_uri or 'unknown'}")
    if sweep.best is not None:
        registered = f", registered as {sweep.best.registered}" if sweep.best.registered else ""
        lines.append(f"best configuration: best.yaml, trial {', '.join(sweep.best.trials)}{registered}")
    return Section(f"Sweep {report.folder.path.resolve().name}", lines)


def _say_origin(report: Report) -> list[str]:
    origin = report.sweep.origin
    dirty = str(origin.commit_dirty).lower()
    changes = {"true": ", with uncommitted changes", "false": ""}.get(dirty, ", uncommitted changes unknown")
    return [
        f"2D source: {origin.source_2d or 'unknown'}",
        f"data: {origin.dataset or 'unknown'}, split {report.sweep.split}, fingerprint "
        f"{(origin.data_fingerprint or 'unknown')[:16]}",
        f"commit: {(origin.commit or 'unknown')[:12]}{changes}; "
        f"configuration {origin.config_hash or 'unknown'}",
    ]


def _table_section(report: Report) -> Section:
    figures = {"slice.png": "the objective by each parameter", "curves.png": "the objective by step"}
    section = Section("Configurations", figures=figures)
    if not report.configurations:
        section.lines.append("no trial has started")
        return section
    other_keys = [key for one in report.configurations for key in one.params]
    names = short_names(dict.fromkeys([*report.sweep.space, *other_keys]))
    scales = {metric: _scale(report.configurations, metric) for metric in report.metrics}
    described = [_describe(report, one, list(names), scales) for one in report.configurations]
    head = [names.get(column, column) for column in described[0]]
    section.tables.append(Table(head, [list(cells.values()) for cells in described]))
    section.below = [
        "mean +- standard deviation over the seeds with a value; values are of the step named in the row, "
        "and only those at the same step can be compared",
        f"to the best: difference to rank 1, with its {LEVEL:.0%} interval (Student t, paired by seed) where "
        "both have two seeds or more in common; each stands for itself: of twenty one errs by chance",
    ]
    section.below += [
        f"rank {one.rank}: {one.status}: {_cut(one.reason)}"
        for one in report.configurations
        if one.reason and one.status != "stopped"  # which says it all
    ]
    return section


def _describe(
    report: Report, one: Configuration, keys: Sequence[str], scales: Mapping[str, float]
) -> dict[str, str]:
    """Column -> cell of a configuration; columns of parameters have their whole key."""
    params = report.sweep.baseline_params if one.is_baseline else one.params
    found = {difference.metric: difference for difference in report.differences.get(one.rank, ())}
    own = "best" if one.rank == 1 and one.values else NONE
    has_confirmed = any(other.stage == "confirm" for other in report.configurations)
    is_only_searched = one.stage == "search" and has_confirmed
    return {
        "rank": str(one.rank),
        "trial": "baseline" if one.is_baseline else _say_numbers(one),
        **{key: say_value(params[key]) if key in params else NONE for key in keys},
        "seeds": str(len(one.seeds)) if one.values else NONE,
        **{metric: _say_mean(one, metric, scale) for metric, scale in scales.items()},
        **{
            f"{metric} to the best [{LEVEL:.0%}]": _say_difference(found[metric], scales[metric])
            if metric in found
            else own
            for metric in report.sweep.objective
        },
        **({"front": str(one.front or NONE)} if len(report.sweep.objective) > 1 else {}),
        "step": str(one.step),
        "status": one.status + (", only searched" if is_only_searched else ""),
        "device min": f"{one.device_seconds / 60:.1f}",
    }


def _comparison_section(report: Report) -> Section:
    comparison = report.comparison
    if comparison is None:
        reason = "there is no second configuration that reached the last step"
        if not any(one.is_complete for one in report.configurations):
            reason = f"no configuration has reached the last step ({report.sweep.num_steps})"
        return Section("Difference to the baseline", [f"none: {reason}"])
    against = "the baseline" if comparison.kind == "baseline" else "the median"
    best, reference = comparison.best, comparison.reference
    titles = f"rank {best.rank} against {against} (rank {reference.rank}), at step {best.step}"
    lines = [
        titles,
        *(describe_difference(difference, against=against) for difference in comparison.differences),
    ]
    return Section(f"Difference to {against}", lines, below=list(comparison.notes))


def _importance_section(report: Report) -> Section:
    section = Section("Importance of the parameters")
    computed = [one for one in report.importance if one.shares]
    for one in report.importance:
        place = f"{one.num_configurations} configurations at step {one.step}, which all reached"
        reason = f"not computed for {one.metric}: {one.reason}"
        section.lines.append(reason if one.reason else f"{one.metric} of {place}")
    if computed:
        head = ["metric", "parameter", "share of the variance", "by chance up to", ""]
        rows = [
            [
                one.metric,
                share.key,
                f"{share.share:.2f}",
                f"{share.by_chance:.2f}",
                "above chance" if share.is_shown else "may be chance",
            ]
            for one in computed
            for share in one.shares
        ]
        section.tables.append(Table(head, rows))
        section.below.append(
            "functional ANOVA (Optuna): share of the values' variance that a parameter explains by itself, "
            "the rest being interactions and noise; by chance: the largest of 19 with the values shuffled"
        )
        left_out = {key: reason for one in computed for key, reason in one.left_out.items()}
        section.below += [f"left out: {key}, {reason}" for key, reason in left_out.items()]
    return section


def _cost_section(report: Report) -> Section:
    cost = report.cost
    lines = [
        f"{name}: {_say_hours(cost.hours[name])} device hours, {say_count(number, 'trial')}"
        for name, number in cost.num_trials.items()
        if number
    ]
    if cost.ended_early_share is not None:
        lines.append(f"on trials that were stopped or failed: {cost.ended_early_share:.0%}")
    return Section("Cost", lines)


def _count_trials(report: Report) -> str:
    parts = [f"{report.sweep.planned} planned"]
    for stage in ("search", "confirm"):
        counts = Counter(trial.status for trial in report.trials if trial.stage == stage)
        if counts or stage == "search":
            states = ", ".join(f"{count} {status}" for status, count in counts.most_common())
            parts.append(f"{stage}: {states or 'none'}")
    return "; ".join(parts)


def _say_scheduler(report: Report) -> str:
    sweep, scheduler = report.sweep, report.sweep.scheduler
    text = scheduler.name
    if scheduler.name == "asha":
        factor = scheduler.reduction_factor
        text += f", reduction factor {'unknown' if factor is None else f'{factor:g}'}"
    if scheduler.metric:
        text += f" by {scheduler.metric}"
    return text + (f", rungs at steps {', '.join(map(str, sweep.rungs))}" if sweep.rungs else "")


def _say_seeds(report: Report) -> str:
    planned = report.sweep.seeds
    searched, confirmed = (
        sorted({trial.seed for trial in report.trials if trial.stage == stage})
        for stage in ("search", "confirm")
    )
    text = f"{', '.join(map(str, searched)) or NONE} in the search"
    if confirmed:
        text += f", {', '.join(map(str, confirmed))} in the confirm stage, whose values decide"
    elif planned and not set(planned) & set(searched):
        text += f", {', '.join(map(str, planned))} for the finalists, not begun"
    return text


def _say_numbers(one: Configuration) -> str:
    numbers = [trial.number for trial in one.searched or one.trials]
    return str(numbers[0]) if len(numbers) == 1 else f"{min(numbers)}..{max(numbers)}"


def _say_mean(one: Configuration, metric: str, scale: float) -> str:
    mean, spread = one.mean(metric), one.spread(metric)
    if mean is None:
        return NONE
    return say_number(mean, scale) + ("" if spread is None else f" +- {say_number(spread, scale)}")


def _say_difference(difference: Difference, scale: float) -> str:
    text = f"{difference.value:+.{decimals(scale)}f}"
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{say_number(difference.low, scale)}, {say_number(difference.high, scale)}]"


def _scale(configurations: Sequence[Configuration], metric: str) -> float:
    return next((mean for one in configurations if (mean := one.mean(metric)) is not None), 1.0)


def _say_hours(hours: float) -> str:
    return f"{hours:.3g}" if hours < 100 else f"{hours:.0f}"


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."


def _one_line(entry: Any) -> str:
    """YAML as in the sweep's configuration."""
    return yaml.safe_dump(entry, default_flow_style=True, allow_unicode=True, width=math.inf).strip()
