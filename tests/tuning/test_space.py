import math
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import TPESampler

from langpose_dist.config import ConfigError, RunConfig, build_config, with_values
from langpose_dist.config.core_yaml import read_yaml
from tuning.space import DEFAULT_SPACE, read_space


def test_the_default_space_is_around_the_papers_weights() -> None:
    config = RunConfig()
    for key in ("lambda_con", "lambda_3d", "lambda_v"):
        low, high = DEFAULT_SPACE[f"loss.{key}"]["log_uniform"]
        assert math.isclose(math.sqrt(low * high), getattr(config.loss, key))
    assert DEFAULT_SPACE["loss.temperature"] == {"log_uniform": [0.02, 0.5]}


ranges = st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)).filter(lambda pair: pair[0] < pair[1])
entries = st.fixed_dictionaries(
    {},
    optional={
        "loss.lambda_con": ranges.map(lambda pair: {"uniform": list(pair)}),
        "loss.temperature": ranges.map(lambda pair: {"log_uniform": list(pair)}),
        "loss.num_negatives": st.integers(1, 50).map(lambda low: {"integer": [low, low + 3]}),
        "loss.beta": st.lists(st.floats(0, 9), min_size=1, unique=True).map(lambda v: {"choice": v}),
        "loss.contrastive": st.just({"choice": ["none", "infonce"]}),
    },
).filter(bool)


@settings(deadline=None, max_examples=60)
@given(content=entries, seed=st.integers(0, 2**32 - 1))
def test_every_drawn_point_lies_within_its_bounds_and_is_a_configuration(
    content: dict[str, Any], seed: int
) -> None:
    points = read_space(content).points("random", 5, seed)
    assert points == read_space(content).points("random", 5, seed)
    assert points
    for point in points:
        assert set(point) == set(content)
        for key, value in point.items():
            ((kind, arguments),) = content[key].items()
            if kind == "choice":
                assert value in arguments
            else:
                assert arguments[0] <= value <= arguments[1]
                assert type(value) is (int if kind == "integer" else float)
        build_config(with_values({}, point))


def test_draws_depend_on_seed_sample_and_key_alone() -> None:
    alone = read_space({"loss.temperature": {"log_uniform": [0.02, 0.5]}})
    among = read_space({**DEFAULT_SPACE, "loss.gamma": {"choice": [0.0, 2.0]}})
    draws = [point["loss.temperature"] for point in alone.points("random", 8, 7)]
    assert len(set(draws)) == 8
    assert draws == [point["loss.temperature"] for point in among.points("random", 8, 7)]
    assert draws[:3] == [point["loss.temperature"] for point in alone.points("random", 3, 7)]
    assert not set(draws) & {point["loss.temperature"] for point in alone.points("random", 8, 8)}


def test_a_log_uniform_value_is_uniform_in_its_logarithm_and_an_integer_reaches_both_ends() -> None:
    content = {
        "loss.temperature": {"log_uniform": [0.001, 10.0]},
        "loss.lambda_con": {"uniform": [1.0, 3.0]},
        "loss.num_negatives": {"integer": [1, 3]},
    }
    points = read_space(content).points("random", 4000, 0)
    logs = np.log10([point["loss.temperature"] for point in points])
    assert np.quantile(logs, [0.25, 0.5, 0.75]) == pytest.approx([-2, -1, 0], abs=0.1)
    plain = np.array([point["loss.lambda_con"] for point in points])
    assert np.quantile(plain, [0.25, 0.5, 0.75]) == pytest.approx([1.5, 2.0, 2.5], abs=0.05)
    counts = Counter(point["loss.num_negatives"] for point in points)
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > 1200
    assert abs(np.corrcoef(logs, plain)[0, 1]) < 0.05


def test_a_grid_is_every_combination_in_its_order() -> None:
    content = {
        "loss.gamma": {"choice": [0.0, 2.0]},
        "loss.contrastive": {"choice": ["none", "infonce", "modified"]},
    }
    points = read_space(content).points("grid", 1, 0)
    assert [tuple(point.values()) for point in points] == [
        (0.0, "none"),
        (0.0, "infonce"),
        (0.0, "modified"),
        (2.0, "none"),
        (2.0, "infonce"),
        (2.0, "modified"),
    ]


