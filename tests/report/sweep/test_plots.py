from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from langpose_dist.report.sweep import Report, build_report, read_sweep
from langpose_dist.report.sweep.plots import (
    build_cost,
    build_curves,
    build_front,
    build_importance,
    build_parallel,
    draw_pictures,
)
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


def texts(axes: Axes) -> dict[str, tuple[float, float]]:
    return {text.get_text(): (text.get_position()[0], text.get_position()[1]) for text in axes.texts}


def test_parallel_axes_are_as_values_were_drawn_and_better_is_up(tmp_path: Path) -> None:
    space = {
        LAMBDA: {"log_uniform": [0.01, 1.0]},
        "loss.beta": {"uniform": [0.0, 4.0]},
        "train.global_batch_size": {"grid": [16, 32]},
    }
    params = [(0.1, 1.0, 32), (0.01, 4.0, 16), (1.0, 0.0, 16)]
    trials = [
        trial_content(number, dict(zip(space, row, strict=True)), values={NUM_STEPS: 70.0 + 5 * number})
        for number, row in enumerate(params)
    ]
    figure = build_parallel(report_of(write_sweep(tmp_path / "sweep", trials, space=space)))
    (axes,) = figure.axes
    (best,) = lines(axes, BEST)
    heights = [height for _, height in points(best)]
    assert heights[0] == pytest.approx(0.5)  # 0.1 is half way from 0.01 to 1
    assert heights[1] == pytest.approx(0.25)
    assert heights[2] == pytest.approx(0.75, abs=0.05)
    assert heights[3] == pytest.approx(1.0)
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "lambda_con",
        "beta",
        "global_batch_\nsize",
        "masked/mpjpe_mm\n(better up)",
    ]
    assert "3 configurations, values at step 3000" in axes.get_title()


def test_labels_of_an_axis_are_told_apart(tmp_path: Path) -> None:
    space = {LAMBDA: {"uniform": [0.5, 0.5004]}}
    trials = [
        trial_content(number, {LAMBDA: 0.5 + number / 5000}, values={NUM_STEPS: 142.9 + 0.3 * number})
        for number in range(3)
    ]
    (axes,) = build_parallel(report_of(write_sweep(tmp_path / "sweep", trials, space=space))).axes
    labels = [text.get_text() for text in axes.texts]
    assert len(labels) >= 6
    assert len(set(labels)) == len(labels)


