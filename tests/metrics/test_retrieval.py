import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from langpose_dist.metrics.retrieval import (
    chance_recall,
    dissimilar,
    label_ranks,
    ranks,
    recall_in_batches,
    similarity_recall,
)


def unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def test_ranks_by_hand() -> None:
    text = torch.eye(3)
    motion = unit(torch.tensor([[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [0, 0, 1]]))
    assert label_ranks(motion, text, torch.tensor([[0], [1], [2], [2]])).tolist() == [1, 2, 3, 1]


def test_constant_features_find_nothing() -> None:
    text = unit(torch.ones(7, 384))
    ranks = label_ranks(unit(torch.ones(10, 384)), text, torch.arange(10)[:, None] % 7)
    assert ranks.tolist() == [7] * 10
    assert (ranks > 1).all()


def test_features_that_are_not_finite_get_the_last_rank() -> None:
    motion = torch.full((2, 4), torch.nan)
    assert label_ranks(motion, torch.eye(4), torch.tensor([[0], [3]])).tolist() == [4, 4]


def test_a_twin_of_the_right_label_counts_against_the_motion() -> None:
    text = torch.eye(3)[[0, 0, 1]]
    assert label_ranks(torch.eye(3)[:1], text, torch.tensor([[0]])).tolist() == [2]


@pytest.mark.parametrize("label_id", [-1, 3])
def test_a_label_outside_the_vocabulary_is_an_error(label_id: int) -> None:
    with pytest.raises(ValueError, match=f"label id {label_id} is not in 0..2"):
        label_ranks(torch.eye(3), torch.eye(3), torch.tensor([[0], [label_id], [1]]))


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 2**31), num_labels=st.integers(1, 30))
def test_ranks_equal_sorting_one_by_one_in_numpy(seed: int, num_labels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    motion = unit(torch.randn(8, 5, generator=generator))
    text = unit(torch.randn(num_labels, 5, generator=generator))
    labels = torch.randint(num_labels, (8,), generator=generator)
    expected = []
    for feature, label in zip(motion.numpy().astype(float), labels.tolist(), strict=True):
        order = np.argsort([-float(feature @ row) for row in text.numpy().astype(float)])
        expected.append(order.tolist().index(label) + 1)
    assert label_ranks(motion, text, labels[:, None]).tolist() == expected


def test_ranks_do_not_depend_on_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    motion = unit(torch.randn(9, 16, generator=generator))
    text = unit(torch.randn(20, 16, generator=generator))
    labels = torch.arange(9)[:, None]
    parts = [label_ranks(motion[i : i + 4], text, labels[i : i + 4]) for i in range(0, 9, 4)]
    assert torch.cat(parts).equal(label_ranks(motion, text, labels))


def test_any_true_label_is_a_hit_and_none_is_a_miss() -> None:
    text = torch.eye(4)
    motion = unit(torch.tensor([[4.0, 3, 2, 1]]))
    ranks = [
        label_ranks(motion, text, torch.tensor([true])).item()
        for true in ([1, -1], [1, 0], [3, -1], [3, 2], [3, 1], [2, 2], [2, 1, 0])
    ]
    assert ranks == [2, 1, 4, 3, 2, 3, 1]


def test_chance_is_the_share_of_hits_over_every_possible_order() -> None:
    orders = list(itertools.permutations(range(5)))
    for num_true in (1, 2, 4):
        for k in (1, 3, 7):
            hits = sum(min(order[:num_true]) < k for order in orders)
            found = chance_recall(5, k, torch.tensor([num_true]))
            assert found.item() == pytest.approx(hits / len(orders))


def test_recall_in_batches_counts_the_texts_of_the_batch_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    motion, text = (unit(torch.randn(80, 6, generator=generator)) for _ in range(2))
    found = recall_in_batches(motion, text, size=32)
    hits, seen = np.zeros((80, 3)), np.zeros(80)
    for seed in range(20):
        order = torch.randperm(80, generator=torch.Generator().manual_seed(seed)).tolist()
        for start in (0, 32):
            batch = order[start : start + 32]
            for place in batch:
                nearest = sorted(batch, key=lambda other: -float(motion[place] @ text[other]))
                hits[place] += [place in nearest[:k] for k in (1, 2, 3)]
                seen[place] += 1
    np.testing.assert_allclose(found.numpy(), hits / seen[:, None], atol=1e-6)


def test_recall_in_batches_of_one_text_for_all_is_0_and_of_perfect_features_1() -> None:
    assert recall_in_batches(torch.eye(40), torch.ones(40, 40) / 40**0.5).max() == 0
    assert recall_in_batches(torch.eye(40), torch.eye(40)).min() == 1


def test_recall_by_distance_is_that_of_a_ranking_by_hand() -> None:
    # Captions a, b, c of motions 1, 2, 3: 1 ranks b, a, c; 2 ranks b first; 3 has a tie of b and its own c.
    distances = torch.tensor([[2.0, 1, 3], [5, 4, 6], [9, 7, 7]]).double()
    found = similarity_recall(-distances, size=3, top=3)
    assert found.tolist() == [[0, 1, 1], [1, 1, 1], [0, 1, 1]]


def test_recall_of_features_without_meaning_is_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    motion, text = (unit(torch.randn(640, 16, generator=generator)) for _ in range(2))
    means = recall_in_batches(motion, text).mean(dim=0)
    assert means.tolist() == pytest.approx([1 / 32, 2 / 32, 3 / 32], abs=0.02)


def test_too_few_motions_fill_no_batch() -> None:
    with pytest.raises(ValueError, match="31 motions do not fill one batch of 32"):
        recall_in_batches(torch.eye(31), torch.eye(31))


@pytest.mark.parametrize("seed", range(3))
def test_ranks_of_any_true_columns_equal_sorting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity, is_true = rng.normal(size=(20, 12)), rng.random((20, 12)) < 0.3
    is_true[:, 5] = True
    expected = []
    for row, true in zip(similarity, is_true, strict=True):
        order = list(np.argsort(-row))
        first = min(order.index(number) for number in np.flatnonzero(true))
        expected.append(1 + first)  # only columns that are not true can come before the best true one
    assert ranks(torch.from_numpy(similarity), torch.from_numpy(is_true)).tolist() == expected


def test_the_dissimilar_subset_takes_one_of_each_group() -> None:
    groups = torch.tensor([0, 0, 0, 1, 1, 2])
    points = torch.eye(3)[groups] + 0.01 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    similarity = unit(points) @ unit(points).T
    chosen = dissimilar(similarity, 3)
    assert sorted(groups[chosen].tolist()) == [0, 1, 2]
    assert sorted(dissimilar(similarity, 100).tolist()) == list(range(6))
