import base64
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import UserError
from langpose_dist.report.render import to_html, to_markdown
from langpose_dist.report.sections import say_number
from langpose_dist.report.sweep import rank_configurations, read_sweep, to_text, write_report
from langpose_dist.report.sweep.importance import find_importance
from langpose_dist.report.sweep.numbers import (
    Configuration,
    Difference,
    compare_best,
    find_difference,
    sum_cost,
    t_quantile,
)
from langpose_dist.report.sweep.records import say_value, short_names
from langpose_dist.report.sweep.render import build_sections
from langpose_dist.report.sweep.report import Report, build_report
from tests.report.sweep.folders import (
    MPJPE,
    NUM_STEPS,
    RECALL,
    make_asha,
    make_confirmed,
    make_pareto,
    make_table1,
    sweep_content,
    trial_content,
    write_json,
    write_sweep,
)

LAMBDA = "loss.lambda_con"
ONE_KEY = {LAMBDA: {"log_uniform": [0.05, 5.0]}}


def ranked(folder: Path, **options: Any) -> list[Configuration]:
    found = read_sweep(folder)
    return rank_configurations(found.sweep, found.trials, **options)


def numbers(configurations: list[Configuration]) -> list[int]:
    """Number of the first trial of each configuration."""
    return [(one.searched or one.trials)[0].number for one in configurations]


def report_of(folder: Path) -> Report:
    return build_report(read_sweep(folder))


def test_configurations_rank_by_how_far_they_came_and_then_by_the_objective(tmp_path: Path) -> None:
    folder = write_sweep(
        tmp_path / "sweep",
        [
            trial_content(0, {LAMBDA: 0.1}, status="failed", reason="out of memory", values={250: 10.0}),
            trial_content(1, {LAMBDA: 0.2}, status="stopped", values={250: 50.0}),
            trial_content(2, {LAMBDA: 0.3}, status="stopped", values={250: 95.0, 750: 85.0}),
            trial_content(3, {LAMBDA: 0.4}, values={250: 99.0, NUM_STEPS: 82.0}),
            trial_content(4, {LAMBDA: 0.5}, values={250: 99.0, NUM_STEPS: 81.0}),
            trial_content(5, {LAMBDA: 0.6}, status="stopped", values={250: 49.0}),
            trial_content(6, {LAMBDA: 0.7}, status="pending"),
            trial_content(7, {LAMBDA: 0.8}, status="diverged", reason="loss is nan", values={NUM_STEPS: 1.0}),
            trial_content(8, values={NUM_STEPS: 81.5}),
        ],
    )
    found = ranked(folder)
    assert numbers(found) == [4, 8, 3, 2, 5, 1, 6, 0, 7]
    assert [one.rank for one in found] == list(range(1, 10))
    assert [one.step for one in found] == [3000, 3000, 3000, 750, 250, 250, 0, 250, 3000]
    assert [one.is_complete for one in found] == [True] * 3 + [False] * 6
    assert found[1].is_baseline
    assert found[7].reason == "out of memory"
    assert found[7].values == {}
    assert found[0].front is None


def test_of_recall_more_is_better(tmp_path: Path) -> None:
    trials = [
        trial_content(number, {LAMBDA: 0.1 * number}, values={NUM_STEPS: {RECALL: recall}})
        for number, recall in ((1, 0.3), (2, 0.7), (3, 0.5))
    ]
    assert numbers(ranked(write_sweep(tmp_path / "sweep", trials, objective=[RECALL]))) == [2, 3, 1]


def test_seeds_of_a_configuration_are_averaged(tmp_path: Path) -> None:
    best, *_, worst = ranked(make_table1(tmp_path / "sweep"))
    assert best.params == {"loss.contrastive": "modified"}
    assert best.seeds == (0, 1, 2)
    assert best.values[MPJPE] == {0: 77.0, 1: 79.5, 2: 78.5}
    assert best.mean(MPJPE) == pytest.approx(235 / 3)
    # Deviations -4/3, 7/6 and 1/6: squares sum to 114/36.
    assert best.spread(MPJPE) == pytest.approx(math.sqrt(114 / 36 / 2))
    assert worst.mean(MPJPE) == pytest.approx(81.0)
    assert worst.spread(MPJPE) == pytest.approx(1.0)
    assert best.mean("no/metric") is None


