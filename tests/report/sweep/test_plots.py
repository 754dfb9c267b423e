from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from langpose_dist.report.sweep import read_sweep
from langpose_dist.report.sweep.plots import (
    build_curves,
    build_front,
    build_slice,
    draw_pictures,
)
from langpose_dist.report.sweep.report import Report, build_report
from tests.report.sweep.folders import (
    MPJPE,
    NUM_STEPS,
    RECALL,
    make_asha,
    make_confirmed,
    make_pareto,
    make_table1,
    trial_content,
    write_sweep,
)

LAMBDA = "loss.lambda_con"
BEST, BASELINE = "#c8373d", "black"


def report_of(folder: Path) -> Report:
    return build_report(read_sweep(folder))


def lines(axes: Axes, colour: str) -> list[Line2D]:
    """Lines of a colour with more than one point."""
    return [line for line in axes.lines if line.get_color() == colour and len(points(line)) > 1]


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def dots(axes: Axes, colour: str | None = None) -> list[tuple[float, float]]:
    """Single points, of one colour or of all."""
    single = [line for line in axes.lines if line.get_marker() == "o" and len(points(line)) == 1]
    return [points(line)[0] for line in single if colour in (None, line.get_color())]


def test_each_parameter_has_a_panel_on_the_scale_it_was_drawn_on(tmp_path: Path) -> None:
    space = {
        LAMBDA: {"log_uniform": [0.01, 1.0]},
        "loss.beta": {"uniform": [0.0, 4.0]},
        "train.global_batch_size": {"choice": [16, 32]},
    }
    params: list[dict[str, Any]] = [
        {LAMBDA: 0.1, "loss.beta": 1.0, "train.global_batch_size": 32},
        {LAMBDA: 0.01, "loss.beta": 2.0, "train.global_batch_size": 16},
        {LAMBDA: 1.0, "loss.beta": 3.0, "train.global_batch_size": 16},
    ]
    trials = [trial_content(n, row, values={NUM_STEPS: 70.0 + 5 * n}) for n, row in enumerate(params)]
    baseline = trial_content(3, values={NUM_STEPS: 82.0})
    figure = build_slice(report_of(write_sweep(tmp_path / "sweep", [*trials, baseline], space=space)))
    assert figure is not None
    weight, beta, batch = figure.axes
    assert dots(weight) == [(0.1, 70.0), (0.01, 75.0), (1.0, 80.0)]
    assert dots(beta) == [(1.0, 70.0), (2.0, 75.0), (3.0, 80.0)]
    assert dots(batch) == [(1.0, 70.0), (0.0, 75.0), (0.0, 80.0)]
    assert dots(weight, BEST) == [(0.1, 70.0)]
    assert (weight.get_xscale(), beta.get_xscale()) == ("log", "linear")
    assert [label.get_text() for label in batch.get_xticklabels()] == ["16", "32"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["lambda_con", "beta", "global_batch_size"]
    assert weight.get_ylabel() == "masked MPJPE (mm), lower is better"
    assert [line.get_ydata() for line in weight.lines if line.get_linestyle() == "--"] == [[82.0, 82.0]]
    assert legend(figure) == ["best", "baseline"]


def test_configurations_are_shown_at_the_step_that_all_of_them_reached(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep"))
    figure = build_slice(report)
    assert figure is not None
    assert figure.get_suptitle() == "14 configurations of the search at step 250"  # without the lost ones
    expected = sorted(
        trial.values_at(250)[MPJPE] for trial in report.trials if not trial.is_baseline and not trial.is_lost
    )
    assert sorted(value for _, value in dots(figure.axes[0])) == expected


def test_curves_end_where_trials_did(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep"))
    figure = build_curves(report)
    assert figure is not None
    axes = figure.axes[0]
    rungs = [points(line)[0][0] for line in axes.lines if line.get_linestyle() == ":"]
    assert rungs == [250, 750, 2250]
    curves = [line for line in axes.lines if line.get_linestyle() != ":" and line.get_marker() != "x"]
    assert [points(line)[-1][0] for line in curves] == [trial.step for trial in report.trials]
    (baseline,) = lines(axes, BASELINE)
    assert points(baseline)[-1] == (NUM_STEPS, pytest.approx(report.trials[0].values_at(NUM_STEPS)[MPJPE]))
    crosses = [points(line)[0][0] for line in axes.lines if line.get_marker() == "x"]
    assert crosses == [500, 250]
    assert legend(figure) == ["best", "baseline", "failed or diverged"]


def test_every_seed_of_the_best_is_marked(tmp_path: Path) -> None:
    figure = build_curves(report_of(make_table1(tmp_path / "table1")))
    assert figure is not None
    assert sorted(points(line)[-1][1] for line in lines(figure.axes[0], BEST)) == [77.0, 78.5, 79.5]
    figure = build_curves(report_of(make_confirmed(tmp_path / "confirmed")))
    assert figure is not None
    assert sorted(points(line)[-1][1] for line in lines(figure.axes[0], BEST)) == [78.0, 79.0, 79.0]
    assert legend(figure) == ["best", "baseline", "thin: search"]


def test_values_far_apart_get_a_log_scale(tmp_path: Path) -> None:
    for name, far, scale in (("near", 100.0, "linear"), ("far", 1e6, "log")):
        trial = trial_content(0, {LAMBDA: 0.1}, values={250: far, NUM_STEPS: 70.0})
        figure = build_curves(report_of(write_sweep(tmp_path / name, [trial])))
        assert figure is not None
        assert figure.axes[0].get_yscale() == scale


def test_the_front_bears_its_ranks(tmp_path: Path) -> None:
    report = report_of(make_pareto(tmp_path / "sweep"))
    figure = build_front(report)
    assert figure is not None
    (axes,) = figure.axes
    assert sorted(dots(axes, BEST)) == [(70.0, 0.3), (75.0, 0.5), (85.0, 0.7)]
    assert [(text.get_text(), text.xy) for text in axes.texts if isinstance(text, Annotation)] == [
        ("1", (70.0, 0.3)),
        ("2", (75.0, 0.5)),
        ("3", (85.0, 0.7)),
    ]
    assert axes.get_title() == "7 configurations at step 3000"
    assert axes.get_xlabel() == "masked MPJPE (mm), lower is better"
    assert axes.get_ylabel() == "masked R@1, higher is better"
    assert legend(figure) == ["on the front, with its rank", "baseline"]
    assert build_front(report_of(make_table1(tmp_path / "table1"))) is None  # one objective


def test_the_front_leaves_out_what_cannot_be_compared(tmp_path: Path) -> None:
    both = {MPJPE: 80.0, RECALL: 0.5}
    trials = [
        trial_content(0, {LAMBDA: 0.1}, seed=0, values={NUM_STEPS: both}),
        trial_content(1, {LAMBDA: 0.1}, seed=1, values={NUM_STEPS: both | {MPJPE: 82.0}}),
        trial_content(2, {LAMBDA: 0.3}, values={NUM_STEPS: {MPJPE: 90.0}}),
        trial_content(3, {LAMBDA: 0.4}, values={250: both}, status="stopped"),
    ]
    figure = build_front(report_of(write_sweep(tmp_path / "sweep", trials, objective=[MPJPE, RECALL])))
    assert figure is not None
    assert figure.axes[0].get_title() == "1 configuration at step 3000, 2 not comparable"
    assert "+- standard deviation over seeds" in legend(figure)


LONG = {
    f"model.section.a_very_long_parameter_name_{n}_of_the_encoder": {"uniform": [0, 1]} for n in range(30)
}
ODD = {"$a_{": {"choice": ["$x", "\x1b[31m", "語" * 30, [1, 2], None, True]}}


@pytest.mark.parametrize(
    ("trials", "changes", "names"),
    [
        ([], {}, set()),
        (
            [trial_content(0, {LAMBDA: 0.3}, status="running", values={250: 90.0})],
            {},
            {"slice", "curves"},
        ),
        ([trial_content(0, {LAMBDA: 0.3}, status="failed")], {}, set()),
        ([trial_content(0, values={250: 90.0})], {"space": {}}, {"curves"}),
        (
            [
                trial_content(number, {"$a_{": value}, values={NUM_STEPS: 80.0})
                for number, value in enumerate(ODD["$a_{"]["choice"])
            ],
            {"space": ODD},
            {"slice", "curves"},
        ),
        (
            [trial_content(n, dict.fromkeys(LONG, n / 10), values={NUM_STEPS: 80.0 + n}) for n in range(10)],
            {"space": LONG},
            {"slice", "curves"},
        ),
    ],
)
def test_there_is_a_picture_of_whatever_there_is(
    tmp_path: Path, trials: list[Any], changes: dict[str, Any], names: set[str]
) -> None:
    report = report_of(write_sweep(tmp_path / "sweep", trials, **changes))
    files = draw_pictures(report, tmp_path)
    assert {path.stem for path in files} == names
    for path in files:
        height, width, _ = imread(path).shape
        assert 150 < height < 1500
        assert 400 < width < 3000


@pytest.mark.slow
def test_many_trials_are_drawn(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep", 120))
    for figure in (build_slice(report), build_curves(report)):
        assert figure is not None
        assert len(figure.axes[0].lines) > 110