def test_points_of_a_finite_space_differ() -> None:
    content = {
        "loss.contrastive": {"choice": ["none", "modified"]},
        "loss.num_negatives": {"integer": [1, 3]},
    }
    assert len(read_space(content).points("random", 100, 0)) == 6


def test_the_space_is_written_as_it_is_read() -> None:
    content = {
        "loss.gamma": {"uniform": [0.0, 4.0]},
        "optimizer.betas": {"choice": [[0.9, 0.99], [0.8, 0.9]]},
    }
    found = read_space(content)
    assert found.to_dict() == content
    assert list(found.to_dict()) == list(content)
    assert read_space(found.to_dict()) == found


@pytest.mark.filterwarnings("ignore:Argument ``:optuna.exceptions.ExperimentalWarning")
def test_optuna_suggests_from_the_space() -> None:
    content = {**DEFAULT_SPACE, "loss.contrastive": {"choice": ["none", "infonce", "modified"]}}
    content["loss.num_negatives"] = {"integer": [1, 4]}
    searched = read_space(content)

    def ask(seed: int) -> list[dict[str, Any]]:
        sampler = TPESampler(multivariate=True, seed=seed)
        study = optuna.create_study(sampler=sampler)
        points = []
        for number in range(50):
            trial = study.ask()
            points.append(searched.suggest(trial))
            study.tell(trial, (number * 7 % 50) / 50)
        return points

    points = ask(0)
    assert points == ask(0)
    assert points != ask(1)
    for point in points:
        build_config(with_values({}, point))
        for key, value in point.items():
            kind, arguments = next(iter(content[key].items()))
            inside = value in arguments if kind == "choice" else arguments[0] <= value <= arguments[1]
            assert inside


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "sweep.space=None must name at least one key"),
        ({}, "sweep.space={} must name at least one key"),
        ({"loss.beta": 3}, "loss.beta=3 must be a kind with its values"),
        ({"loss.beta": {}}, "loss.beta must have one kind, such as {log_uniform: [0.05, 5.0]}, not none"),
        ({"loss.beta": {"when": {"loss.gamma": 1}}}, "unknown kind 'when'"),
        (
            {"loss.beta": {"choice": [1], "uniform": [2, 3]}},
            "loss.beta must have one kind, such as {log_uniform: [0.05, 5.0]}, not choice and uniform",
        ),
        (
            {"loss.beta": {"unifrom": [0, 1]}},
            "unknown kind 'unifrom', it can be choice, uniform, log_uniform",
        ),
        ({"loss.beta": {"unifrom": [0, 1]}}, "did you mean 'uniform'?"),
        ({"loss.beta": {"uniform": 3}}, "loss.beta: uniform=3 must be a list"),
        ({"loss.beta": {"uniform": [1]}}, "uniform=[1.0]: give two numbers, the lowest and the highest"),
        ({"loss.beta": {"uniform": [2, 2]}}, "uniform=[2.0, 2.0]: give two numbers, the lowest and the"),
        ({"loss.beta": {"uniform": [0, math.inf]}}, "loss.beta=inf: input should be a finite number"),
        ({"loss.beta": {"uniform": ["low", 1]}}, "loss.beta='low': input should be a valid number"),
        ({"loss.beta": {"integer": [0, 1]}}, "loss.beta: integer=[0.0, 1.0]: not whole numbers: use uniform"),
        ({"loss.beta": {"log_uniform": [0, 1]}}, "log_uniform=[0.0, 1.0]: the lowest must be above 0"),
        ({"loss.beta": {"choice": []}}, "loss.beta: choice=[]: name at least one value"),
        ({"loss.beta": {"choice": [1, 2, 1]}}, "loss.beta: choice=[1.0, 2.0, 1.0]: 1.0 stands there twice"),
    ],
)
def test_a_mistake_is_one_line_that_names_key_and_value(content: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_space(content)
    assert message in str(error.value)
    assert str(error.value).startswith("sweep.space")
    assert "\n" not in str(error.value)


def test_numbers_are_read_in_every_usual_form() -> None:
    found = read_space({"optimizer.learning_rate": {"log_uniform": read_yaml("[1e-5, 1E-2]")}}).to_dict()
    assert found == {"optimizer.learning_rate": {"log_uniform": [1e-5, 1e-2]}}