def test_a_configuration_whose_seeds_differ_in_fate_says_so(tmp_path: Path) -> None:
    params, other = {LAMBDA: 0.3}, {LAMBDA: 0.9}
    trials = [
        trial_content(0, params, seed=0, values={NUM_STEPS: 80.0}),
        trial_content(1, params, seed=1, values={250: 95.0}, status="failed", reason="out of memory"),
        trial_content(2, params, seed=2, values={NUM_STEPS: 82.0}),
        trial_content(3, other, seed=0, values={NUM_STEPS: 70.0}),
        trial_content(4, other, seed=1, status="diverged", reason="loss is nan", values={250: 90.0}),
    ]
    first, last = ranked(write_sweep(tmp_path / "sweep", trials))
    assert first.status == "2 finished, 1 failed"
    assert first.reason == "out of memory"
    assert first.seeds == (0, 2)
    assert first.mean(MPJPE) == 81.0
    assert last.is_lost  # a value over the seeds that survive would flatter it
    assert last.reason == "loss is nan"


def test_one_lucky_seed_does_not_beat_all_of_anothers(tmp_path: Path) -> None:
    lucky, whole = {LAMBDA: 0.3}, {LAMBDA: 0.9}
    trials = [
        trial_content(0, lucky, seed=0, values={NUM_STEPS: 50.0}),
        trial_content(1, lucky, seed=1, status="failed", reason="out of memory"),
        trial_content(2, whole, seed=0, values={NUM_STEPS: 40.0}),
        trial_content(3, whole, seed=1, values={NUM_STEPS: 70.0}),
    ]
    first, second = ranked(write_sweep(tmp_path / "sweep", trials))
    assert (first.params, first.mean(MPJPE)) == (whole, 55.0)
    assert (second.params, second.num_missing) == (lucky, 1)


@pytest.mark.parametrize("stage", ["search", "confirm"])
def test_a_seed_without_a_record_is_missing(tmp_path: Path, stage: str) -> None:
    lucky, whole = {LAMBDA: 0.3}, {LAMBDA: 0.9}
    trials = [
        trial_content(0, lucky, seed=1, stage=stage, values={NUM_STEPS: 50.0}),
        trial_content(1, whole, seed=1, stage=stage, values={NUM_STEPS: 60.0}),
        trial_content(2, whole, seed=2, stage=stage, values={NUM_STEPS: 60.0}),
    ]
    first, second = ranked(write_sweep(tmp_path / "sweep", trials, seeds=[1, 2]))
    assert (first.params, first.num_missing, first.status) == (whole, 0, "finished")
    assert (second.params, second.num_missing) == (lucky, 1)
    assert second.status == "1 finished, 1 without a record"


def test_a_search_in_front_of_the_seeds_lacks_none_of_them(tmp_path: Path) -> None:
    trials = [trial_content(0, {LAMBDA: 0.3}, seed=0, values={NUM_STEPS: 50.0})]
    (one,) = ranked(write_sweep(tmp_path / "sweep", trials, seeds=[1, 2]))
    assert (one.num_missing, one.status) == (0, "finished")


def test_seeds_under_way_are_compared_at_the_last_step_that_all_have(tmp_path: Path) -> None:
    params = {LAMBDA: 0.3}
    trials = [
        trial_content(0, params, seed=0, status="running", values={250: 90.0, 500: 85.0, 750: 80.0}),
        trial_content(1, params, seed=1, status="running", values={250: 92.0, 500: 87.0}),
        trial_content(2, params, seed=2, status="pending"),
    ]
    (one,) = ranked(write_sweep(tmp_path / "sweep", trials, status="running"))
    assert (one.step, one.values[MPJPE]) == (500, {0: 85.0, 1: 87.0})
    assert not one.is_complete


def test_a_point_that_is_drawn_twice_counts_as_one_seed(tmp_path: Path) -> None:
    trials = [trial_content(number, {LAMBDA: 0.3}, values={NUM_STEPS: 80.0 + number}) for number in (0, 2)]
    (one,) = ranked(write_sweep(tmp_path / "sweep", trials))
    assert one.values[MPJPE] == {0: 81.0}
    assert one.spread(MPJPE) is None


