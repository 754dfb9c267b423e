"""The inexact stream: every window comes, mixed, from files that are read once from front to end."""

from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest

from langpose_dist.batch import WindowBatch
from langpose_dist.data.loader import load_batches
from langpose_dist.data.manifest import DataError
from langpose_dist.data.streaming import StreamingWindows
from tests.corpus import open_corpus


def windows(root: Path, *, seed: int = 0, position: int = 0, rank: int = 0) -> StreamingWindows:
    return StreamingWindows(
        open_corpus(root).training_set,
        seed=seed,
        position=position,
        micro_batch_size=4,
        shuffle_buffer=8,
        rank=rank,
        world_size=2,
    )


def numbers(stream: StreamingWindows, count: int, workers: int = 0) -> list[int]:
    batches = islice(load_batches(stream, None, num_workers=workers), count)
    return [int(number) for batch in batches for number in batch.positions]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_window_comes_and_in_mixed_order(tmp_path: Path, workers: int) -> None:
    stream = windows(tmp_path)
    seen = numbers(stream, 100, workers)
    assert set(seen) == set(range(len(stream.dataset)))
    assert Counter(seen).most_common()[-1][1] >= 2
    assert any(later < earlier for earlier, later in pairwise(seen))


def test_seed_position_and_rank_draw_differently_and_each_the_same_again(tmp_path: Path) -> None:
    first = numbers(windows(tmp_path), 20)
    assert numbers(windows(tmp_path), 20) == first
    for other in ({"seed": 1}, {"position": 80}, {"rank": 1}):
        assert numbers(windows(tmp_path, **other), 20) != first


def test_a_window_is_the_one_of_random_access(tmp_path: Path) -> None:
    stream = windows(tmp_path)
    batch = next(iter(load_batches(stream, None, num_workers=0)))
    for row, number in enumerate(batch.positions.tolist()):
        exact = stream.dataset[[(0, number)]]
        assert isinstance(exact, WindowBatch)
        assert batch.poses_3d[row].equal(exact.poses_3d[0])
        assert batch.frame_mask[row].equal(exact.frame_mask[0])
        assert batch.keys[row] == exact.keys[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_one_clear_line(tmp_path: Path, workers: int) -> None:
    stream = windows(tmp_path)
    for shard in tmp_path.glob("train-*.tar"):
        shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DataError, match="train-00000") as caught:
        numbers(stream, 5, workers)
    assert "\n" not in str(caught.value)
