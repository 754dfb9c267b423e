"""The report of a sweep as text: Markdown for a file, plain for a terminal, CSV for a table of its trials."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langpose_dist.host.redaction import printable, redact
from langpose_dist.metrics.table import higher_is_better
from langpose_dist.report.sweep.numbers import LEVEL, Configuration, Difference
from langpose_dist.report.sweep.report import Report

_TERMINAL_ROWS = 30
_MARKDOWN = re.compile(r"[\\|<`*]|\](?=\()")
_NONE = "-"


@dataclass
class _Section:
    """A heading with lines, a table, and lines below it."""

    title: str
    lines: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)


def to_markdown(report: Report, pictures: Sequence[str] = ()) -> str:
    """The report as Markdown.

    Args:
        report: What was found.
        pictures: Names of the files beside it.
    """
    parts = []
    for number, section in enumerate(_sections(report)):
        parts.append(f"{'##' if number else '#'} {_escape(section.title)}")
        parts.append("\n".join(f"- {_escape(line)}" for line in section.lines))
        if section.table:
            head, *rows = section.table
            parts.append("\n".join([_row(head), _row(["---"] * len(head)), *map(_row, rows)]))
        parts.append("\n".join(f"- {_escape(line)}" for line in section.below))
        parts += [f"![{name}]({name})" for name in section.pictures if name in pictures]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_text(report: Report) -> str:
    """The report for a terminal, in which long tables are cut."""
    parts = []
    for section in _sections(report):
        lines = [section.title, *(f"  {line}" for line in section.lines)]
        head, *rows = section.table or [[]]
        if rows:
            lines += [f"  {line}" for line in _aligned([head, *rows[:_TERMINAL_ROWS]])]
        if len(rows) > _TERMINAL_ROWS:
            lines.append(f"  and {len(rows) - _TERMINAL_ROWS} more, in sweep.md and trials.csv")
        lines += [f"  {line}" for line in section.below]
        parts.append("\n".join(map(_clean, lines)))
    return "\n\n".join(parts)


def to_csv(report: Report) -> str:
    """One line per trial: its record, its parameters, and every metric of its last evaluation."""
    ranks = {
        trial.trial_id: one.rank for one in report.configurations for trial in (*one.trials, *one.searched)
    }
    keys = dict.fromkeys([*report.sweep.space, *(key for trial in report.trials for key in trial.params)])
    last = {trial.trial_id: trial.evaluations[-1] for trial in report.trials if trial.evaluations}
    metrics = dict.fromkeys(
        [*report.metrics, *sorted({name for evaluation in last.values() for name in evaluation.metrics})]
    )
    fields = ("trial_id", "number", "stage", "is_baseline", "seed", "status", "reason", "step", "rung")
    counts = ("failures", "seconds", "num_devices", "device")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["rank", *map(_clean, (*fields, *counts, *keys, *metrics))])
    for trial in report.trials:
        record, params = trial.model_dump(), trial.params
        if trial.is_baseline:
            params = report.sweep.baseline_params
        values = last[trial.trial_id].metrics if trial.trial_id in last else {}
        cells = [record[name] for name in (*fields, *counts)]
        cells += [params.get(key, "") for key in keys] + [values.get(name, "") for name in metrics]
        texts = ("" if cell is None else cell for cell in cells)
        writer.writerow(
            [ranks[trial.trial_id], *(_clean(cell) if isinstance(cell, str) else cell for cell in texts)]
        )
    return file.getvalue()


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Keys by their last words, as many as tell them apart."""
    keys = list(keys)
    found = {}
    for key in keys:
        words = key.split(".")
        endings = [".".join(words[start:]) for start in reversed(range(len(words)))]
        found[key] = next(
            (ending for ending in endings if sum(f".{other}".endswith(f".{ending}") for other in keys) == 1),
            key,
        )
    return found


def say_value(value: Any) -> str:
    """A parameter's value, rounded for a person."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(say_value, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def say_number(value: float, scale: float | None = None) -> str:
    """A metric's value with four digits of ``scale``, by default of itself."""
    return f"{value:.{_decimals(value if scale is None else scale)}f}"


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


def _sections(report: Report) -> list[_Section]:
    sections = [_head(report)]
    if report.folder.warnings:
        sections.append(_Section("Warnings", list(report.folder.warnings)))
    sections += [_table_section(report), _comparison_section(report)]
    if len(report.sweep.objective) > 1:
        on_front = [str(one.rank) for one in report.configurations if one.is_on_front]
        text = f"on the front: rank {', '.join(on_front) or _NONE}"
        sections.append(_Section("Pareto front", [text], pictures=["front.png"]))
    return [*sections, _importance_section(report), _cost_section(report)]