def test_values_that_are_no_numbers_do_not_count(tmp_path: Path) -> None:
    trials = [
        trial_content(0, {LAMBDA: 0.3}, values={250: 90.0, NUM_STEPS: math.nan}),
        trial_content(1, {LAMBDA: 0.4}, values={NUM_STEPS: 95.0}),
    ]
    found = ranked(write_sweep(tmp_path / "sweep", trials))
    assert numbers(found) == [1, 0]
    assert (found[1].step, found[1].is_complete) == (250, False)


def test_confirmed_values_decide_where_there_are_any(tmp_path: Path) -> None:
    folder = make_confirmed(tmp_path / "sweep")
    found = ranked(folder)
    assert numbers(found) == [2, 1, 0, 3]
    assert [one.stage for one in found] == ["confirm"] * 3 + ["search"]
    assert found[0].values[MPJPE] == {1: 78.0, 2: 79.0, 3: 79.0}  # not the search's 77
    assert [trial.seed for trial in found[0].trials] == [1, 2, 3]
    assert found[0].device_seconds == 4 * 600


def test_finalists_are_ranked_by_the_search_alone(tmp_path: Path) -> None:
    folder = make_confirmed(tmp_path / "sweep")
    assert numbers(ranked(folder, stage="search")) == [1, 2, 0, 3]
    assert len(ranked(folder, stage="confirm")) == 3


def test_two_objectives_rank_by_pareto_fronts(tmp_path: Path) -> None:
    found = ranked(make_pareto(tmp_path / "sweep"))
    assert numbers(found) == [0, 1, 2, 5, 3, 4, 6]
    assert [one.front for one in found] == [1, 1, 1, 2, 2, 2, 3]
    assert [one.is_on_front for one in found] == [True] * 3 + [False] * 4


def test_fronts_are_those_of_a_plain_definition(tmp_path: Path) -> None:
    generator = random.Random(3)
    points = [(float(generator.randint(60, 70)), generator.randint(0, 10) / 10) for _ in range(40)]
    trials = [
        trial_content(
            number, {LAMBDA: 0.1 + number / 100}, values={NUM_STEPS: {MPJPE: error, RECALL: recall}}
        )
        for number, (error, recall) in enumerate(points)
    ]
    found = ranked(write_sweep(tmp_path / "sweep", trials, objective=[MPJPE, RECALL]))
    expected = {
        number
        for number, (error, recall) in enumerate(points)
        if not any(
            other <= error and found >= recall and (other < error or found > recall)
            for other, found in points
        )
    }
    assert {one.trials[0].number for one in found if one.is_on_front} == expected
    fronts = [one.front or 0 for one in found]
    assert fronts == sorted(fronts)


def test_t_quantiles_are_those_of_the_published_table() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 30: 2.042}
    assert {df: round(t_quantile(df), 3) for df in table} == table


def test_a_difference_is_paired_by_seed(tmp_path: Path) -> None:
    modified, infonce, none = ranked(make_table1(tmp_path / "sweep"))
    # 2, 0.5 and 2.5: mean 5/3, standard deviation sqrt(13/12).
    found = find_difference(infonce, modified, MPJPE)
    assert found is not None
    half = 4.303 * math.sqrt(13 / 12) / math.sqrt(3)
    assert found.value == pytest.approx(5 / 3)
    assert found.low == pytest.approx(5 / 3 - half, abs=1e-3)
    assert found.high == pytest.approx(5 / 3 + half, abs=1e-3)
    assert (found.num_seeds, found.df, found.verdict) == (3, 2, "not shown")
    # 3, 2.5 and 2.5.
    worse = find_difference(none, modified, MPJPE)
    assert worse is not None
    assert worse.verdict == "worse"
    better = find_difference(modified, none, MPJPE)
    assert better is not None
    assert better.verdict == "better"


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        (MPJPE, -2.0, -1.0, "better"),
        (MPJPE, 1.0, 2.0, "worse"),
        (MPJPE, -1.0, 2.0, "not shown"),
        (MPJPE, 0.0, 2.0, "not shown"),
        (MPJPE, -2.0, 0.0, "not shown"),
        (RECALL, 1.0, 2.0, "better"),
        (RECALL, -2.0, -1.0, "worse"),
        (MPJPE, None, None, "no interval"),
    ],
)
def test_nothing_is_an_improvement_whose_interval_holds_zero(
    metric: str, low: float | None, high: float | None, verdict: str
) -> None:
    difference = Difference(metric=metric, value=0.5, one=2.0, other=1.5, low=low, high=high, num_seeds=3)
    assert difference.verdict == verdict


