"""Tables of the analyses for a terminal, each with what its numbers are."""

from collections.abc import Mapping
from typing import Any

from langpose_dist.evaluation.cells import align

Report = Mapping[str, Any]


def mmd_text(report: Report) -> str:
    """A row per action or subject; then what the numbers are."""
    return "\n".join([align(mmd_rows(report)), "", *mmd_notes(report)])


def mmd_rows(report: Report) -> list[list[str]]:
    """A head and a row per action or subject."""
    by = report["by"]
    table = [
        [by or "set", "MMD2", f"{100 * report['confidence']:g} % interval", "floor", "p", "clips", "frames"]
    ]
    for name, row in report["rows"].items():
        interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
        numbers = [f"{row['mmd2']:.3f}", interval, f"{row['floor']:.3f}", f"{row['p']:.3f}"]
        clips = zip(row["num_clips"], row["num_available"], strict=True)
        used = (str(some) if some == every else f"{some} of {every}" for some, every in clips)
        table.append([name, *numbers, " / ".join(used), " / ".join(map(str, row["num_frames"]))])
    return table


def mmd_notes(report: Report) -> list[str]:
    """Data, rate, scales, bandwidth, test and cap."""
    unit, by = report["unit"], report["by"]
    scales = ", ".join(f"{name} {s['mean']:.3g} +- {s['std']:.3g}" for name, s in report["features"].items())
    sigmas = {name: row["sigma"] for name, row in report["rows"].items()}
    if report["sigma"] is not None:
        sigmas = {"all rows": report["sigma"]}
    lines = [
        "squared MMD of per-frame motion features, RBF kernel, unbiased: lower is closer",
        f"first: {_describe_set(report['first'])}",
        f"second: {_describe_set(report['second'])}"
        + (f"; {'all of them' if report['against'] == 'all' else f'those of the same {by}'}" if by else ""),
        f"rate {report['fps']:g} Hz for both, derivatives per second; coordinates z-scored per clip, std at "
        f"least {100 * report['std_floor_m']:g} cm",
        f"features z-scored over both sets: {scales}",
        "sigma, the median distance of 1,000 frames, half of them of each set: "
        + ", ".join(f"{name} {sigma:.4g}" for name, sigma in sigmas.items()),
        f"p: {report['num_permutations']} permutations of {unit}s; floor: their mean, what one set dealt in "
        f"two shows; interval: jackknife over {unit}s",
        f"cap: {report['max_frames']:,} frames of a set and row, whole clips drawn with a fixed seed",
    ]
    for name, (a, b) in report["left_out"].items():
        lines.append(f"left out: {name}, {a} against {b} clips; two {unit}s on either side are needed")
    return lines


def _describe_set(data: Report) -> str:
    views = data["num_further_cameras"]
    return (
        f"{data['dataset']}, split {data['split']}, {data['num_clips']} clips stored at {data['fps']:g} Hz "
        f"({data['fingerprint'][:16]})" + (f"; {views} clips of further cameras left out" if views else "")
    )


def table3_text(report: Report) -> str:
    """Rows of actions and the correlations below them."""
    return "\n".join([align(table3_rows(report)), "", *table3_notes(report)])


def table3_rows(report: Report) -> list[list[str]]:
    """A head and a row per action."""
    columns = report["columns"]
    table = [["action", *columns, "improvement (mm)"]]
    for action, row in report["rows"].items():
        cells = ("-" if row[title] is None else f"{row[title]:.3f}" for title in columns)
        table.append([action, *cells, f"{row['improvement_mm']:+.1f}"])
    return table


def table3_notes(report: Report) -> list[str]:
    """A line per correlation."""
    lines = ["rank correlation with the improvement (Spearman; p: t distribution; interval: Fisher's z):"]
    for one in report["correlations"]:
        rest = one["without_largest"]
        lines.append(
            f"{one['column']}: {one['spearman']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}], p "
            f"{one['p']:.2g}, n {one['num_actions']}; Pearson {one['pearson']:+.2f}; without "
            f"{rest['action']} {rest['spearman']:+.2f}, p {rest['p']:.2g}"
        )
    return [*lines, *report["notes"]]


def visibility_text(report: Report) -> str:
    """A row per action, the mean, and a row per joint."""
    tables = (text for rows in visibility_tables(report) for text in (align(rows), ""))
    return "\n".join([*tables, *visibility_notes(report)])


def visibility_tables(report: Report) -> list[list[list[str]]]:
    """A head and a row per action; a head and a row per joint."""
    actions = report["actions"]
    table = [["action", "visible", "frames"]]
    table += [[name, f"{row['share']:.3f}", str(row["num_frames"])] for name, row in actions.items()]
    table.append(["mean of the actions", f"{report['action_mean']:.3f}", ""])
    joints = [["joint", "mean of the actions"]]
    joints += [[name, f"{share:.3f}"] for name, share in report["joint_means"].items()]
    return [table, joints]


def visibility_notes(report: Report) -> list[str]:
    """Threshold and data."""
    lines = [
        f"share of joints and frames with a confidence above {report['threshold']:g} (at it is not above)",
        f"{report['dataset']}, split {report['split']} ({report['fingerprint'][:16]}); 2D: "
        f"{report['source_2d']}",
    ]
    if constant := report["constant_joints"]:
        lines.append(f"one confidence throughout, so not the detector's own: {', '.join(constant)}")
    return lines
