"""Sections ``robustness`` and ``visibility`` of a report as text, CSV and LaTeX."""

from collections.abc import Iterator, Mapping
from typing import Any

from langpose_dist.evaluation.cells import align, booktabs, show
from langpose_dist.metrics.table import metric_of

Section = Mapping[str, Any]
Row = tuple[str, str, str, str, float]
"""Model, metric, unit, what it is over, value."""

_PARTS = {"all_joints": "all joints", "corrupted_joints": "corrupted", "intact_joints": "intact"}


def robustness_text(section: Section) -> str:
    """A table per corruption: a row per model and part of the joints, a column per level."""
    metric = metric_of(section["metric"])
    clean = ", ".join(
        f"{model['name']} {show(model['clean_input'])}" for model in section["curves"][0]["models"]
    )
    title = (
        f"robustness (version {section['version']}): {metric.axis}, mean {section['mean']}; on clean input "
        f"{clean}; area: mean height of the curve"
    )
    return "\n\n".join([title, *map(_curve_text, section["curves"])])


def _curve_text(curve: Section) -> str:
    lines = [
        f"{key_of(curve)}: {curve['description']}",
        align(curve_rows(curve)),
        *map(describe_gain, curve["improvements"]),
    ]
    return "\n".join(lines)


def curve_rows(curve: Section) -> list[list[str]]:
    """A head and a row per model and part of the joints; a column per level."""
    rows = [[f"{key_of(curve)} ({curve['unit']})", *map(str, curve["levels"]), _area_title(curve)]]
    if "seconds" in curve:
        rows.append(["seconds", *(f"{value:.2f}" for value in curve["seconds"]), ""])
    for model in curve["models"]:
        for part, title in _PARTS.items():
            area = show(model["area"]) if part == "all_joints" else ""
            rows.append([f"{model['name']}, {title}", *map(show, model[part]), area])
    return rows


def describe_gain(found: Section) -> str:
    """One line about a difference over a whole curve."""
    area = found["area"]
    return (
        f"{found['model']} on {found['baseline']}: better by {area['mean']:+.2f} mm on the mean of the curve "
        f"(95 % over recordings: {area['low']:+.2f} to {area['high']:+.2f})"
    )


def robustness_rows(section: Section) -> Iterator[Row]:
    """Lines of a CSV file; ``over`` reads ``robustness v1/noise_px/told/5 px/corrupted_joints``."""
    metric = metric_of(section["metric"])
    for curve in section["curves"]:
        place = f"robustness v{section['version']}/{key_of(curve)}"
        for model in curve["models"]:
            start = (model["name"], metric.name, metric.unit)
            for part in _PARTS:
                for level, value in zip(curve["levels"], model[part], strict=True):
                    if value is not None:
                        yield (*start, f"{place}/{level} {curve['unit']}/{part}", value)
            yield (*start, f"{place}/area/all_joints", model["area"])


def robustness_latex(section: Section) -> str:
    """A booktabs table per corruption: a row per model, a column per level, over all joints."""
    return "\n".join(_curve_latex(section, curve) for curve in section["curves"])


def _curve_latex(section: Section, curve: Section) -> str:
    title = f"{metric_of(section['metric']).axis}, by {curve['unit']}"
    levels = [str(level).replace("_", " ") for level in curve["levels"]]
    rows = [
        [model["name"], *map(show, model["all_joints"]), show(model["area"])] for model in curve["models"]
    ]
    return (
        f"% robustness version {section['version']}, mean {section['mean']}, all joints\n"
        f"% {key_of(curve)}: {curve['description']}\n"
        + booktabs("l" + "r" * (len(levels) + 1), [[title, *levels, _area_title(curve)]], rows)
    )


def visibility_text(section: Section, group: str) -> str:
    """A row per group; per model the share of visible joints and the errors of both kinds."""
    metric = metric_of("mpjpe_mm")
    models = section["models"]
    title = (
        f"visibility: {metric.axis} of joints with a confidence above {section['threshold']:g}, and others"
    )
    names = ["", *(name for model in models for name in ("", "", model["name"]))]
    head, *rows, mean = visible_rows(models, group)
    return "\n".join([title, align([names, head, *rows, [f"mean over {group}s", *mean[1:]]])])


def visible_rows(models: list[Section], group: str) -> Iterator[list[str]]:
    """Head, groups and mean; three columns per model."""
    yield [group, *("share", "visible", "others") * len(models)]
    for name in models[0][f"{group}s"]:
        yield [name, *_visible_cells([model[f"{group}s"].get(name, {}) for model in models])]
    yield ["Avg.", *_visible_cells([model[f"{group}_mean"] for model in models])]


def _visible_cells(values: list[Section]) -> Iterator[str]:
    for value in values:
        share = value.get("visible_share")
        yield "-" if share is None else f"{100 * share:.1f} %"
        yield show(value.get("visible_mpjpe_mm"))
        yield show(value.get("not_visible_mpjpe_mm"))


def visibility_rows(section: Section, group: str) -> Iterator[Row]:
    """Lines of a CSV file; ``over`` reads ``visibility above 0.6/action walking/visible``."""
    start = f"visibility above {section['threshold']:g}"
    for model in section["models"]:
        places = {f"{group}s": model[f"{group}_mean"]}
        places |= {f"{group} {name}": values for name, values in model[f"{group}s"].items()}
        for over, values in places.items():
            yield model["name"], "visible_share", "", f"{start}/{over}", values["visible_share"]
            for part in ("visible", "not_visible"):
                value = values[f"{part}_mpjpe_mm"]
                if value is not None:
                    yield model["name"], "mpjpe_mm", "mm", f"{start}/{over}/{part}", value


def visibility_latex(section: Section, group: str) -> str:
    """A booktabs table: a row per group, three columns per model."""
    models = section["models"]
    names = ["", *(rf"\multicolumn{{3}}{{c}}{{{model['name']}}}" for model in models)]
    head, *rows, mean = visible_rows(models, group)
    title = f"% joints with a confidence above {section['threshold']:g}: share, MPJPE of them and others (mm)"
    return f"{title}\n{booktabs('l' + 'rrr' * len(models), [names, head], rows, [mean])}"


def key_of(curve: Section) -> str:
    """Corruption and variant."""
    return f"{curve['corruption']}/{curve['variant']}"


def _area_title(curve: Section) -> str:
    return "mean" if curve["unit"] == "limb" else "area"