def test_only_common_seeds_are_paired_and_one_has_no_interval(tmp_path: Path) -> None:
    def make(name: str, seeds: tuple[int, ...], others: tuple[int, ...]) -> Difference | None:
        trials = [
            trial_content(
                10 * place + seed, {LAMBDA: 0.1 + place}, seed=seed, values={NUM_STEPS: 70.0 + seed + place}
            )
            for place, found in enumerate((seeds, others))
            for seed in found
        ]
        first, second = sorted(ranked(write_sweep(tmp_path / name, trials)), key=lambda one: str(one.params))
        return find_difference(first, second, MPJPE)

    three = make("three", (0, 1, 2), (1, 2, 3))
    assert three is not None
    assert (three.num_seeds, three.value, three.one) == (2, -1.0, 71.5)
    one = make("one", (0,), (0, 1))
    assert one is not None
    assert (one.num_seeds, one.low, one.df, one.value) == (1, None, None, -1.0)
    none = make("none", (0, 1), (4,))
    assert none is not None
    assert (none.num_seeds, none.low, none.value) == (0, None, 70.5 - 75.0)


def test_values_of_other_steps_and_stages_are_not_compared(tmp_path: Path) -> None:
    trials = [
        trial_content(0, {LAMBDA: 0.1}, values={NUM_STEPS: 80.0}),
        trial_content(1, {LAMBDA: 0.2}, status="stopped", values={250: 90.0}),
    ]
    best, stopped = ranked(write_sweep(tmp_path / "steps", trials))
    assert find_difference(stopped, best, MPJPE) is None
    best, *_, searched = ranked(make_confirmed(tmp_path / "stages"))
    assert find_difference(searched, best, MPJPE) is None
    assert find_difference(best, best, "no/metric") is None


def test_the_best_is_compared_with_the_baseline(tmp_path: Path) -> None:
    found = report_of(make_confirmed(tmp_path / "sweep")).comparison
    assert found is not None
    assert (found.kind, found.best.rank, found.reference.rank) == ("baseline", 1, 3)
    (difference,) = found.differences
    # -3, -4 and -3.
    assert difference.value == pytest.approx(-10 / 3)
    assert difference.high == pytest.approx(-10 / 3 + 4.303 * math.sqrt(1 / 3) / math.sqrt(3), abs=1e-3)
    assert difference.verdict == "better"
    (note,) = found.notes
    assert "2 finalists" in note


def test_without_a_confirmation_the_choice_is_said_to_flatter(tmp_path: Path) -> None:
    trials = [
        trial_content(0, values={NUM_STEPS: 80.0}),
        trial_content(1, {LAMBDA: 0.2}, values={NUM_STEPS: 79.0}),
        trial_content(2, {LAMBDA: 0.3}, values={250: 99.0}, status="stopped"),
    ]
    report = report_of(write_sweep(tmp_path / "sweep", trials))
    assert report.comparison is not None
    notes = " ".join(report.comparison.notes)
    assert "the best of 2 was chosen by these same numbers" in notes
    assert "one seed" in notes
    text = to_text(report)
    assert "difference -1.00 (1 seed in common: no interval, nothing is shown)" in text
    assert "better than" not in text


def test_a_baseline_that_wins_is_said_to(tmp_path: Path) -> None:
    trials = [
        trial_content(0, values={NUM_STEPS: 70.0}),
        trial_content(1, {LAMBDA: 0.2}, values={NUM_STEPS: 79.0}),
    ]
    found = report_of(write_sweep(tmp_path / "sweep", trials)).comparison
    assert found is not None
    assert found.best.params == {LAMBDA: 0.2}
    assert "the baseline ranks before every configuration of the space" in found.notes


