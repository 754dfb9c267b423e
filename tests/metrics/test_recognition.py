from itertools import permutations
from typing import Any

import numpy as np
import pytest

from langpose_dist.metrics.recognition import (
    TOP,
    ceiling_hits,
    chance_hits,
    group_mean,
    recognition_tables,
    top_hits,
)

IS_TRUE = np.array(
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0]], bool
)  # the last class has no chunk
CLIPS = np.array([0, 0, 1, 2, 2])


def values_of(hits, is_true=IS_TRUE, clips=CLIPS) -> dict[str, float]:
    tables = recognition_tables({k: hits(k) for k in TOP}, is_true, clips)
    return {name: float(group_mean(*(part.sum(axis=0) for part in table))) for name, table in tables.items()}


def plain(orders: list[list[int]], is_true: np.ndarray) -> dict[str, float]:
    """The same from the order in which each chunk's classes come, one sample after the other."""
    found: dict[str, Any] = {}
    for k in TOP:
        samples, by_class, any_by_class, chunks = [], {}, {}, []
        for order, row in zip(orders, is_true, strict=True):
            true = [number for number, value in enumerate(row) if value]
            chunks.append(any(number in order[:k] for number in true))
            for number in true:
                samples.append(number in order[:k])
                by_class.setdefault(number, []).append(samples[-1])
                any_by_class.setdefault(number, []).append(chunks[-1])
        found[f"top_{k}"], found[f"any_top_{k}"] = np.mean(samples), np.mean(chunks)
        if k == 1:
            found["top_1_norm"] = np.mean([np.mean(some) for some in by_class.values()])
            found["any_top_1_norm"] = np.mean([np.mean(some) for some in any_by_class.values()])
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_equals_counting_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    is_true = rng.random((30, 9)) < 0.2
    is_true[np.arange(30), rng.integers(9, size=30)] = True
    scores = rng.normal(size=(30, 9))
    orders = [list(np.argsort(-row)) for row in scores]
    clips = np.arange(30) // 3
    found = values_of(lambda k: top_hits(scores, is_true, k), is_true, clips)
    assert found == pytest.approx(plain(orders, is_true))


def test_equal_scores_hit_nothing() -> None:
    found = values_of(lambda k: top_hits(np.zeros((5, 4)), IS_TRUE, k))
    assert (found["top_1"], found["any_top_1"], found["top_1_norm"]) == (0, 0, 0)


def test_chance_is_the_mean_over_all_orders() -> None:
    # Each chunk's order is uniform by itself, so one order for all chunks has the same mean.
    every = [plain([list(order)] * 5, IS_TRUE) for order in permutations(range(4))]
    mean = {name: np.mean([one[name] for one in every]) for name in every[0]}
    assert values_of(lambda k: chance_hits(IS_TRUE, k)) == pytest.approx(mean)


def test_the_ceiling_is_the_best_of_all_answers() -> None:
    found = values_of(lambda k: ceiling_hits(IS_TRUE, k))
    # Of five chunks with seven classes one each can come first: 5 of 7.
    assert found["top_1"] == pytest.approx(5 / 7)
    assert (found["top_5"], found["any_top_1"], found["any_top_1_norm"]) == (1, 1, 1)
    best = 0.0
    for second in (0, 1):
        for fourth in (0, 2):
            tops = [0, second, 2, fourth, 1]
            orders = [[top, *({0, 1, 2, 3} - {top})] for top in tops]
            best = max(best, plain(orders, IS_TRUE)["top_1_norm"])
    assert found["top_1_norm"] == pytest.approx(best)


def test_some_chunks_alone() -> None:
    rng = np.random.default_rng(0)
    scores, chosen = rng.normal(size=(5, 4)), np.array([True, False, True, True, False])
    part = top_hits(scores, IS_TRUE, 1).of_chunks(IS_TRUE, chosen)
    alone = top_hits(scores[chosen], IS_TRUE[chosen], 1)
    np.testing.assert_array_equal(part.of_class, alone.of_class)
    np.testing.assert_array_equal(part.of_any, alone.of_any)


def test_a_draw_of_clips_counts_each_as_often_as_it_is_drawn() -> None:
    scores = np.random.default_rng(1).normal(size=(5, 4))
    draw = np.array([[2, 0, 1]])
    rows = [0, 1, 0, 1, 3, 4]
    tables = recognition_tables({k: top_hits(scores, IS_TRUE, k) for k in TOP}, IS_TRUE, CLIPS)
    orders = [list(np.argsort(-scores[row])) for row in rows]
    expected = plain(orders, IS_TRUE[rows])
    for name, (hits, counts) in tables.items():
        assert group_mean(draw @ hits, draw @ counts)[0] == pytest.approx(expected[name])


def test_a_group_without_a_count_is_left_out() -> None:
    assert group_mean(np.array([1.0, 0.0]), np.array([2.0, 0.0])) == 0.5
    assert np.isnan(group_mean(np.zeros(2), np.zeros(2)))