def _head(report: Report) -> _Section:
    sweep, origin = report.sweep, report.sweep.origin
    lines = [f"status: {sweep.status}{f' ({sweep.reason})' if sweep.reason else ''}"]
    if sweep.status == "running":
        lines.append("the sweep still runs: everything below may change")
    lines += [f"swept: {dimension.key}: {dimension.describe()}" for dimension in sweep.dimensions]
    for metric in sweep.objective:
        which = "more" if higher_is_better(metric) else "less"
        meaning = _meaning(report.protocol, metric)
        lines.append(f"objective: {metric} ({which} is better){f': {meaning}' if meaning else ''}")
    if condition := report.protocol.get("condition"):
        lines.append(f"conditions: {condition}")
    dirty = str(origin.commit_dirty).lower()
    changes = {"true": ", with uncommitted changes", "false": ""}.get(dirty, ", uncommitted changes unknown")
    lines += [
        f"2D source: {origin.source_2d or 'unknown'}",
        f"data: {origin.dataset or 'unknown'}, split {sweep.split}, fingerprint "
        f"{(origin.data_fingerprint or 'unknown')[:16]}",
        f"commit: {(origin.commit or 'unknown')[:12]}{changes}; "
        f"configuration {origin.config_hash or 'unknown'}",
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
    return _Section(f"Sweep {report.folder.path.resolve().name}", lines)


def _table_section(report: Report) -> _Section:
    sweep, section = report.sweep, _Section("Configurations", pictures=["parallel.png", "curves.png"])
    is_pareto = len(sweep.objective) > 1
    if not is_pareto:
        section.pictures.append("front.png")  # for information
    if not report.configurations:
        section.lines.append("no trial has started")
        return section
    names = short_names(dict.fromkeys([*sweep.space, *_other_keys(report)]))
    differences = [f"{metric} to the best [{LEVEL:.0%}]" for metric in sweep.objective]
    section.table = [
        [
            "rank",
            "trial",
            *names.values(),
            "seeds",
            *report.metrics,
            *differences,
            *(["front"] if is_pareto else []),
            "step",
            "status",
            "device min",
        ]
    ]
    scales = {metric: _scale(report.configurations, metric) for metric in report.metrics}
    for one in report.configurations:
        params = sweep.baseline_params if one.is_baseline else one.params
        found = {difference.metric: difference for difference in report.differences.get(one.rank, ())}
        section.table.append(
            [
                str(one.rank),
                "baseline" if one.is_baseline else _say_numbers(one),
                *(say_value(params[key]) if key in params else _NONE for key in names),
                str(len(one.seeds)) if one.values else _NONE,
                *(_say_mean(one, metric, scales[metric]) for metric in report.metrics),
                *(
                    _say_difference(found[metric], scales[metric])
                    if metric in found
                    else ("best" if one.rank == 1 and one.values else _NONE)
                    for metric in sweep.objective
                ),
                *([str(one.front or _NONE)] if is_pareto else []),
                str(one.step),
                one.status + (", only searched" if _is_only_searched(report, one) else ""),
                f"{one.device_seconds / 60:.1f}",
            ]
        )
    section.below = [
        "mean +- standard deviation over the seeds with a value; values are of the step named in the row, "
        "and only those at the same step can be compared",
        f"to the best: difference to rank 1, with its {LEVEL:.0%} interval (Student t, paired by seed) where "
        "both have two seeds or more in common; each stands for itself: of twenty one errs by chance",
    ]
    if sweep.scheduler.name == "pbt":
        section.below.append("population-based training changed parameters: those shown are the last")
    section.below += [
        f"rank {one.rank}: {one.status}: {_cut(one.reason)}"
        for one in report.configurations
        if one.reason and one.status != "stopped"  # which says it all
    ]
    return section


def _comparison_section(report: Report) -> _Section:
    comparison = report.comparison
    if comparison is None:
        return _Section("Difference to the baseline", [_why_no_comparison(report)])
    against = "the baseline" if comparison.kind == "baseline" else "the median"
    best, reference = comparison.best, comparison.reference
    titles = f"rank {best.rank} against {against} (rank {reference.rank}), at step {best.step}"
    lines = [
        titles,
        *(describe_difference(difference, against=against) for difference in comparison.differences),
    ]
    return _Section(f"Difference to {against}", lines, below=list(comparison.notes))


def _why_no_comparison(report: Report) -> str:
    if not any(one.is_complete for one in report.configurations):
        return f"none: no configuration has reached the last step ({report.sweep.num_steps})"
    return "none: there is no second configuration that reached the last step"


def _importance_section(report: Report) -> _Section:
    section = _Section("Importance of the parameters", pictures=["importance.png"])
    computed = [one for one in report.importance if one.shares]
    for one in report.importance:
        place = f"{one.num_configurations} configurations at step {one.step}, which all reached"
        reason = f"not computed for {one.metric}: {one.reason}"
        section.lines.append(reason if one.reason else f"{one.metric} of {place}")
    if computed:
        section.table = [["metric", "parameter", "share of the variance", "by chance up to", ""]]
        section.table += [
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
        section.below.append(
            "functional ANOVA (Optuna): share of the values' variance that a parameter explains by itself, "
            "the rest being interactions and noise; by chance: the largest of 19 with the values shuffled"
        )
        left_out = {key: reason for one in computed for key, reason in one.left_out.items()}
        section.below += [f"left out: {key}, {reason}" for key, reason in left_out.items()]
    return section


def _cost_section(report: Report) -> _Section:
    cost = report.cost
    lines = [
        f"{name}: {_say_hours(cost.hours[name])} device hours, {count} trial{'' if count == 1 else 's'}"
        for name, count in cost.num_trials.items()
        if count
    ]
    if cost.ended_early_share is not None:
        lines.append(f"on trials that were stopped or failed: {cost.ended_early_share:.0%}")
    if cost.full_length_hours is None:
        lines.append("what full length would have cost is not known: no trial has finished")
    else:
        lines.append(
            f"all at full length: {_say_hours(cost.full_length_hours)} device hours, if each had taken as "
            "long as the median finished trial"
        )
    return _Section("Cost", lines, pictures=["cost.png"])


def _meaning(protocol: Mapping[str, str], metric: str) -> str:
    name = metric.rpartition("/")[2]
    return protocol.get(name) or protocol.get(re.sub(r"r_at_\d+", "r_at_k", name), "")


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
    match scheduler.name:
        case "asha":
            text = f"asha, reduction factor {_say_optional(scheduler.reduction_factor)}"
        case "pbt":
            text = f"pbt, quantile {_say_optional(scheduler.quantile)}"
        case name:
            text = name
    if scheduler.metric:
        text += f" by {scheduler.metric}"
    return text + (f", rungs at steps {', '.join(map(str, sweep.rungs))}" if sweep.rungs else "")


def _say_optional(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _say_seeds(report: Report) -> str:
    found = {
        stage: sorted({trial.seed for trial in report.trials if trial.stage == stage})
        for stage in ("search", "confirm")
    }
    text = f"{', '.join(map(str, found['search'])) or _NONE} in the search"
    if found["confirm"]:
        confirmed = [one.is_baseline for one in report.configurations if one.stage == "confirm"]
        num_finalists = confirmed.count(False)
        who = ["the baseline"] if any(confirmed) else []
        who += [f"{num_finalists} finalist{'s' * (num_finalists != 1)}"] if num_finalists else []
        text += f", {', '.join(map(str, found['confirm']))} for {' and '.join(who)}, whose values decide"
    elif not set(report.sweep.seeds) & set(found["search"]) and report.sweep.seeds:
        text += f", {', '.join(map(str, report.sweep.seeds))} for the finalists, not begun"
    return text


def _other_keys(report: Report) -> list[str]:
    return [key for one in report.configurations for key in one.params if key not in report.sweep.space]


def _is_only_searched(report: Report, one: Configuration) -> bool:
    return one.stage == "search" and any(other.stage == "confirm" for other in report.configurations)


def _say_numbers(one: Configuration) -> str:
    numbers = [trial.number for trial in one.searched or one.trials]
    return str(numbers[0]) if len(numbers) == 1 else f"{min(numbers)}..{max(numbers)}"


def _say_mean(one: Configuration, metric: str, scale: float) -> str:
    mean, spread = one.mean(metric), one.spread(metric)
    if mean is None:
        return _NONE
    return say_number(mean, scale) + ("" if spread is None else f" +- {say_number(spread, scale)}")


def _say_difference(difference: Difference, scale: float) -> str:
    text = f"{difference.value:+.{_decimals(scale)}f}"
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{say_number(difference.low, scale)}, {say_number(difference.high, scale)}]"


def _scale(configurations: Sequence[Configuration], metric: str) -> float:
    return next((mean for one in configurations if (mean := one.mean(metric)) is not None), 1.0)


def _decimals(scale: float) -> int:
    if not scale or not math.isfinite(scale):
        return 2
    return min(6, max(0, 3 - math.floor(math.log10(abs(scale)))))


def _say_hours(hours: float) -> str:
    return f"{hours:.3g}" if hours < 100 else f"{hours:.0f}"


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:297]}..."


def _clean(text: str) -> str:
    return printable(redact(text))


def _escape(text: str) -> str:
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", _clean(text))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escape, cells))} |"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[_clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