def test_without_a_baseline_the_median_takes_its_place(tmp_path: Path) -> None:
    found = report_of(make_table1(tmp_path / "sweep")).comparison
    assert found is not None
    assert (found.kind, found.reference.params) == ("median", {"loss.contrastive": "infonce"})
    assert "the sweep has no baseline" in found.notes[0]
    trials = [
        trial_content(0, status="failed", reason="out of memory"),
        *(trial_content(n, {LAMBDA: 0.1 * n}, values={NUM_STEPS: 70.0 + n}) for n in (1, 2, 3, 4)),
    ]
    found = report_of(write_sweep(tmp_path / "failed", trials)).comparison
    assert found is not None
    assert found.reference.params == {LAMBDA: 0.1 * 3}
    assert "the baseline did not reach the last step" in found.notes[0]


def test_nothing_is_compared_where_there_is_nothing(tmp_path: Path) -> None:
    for number, trials in enumerate(
        (
            [],
            [trial_content(0, {LAMBDA: 0.1}, values={NUM_STEPS: 70.0})],
            [trial_content(0, values={NUM_STEPS: 70.0})],
            [trial_content(0, {LAMBDA: 0.1}, status="failed")],
        )
    ):
        found = read_sweep(write_sweep(tmp_path / str(number), trials))
        assert compare_best(found.sweep, rank_configurations(found.sweep, found.trials)) is None


def test_cost_is_seconds_times_devices(tmp_path: Path) -> None:
    trials = [
        trial_content(0, seconds=3600.0, num_devices=2, values={NUM_STEPS: 80.0}),
        trial_content(1, {LAMBDA: 0.1}, seconds=7200.0, num_devices=2, values={NUM_STEPS: 80.0}),
        trial_content(2, {LAMBDA: 0.2}, seconds=1800.0, num_devices=2, status="stopped", values={250: 90.0}),
        trial_content(3, {LAMBDA: 0.3}, seconds=900.0, num_devices=2, status="failed"),
        trial_content(4, {LAMBDA: 0.4}, seconds=900.0, num_devices=2, status="diverged"),
        trial_content(5, {LAMBDA: 0.5}, seconds=0.0, num_devices=2, status="pending"),
    ]
    cost = sum_cost(read_sweep(write_sweep(tmp_path / "sweep", trials)).trials)
    assert cost.hours == {"finished": 6.0, "stopped": 1.0, "failed": 1.0, "unfinished": 0.0}
    assert cost.num_trials == {"finished": 2, "stopped": 1, "failed": 2, "unfinished": 1}
    assert cost.total_hours == 8.0
    assert cost.ended_early_share == 0.25
    assert cost.devices == "CPU"


def test_cost_of_nothing(tmp_path: Path) -> None:
    cost = sum_cost(())
    assert (cost.total_hours, cost.ended_early_share) == (0, None)


def importance_sweep(
    folder: Path, space: dict[str, Any], params: list[dict[str, Any]], **changes: Any
) -> Path:
    """Values depend on the first parameter, beside a little noise."""
    generator = random.Random(1)
    first = next(iter(space))
    trials = [
        trial_content(n, point, values={250: 10 * math.log(point[first]) + generator.gauss(0, 0.1)})
        for n, point in enumerate(params)
    ]
    return write_sweep(folder, trials, space=space, **changes)


def test_importance_finds_the_parameter_that_matters(tmp_path: Path) -> None:
    space = {LAMBDA: {"log_uniform": [0.1, 10.0]}, "loss.beta": {"uniform": [0, 1]}}
    generator = random.Random(0)
    params = [{LAMBDA: 10 ** generator.uniform(-1, 1), "loss.beta": generator.random()} for _ in range(24)]
    found = read_sweep(importance_sweep(tmp_path / "sweep", space, params))
    importance = find_importance(found.sweep, found.trials, MPJPE)
    assert importance.num_configurations == 24
    assert [share.key for share in importance.shares] == [LAMBDA, "loss.beta"]
    assert [share.is_shown for share in importance.shares] == [True, False]
    assert importance.shares[0].share > 0.8
    assert find_importance(found.sweep, found.trials, MPJPE) == importance  # nothing is drawn anew