def test_what_was_stopped_is_faint_and_has_no_value(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep"))
    figure = build_parallel(report)
    (axes,) = figure.axes
    complete = [one for one in report.configurations if one.is_complete]
    ends = [line for line in axes.lines if len(points(line)) == 6]
    assert len(ends) == len(complete)
    faint = [line for line in axes.lines if len(points(line)) == 5]
    assert len(faint) == 17 - len(complete)
    assert {line.get_alpha() for line in faint} == {0.35}
    unused = [line for line in axes.lines if len(points(line)) > 2 and points(line)[2][1] < 0]
    assert len(unused) == sum("loss.gamma" not in one.params for one in report.configurations) - 1  # baseline
    assert texts(axes)["not in use"][1] < 0
    assert legend(figure) == [
        "best",
        "baseline",
        "others, yellow (good) to blue",
        "not comparable: stopped, lost or only searched",
    ]


def test_curves_end_where_trials_did(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep"))
    figure = build_curves(report)
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
    assert sorted(points(line)[-1][1] for line in lines(figure.axes[0], BEST)) == [77.0, 78.5, 79.5]
    figure = build_curves(report_of(make_confirmed(tmp_path / "confirmed")))
    assert sorted(points(line)[-1][1] for line in lines(figure.axes[0], BEST)) == [78.0, 79.0, 79.0]
    assert legend(figure) == ["best", "baseline", "thin: search"]


def test_values_far_apart_get_a_log_scale(tmp_path: Path) -> None:
    for name, far, scale in (("near", 100.0, "linear"), ("far", 1e6, "log")):
        trial = trial_content(0, {LAMBDA: 0.1}, values={250: far, NUM_STEPS: 70.0})
        figure = build_curves(report_of(write_sweep(tmp_path / name, [trial])))
        assert figure.axes[0].get_yscale() == scale


def test_the_front_is_a_staircase_over_its_points(tmp_path: Path) -> None:
    figure = build_front(report_of(make_pareto(tmp_path / "sweep")))
    assert figure is not None
    (axes,) = figure.axes
    (front,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert points(front) == [(70.0, 0.3), (75.0, 0.5), (85.0, 0.7)]
    assert axes.get_title() == "Pareto front\n7 configurations at step 3000"
    assert axes.get_ylabel() == "masked/r_at_1, more is better"


def test_position_and_retrieval_are_shown_for_information(tmp_path: Path) -> None:
    figure = build_front(report_of(make_table1(tmp_path / "sweep")))
    assert figure is not None
    assert "for information" in figure.axes[0].get_title()
    assert "+- standard deviation over seeds" in legend(figure)
    assert build_front(report_of(make_confirmed(tmp_path / "confirmed"))) is None


def test_the_front_says_why_a_configuration_is_not_in_it(tmp_path: Path) -> None:
    retrieving = {MPJPE: 80.0, RECALL: 0.5}
    trials = [
        trial_content(0, {LAMBDA: 0.1}, values={NUM_STEPS: retrieving}),
        trial_content(1, {LAMBDA: 0.2}, values={NUM_STEPS: retrieving}),
        trial_content(2, {LAMBDA: 0.3}, values={NUM_STEPS: {MPJPE: 90.0}}),
        trial_content(3, {LAMBDA: 0.4}, values={250: retrieving}, status="stopped"),
    ]
    figure = build_front(report_of(write_sweep(tmp_path / "sweep", trials)))
    assert figure is not None
    assert (
        figure.axes[0]
        .get_title()
        .endswith("2 configurations at step 3000; 1 that did not get there, 1 without masked/r_at_1 left out")
    )


def test_importance_has_a_bar_per_parameter(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep", 24))
    figure = build_importance(report.importance)
    assert figure is not None
    (axes,) = figure.axes
    shares = report.importance[0].shares
    assert [bar.get_width() for bar in axes.patches] == [share.share for share in shares[::-1]]  # pyright: ignore[reportAttributeAccessIssue]
    assert axes.get_title() == "masked/mpjpe_mm of 22 configurations at step 250"
    assert build_importance(report_of(make_table1(tmp_path / "table1")).importance) is None


def test_cost_is_stacked_by_outcome(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep"))
    (axes,) = build_cost(report.cost).axes
    *spent, full = axes.patches
    assert sum(bar.get_width() for bar in spent) == pytest.approx(report.cost.total_hours)  # pyright: ignore[reportAttributeAccessIssue]
    assert full.get_width() == pytest.approx(report.cost.full_length_hours)  # pyright: ignore[reportAttributeAccessIssue]


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
            {"parallel", "curves", "cost"},
        ),
        ([trial_content(0, {LAMBDA: 0.3}, status="failed")], {}, {"parallel", "cost"}),
        ([trial_content(0, values={250: 90.0})], {"space": {}}, {"parallel", "curves", "cost"}),
        ([trial_content(0, {LAMBDA: -1}, seconds=0.0)], {}, {"parallel"}),
        ([trial_content(0, {LAMBDA: "x"}, seconds=0.0)], {}, {"parallel"}),
        (
            [
                trial_content(number, {"$a_{": value}, values={NUM_STEPS: 80.0})
                for number, value in enumerate(ODD["$a_{"]["choice"])
            ],
            {"space": ODD},
            {"parallel", "curves", "cost"},
        ),
        (
            [trial_content(n, dict.fromkeys(LONG, n / 10), values={NUM_STEPS: 80.0 + n}) for n in range(10)],
            {"space": LONG},
            {"parallel", "curves", "cost", "importance"},
        ),
        (
            [
                trial_content(
                    n,
                    {LAMBDA: 0.3 + n},
                    values={step: 90.0 - step / 100 for step in (1000, 2000, NUM_STEPS)},
                )
                for n in range(3)
            ],
            {"scheduler": {"name": "pbt"}},
            {"parallel", "curves", "cost"},
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


def test_many_trials_are_drawn(tmp_path: Path) -> None:
    report = report_of(make_asha(tmp_path / "sweep", 120))
    assert len(build_parallel(report).axes[0].lines) > 120
    assert len(build_curves(report).axes[0].lines) > 120