def test_importance_sees_a_log_scale_as_it_was_drawn(tmp_path: Path) -> None:
    generator = random.Random(0)
    exponents = [generator.uniform(-1, 1) for _ in range(12)]
    betas = [generator.random() for _ in exponents]

    def shares(name: str, kind: str, ends: list[float], values: list[float]) -> list[float]:
        space = {"x": {kind: ends}, "beta": {"uniform": [0, 1]}}
        trials = [
            trial_content(n, {"x": value, "beta": beta}, values={250: 70 + exponent**2 + beta})
            for n, (value, beta, exponent) in enumerate(zip(values, betas, exponents, strict=True))
        ]
        found = read_sweep(write_sweep(tmp_path / name, trials, space=space))
        return [share.share for share in find_importance(found.sweep, found.trials, MPJPE).shares]

    log = shares("log", "log_uniform", [math.exp(-1), math.e], [math.exp(value) for value in exponents])
    assert log == pytest.approx(shares("even", "uniform", [-1.0, 1.0], exponents), rel=1e-6)


def test_importance_compares_at_the_highest_common_step(tmp_path: Path) -> None:
    found = read_sweep(make_asha(tmp_path / "sweep", 24))
    importance = find_importance(found.sweep, found.trials, MPJPE)
    assert importance.step == 250
    assert importance.num_configurations == 22  # without the baseline, the failed and the diverged
    assert importance.shares[0].key == LAMBDA
    assert importance.shares[0].is_shown


@pytest.mark.parametrize(
    ("num_trials", "value", "reason"),
    [
        (7, None, "fewer than 8 configurations that can be compared (7)"),
        (0, None, "fewer than 8 configurations that can be compared (0)"),
        (9, 80.0, "all configurations have the same value"),
    ],
)
def test_importance_says_why_it_is_missing(
    tmp_path: Path, num_trials: int, value: float | None, reason: str
) -> None:
    trials = [
        trial_content(n, {LAMBDA: 0.1 + n / 10}, values={250: 70.0 + n if value is None else value})
        for n in range(num_trials)
    ]
    found = read_sweep(write_sweep(tmp_path / "sweep", trials, space=ONE_KEY))
    importance = find_importance(found.sweep, found.trials, MPJPE)
    assert importance.shares == ()
    assert importance.reason.startswith(reason)


def test_importance_leaves_out_what_it_cannot_place(tmp_path: Path) -> None:
    space = {
        LAMBDA: {"log_uniform": [0.05, 5.0]},
        "a": {"choice": [1, 2]},
        "b": {"choice": [None, True, "x"]},
        "c": {"choice": [[1, 2], [3]]},
    }
    params = [
        {LAMBDA: 0.1 + n / 10, "a": 1, "b": (None, True, "x")[n % 3], "c": [[1, 2], [3]][n % 2]}
        for n in range(9)
    ]
    found = read_sweep(importance_sweep(tmp_path / "sweep", space, params))
    importance = find_importance(found.sweep, found.trials, MPJPE)
    assert importance.left_out == {"a": "has only one value"}
    assert {share.key for share in importance.shares} == {LAMBDA, "b", "c"}


def test_a_damaged_trial_is_left_out_with_a_warning(tmp_path: Path) -> None:
    folder = make_table1(tmp_path / "sweep")
    path = folder / "trials" / "t000" / "trial.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    (folder / "trials" / "t002" / "trial.json").unlink()
    write_json(folder / "trials" / "t003" / "trial.json", trial_content(3, {}, seconds=-1.0))
    write_json(folder / "trials" / "t004" / "trial.json", trial_content(4, {}, format=2))
    twice = [{"step": 250, "metrics": {}}, {"step": 250, "metrics": {}}]
    write_json(folder / "trials" / "t005" / "trial.json", trial_content(5, {}, evaluations=twice))
    (folder / "trials" / "t006" / "trial.json").write_bytes(b"\xff\xfe")
    found = read_sweep(folder)
    assert [trial.number for trial in found.trials] == [1, 7, 8]
    reasons = (
        "Invalid JSON",
        "trial.json cannot be read",
        "seconds",
        "format: Input should be 1",
        "do not rise",
        "Invalid JSON",
    )
    assert len(found.warnings) == len(reasons)
    for warning, reason in zip(found.warnings, reasons, strict=True):
        assert warning.startswith("left out: ")
        assert reason in warning


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "is damaged: record: Input should be an object"),
        ('{"format": 1', "Invalid JSON"),
        ('{"format": 2}', "format: Input should be 1"),
        ("[" * 100_000, "Invalid JSON"),
        (json.dumps(sweep_content(objective=[])), "objective"),
        (json.dumps(sweep_content(objective=["a", "b", "c"])), "objective"),
        (json.dumps(sweep_content(num_steps="3000")), "num_steps"),
        (json.dumps(sweep_content(num_steps=0)), "num_steps"),
        (json.dumps(sweep_content(status="odd")), "status"),
        (json.dumps(sweep_content(seconds=math.inf)), "seconds"),
    ],
)
def test_a_damaged_sweep_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "sweep.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as error:
        read_sweep(tmp_path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", [".", "missing", "sweep/trials/t000"])
def test_a_folder_that_is_no_sweep_is_one_line(tmp_path: Path, place: str) -> None:
    make_table1(tmp_path / "sweep")
    with pytest.raises(UserError, match=r"has no sweep.json; name the output folder of a sweep"):
        read_sweep(tmp_path / place)


def test_the_baseline_has_the_values_of_the_sweeps_configuration(tmp_path: Path) -> None:
    folder = make_asha(tmp_path / "sweep")
    expected = {
        "loss.lambda_con": 0.5,
        "loss.contrastive": "modified",
        "loss.gamma": 2.0,
        "optimizer.warmup_steps": 50,
        "train.global_batch_size": 32,
    }
    assert read_sweep(folder).sweep.baseline_params == expected
    (folder / "sweep.yaml").write_text("loss: {lambda_con: 0.5, contrastive: infonce}")
    assert read_sweep(folder).sweep.baseline_params == {LAMBDA: 0.5, "loss.contrastive": "infonce"}
    for content in ("!!python/object/apply:os.system [exit 1]", "[1, 2", "7"):
        (folder / "sweep.yaml").write_text(content)
        assert read_sweep(folder).sweep.baseline_params == {}


def test_the_report_writes_its_files(tmp_path: Path) -> None:
    folder = make_asha(tmp_path / "sweep")
    report = write_report(folder)
    assert {path.name for path in report.files} == {
        "sweep.md",
        "sweep.html",
        "report.json",
        "slice.png",
        "curves.png",
    }
    assert {path.parent for path in report.files} == {folder / "report"}
    assert all(path.stat().st_size for path in report.files)
    markdown = (folder / "report" / "sweep.md").read_text(encoding="utf-8")
    for text in (
        "# Sweep sweep",
        "objective: masked/mpjpe_mm (lower is better): mean per-joint position error",
        "swept: loss.gamma: {uniform: [0, 4]}",
        "2D source: synthetic",
        "commit: 0123456789ab; configuration c0ffee",
        "rungs at steps 250, 750, 2250",
        "diverged: loss is nan at step 600",
        "![curves.png](curves.png)",
    ):
        assert text in markdown
    content = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    assert len(content["configurations"]) == len(content["trials"]) == 17
    assert content["configurations"][0]["rank"] == 1
    assert content["files"] == [str(path) for path in report.files]


def test_a_picture_of_an_earlier_report_goes(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", [])
    (folder / "report").mkdir()
    (folder / "report" / "front.png").touch()
    (folder / "report" / "own.txt").touch()
    write_report(folder)
    assert {path.name for path in (folder / "report").iterdir()} == {
        "sweep.md",
        "sweep.html",
        "report.json",
        "own.txt",
    }


def test_a_report_goes_elsewhere_on_request(tmp_path: Path) -> None:
    folder = make_table1(tmp_path / "sweep")
    report = write_report(folder, tmp_path / "a" / "b")
    assert report.files[0] == tmp_path / "a" / "b" / "sweep.md"
    assert not (folder / "report").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is no folder; name another with --out"):
        write_report(folder, tmp_path / "file")


def test_text_of_others_cannot_forge_lines_links_or_cells(tmp_path: Path) -> None:
    evil = "a|b\n# x \x1b[31m ![p](http://h/i) <b> \u202e $x"
    space = {"loss.form": {"choice": [evil, "b"]}, "k$e|y\n": {"uniform": [0, 1]}}
    trials = [
        trial_content(
            0, {"loss.form": evil, "k$e|y\n": 0.5}, status="failed", reason=evil, values={250: 80.0}
        ),
        trial_content(1, {"loss.form": "b", "k$e|y\n": 0.5}, values={NUM_STEPS: 80.0}),
        trial_content(2, {"loss.form": evil, "k$e|y\n": 0.7}, values={NUM_STEPS: 81.0}),
    ]
    folder = write_sweep(
        tmp_path / "sweep",
        trials,
        space=space,
        reason=evil,
        tracking={"run_id": "r", "tracking_uri": "postgresql://user:hunter2@host/db"},
        environment={"devices": evil, "api_key": "hunter2"},
    )
    report = write_report(folder)
    texts = {"text": to_text(report), "json": json.dumps(report.to_dict())}
    texts["markdown"] = markdown = to_markdown(build_sections(report))
    texts["html"] = html = to_html(build_sections(report))
    for text in texts.values():
        assert "hunter2" not in text
        assert "\x1b" not in text
    assert "\u202e" not in texts["text"] + markdown + html
    assert not [line for line in markdown.splitlines() if line.startswith("# x")]
    assert "](http" not in markdown.replace("\\](", "")
    assert "<b>" not in markdown.replace("\\<b>", "")
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    widths = {line.replace("\\|", "").count("|") for line in markdown.splitlines() if line.startswith("| ")}
    assert len(widths) == 1


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    folder = make_asha(tmp_path / "sweep")
    write_report(folder)
    page = (folder / "report" / "sweep.html").read_text(encoding="utf-8")
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))
    sources = re.findall(r'src="([^"]*)"', page)
    pictures = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
    names = ("slice.png", "curves.png")
    assert pictures == [(folder / "report" / name).read_bytes() for name in names]
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "<td>baseline</td>" in page


def test_an_objective_that_the_table_lacks_is_an_error(tmp_path: Path) -> None:
    trials = [trial_content(0, {LAMBDA: 0.1}, values={NUM_STEPS: {"masked/pck_150": 80.0}})]
    with pytest.raises(UserError, match="unknown metric 'masked/pck_150'"):
        report_of(write_sweep(tmp_path / "sweep", trials, objective=["masked/pck_150"]))


def test_a_running_sweep_says_so(tmp_path: Path) -> None:
    trials = [
        trial_content(0, {LAMBDA: 0.1}, status="running", values={250: 90.0}),
        trial_content(1, {LAMBDA: 0.2}, status="running", values={}),
    ]
    text = to_text(report_of(write_sweep(tmp_path / "sweep", trials, status="running")))
    assert "the sweep still runs: everything below may change" in text
    assert "none: no configuration has reached the last step (3000)" in text


def test_long_tables_are_cut_on_a_terminal_only(tmp_path: Path) -> None:
    trials = [
        trial_content(n, {LAMBDA: 0.1 + n / 100}, values={NUM_STEPS: 70.0 + n / 10}, status="finished")
        for n in range(40)
    ]
    report = report_of(write_sweep(tmp_path / "sweep", trials))
    assert "and 10 more, in sweep.md" in to_text(report)
    lines = to_markdown(build_sections(report)).splitlines()
    assert sum(line.startswith("| ") for line in lines) == 45  # and the importance


def test_names_are_as_short_as_they_can_be() -> None:
    assert short_names(["loss.gamma", "optimizer.gamma", "loss.lambda_v", "seed"]) == {
        "loss.gamma": "loss.gamma",
        "optimizer.gamma": "optimizer.gamma",
        "loss.lambda_v": "lambda_v",
        "seed": "seed",
    }
    assert short_names(["a.b", "b"]) == {"a.b": "a.b", "b": "b"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (16, "16"),
        (1e-05, "1e-05"),
        (True, "true"),
        (None, "null"),
        ("x", "x"),
        ([1, 0.25], "[1, 0.25]"),
    ],
)
def test_values_are_rounded_for_people(value: object, text: str) -> None:
    assert say_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(123.456, "123.5"), (78.1234, "78.12"), (0.4321, "0.4321"), (0.0, "0.00"), (12345.0, "12345")],
)
def test_metrics_have_four_digits(value: float, text: str) -> None:
    assert say_number(value) == text
