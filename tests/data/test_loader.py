"""The exact stream: nothing lost, nothing repeated, whatever reads it."""

import multiprocessing
from collections import Counter
from dataclasses import fields
from itertools import islice
from pathlib import Path

import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.data.dataset import WindowDataset
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.data.loader import (
    TrainingStream,
    evaluation_requests,
    load_batches,
    permutation,
    stream_request,
)
from langpose_dist.data.manifest import DataError
from langpose_dist.data.sample import Sample, Span
from tests.corpus import build_corpus, build_samples, open_corpus, swing


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> WindowDataset:
    return open_corpus(tmp_path_factory.mktemp("corpus")).training_set


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> WindowDataset:
    folder = tmp_path_factory.mktemp("stored")
    build_corpus(folder, is_recorded=True)
    return open_corpus(folder, data={"observation": "stored"}).training_set


def stream(
    num_windows: int, position: int = 0, global_size: int = 24, micro: int = 2, rank: int = 0, ranks: int = 1
):
    return TrainingStream(
        num_windows,
        seed=3,
        position=position,
        global_batch_size=global_size,
        micro_batch_size=micro,
        rank=rank,
        world_size=ranks,
    )


def take_windows(num_windows: int, count: int, **options: int) -> list[tuple[int, int]]:
    """The first requests of all ranks, put together in the order of the stream."""
    ranks, micro = options.get("ranks", 1), options.get("micro", 2)
    per_rank = [
        [
            request
            for batch in islice(stream(num_windows, rank=rank, **options), count // (ranks * micro))
            for request in batch
        ]
        for rank in range(ranks)
    ]
    return [request for turn in zip(*per_rank, strict=True) for request in turn]


def test_the_stream_is_the_permutation_of_each_epoch() -> None:
    windows = take_windows(10, 36)
    expected = [(epoch, int(index)) for epoch in range(4) for index in permutation(3, epoch, 10)][:36]
    assert windows == expected
    assert windows[:10] != windows[10:20]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_ranks_and_micro_batches_share_the_same_stream(ranks: int, micro: int) -> None:
    assert take_windows(10, 120, ranks=ranks, micro=micro) == take_windows(10, 120)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("position", [5, 10, 47, 120])
def test_a_jump_to_any_position_continues_the_stream(ranks: int, position: int) -> None:
    whole = [stream_request(3, place, 10) for place in range(position + 24)]
    assert take_windows(10, 24, ranks=ranks, position=position) == whole[position:]


def test_a_global_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="global_batch_size=24 must be a multiple of micro_batch_size=5"):
        stream(10, micro=5)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_window_comes_once_per_epoch_through_the_loader(
    dataset: WindowDataset, ranks: int, workers: int
) -> None:
    num_windows, epochs = len(dataset), 2
    seen: Counter[tuple[int, str]] = Counter()
    for rank in range(ranks):
        # global batches of the size of an epoch: an epoch's windows are exactly one step's
        batches = load_batches(
            dataset,
            stream(num_windows, global_size=num_windows * ranks, micro=num_windows, rank=rank, ranks=ranks),
            num_workers=workers,
        )
        for batch in islice(batches, epochs):
            seen.update((int(number), key) for number, key in zip(batch.positions, batch.keys, strict=True))
    assert seen == {(number, dataset.key(number)): epochs * ranks for number in range(num_windows)}


@pytest.mark.parametrize("observation", ["camera", "stored"])
def test_workers_and_batch_composition_do_not_change_a_window(
    dataset: WindowDataset, stored: WindowDataset, observation: str
) -> None:
    data = dataset if observation == "camera" else stored
    # The same stretch of the stream as 6 x 2 in this process and as 2 x 6 in two workers.
    small = list(islice(load_batches(data, stream(len(data), micro=2), num_workers=0), 6))
    large = list(islice(load_batches(data, stream(len(data), micro=6), num_workers=2), 2))
    for field in fields(WindowBatch):
        if field.name in ("keys", "captions", "drawn_captions"):
            joined = [sum((getattr(batch, field.name) for batch in part), ()) for part in (small, large)]
            assert joined[0] == joined[1]
        elif field.name == "lens" or (field.name in ("keypoints_2d", "rotation") and observation == "camera"):
            assert all(getattr(batch, field.name) is None for batch in small + large)
        else:
            joined = [torch.cat([getattr(batch, field.name) for batch in part]) for part in (small, large)]
            assert joined[0].equal(joined[1]), field.name


def test_epochs_draw_anew_and_the_same_epoch_draws_the_same(dataset: WindowDataset) -> None:
    first, again, other = (dataset[[(epoch, 4)]] for epoch in (0, 0, 1))
    assert isinstance(first, WindowBatch)
    assert isinstance(again, WindowBatch)
    assert isinstance(other, WindowBatch)
    assert first.camera.equal(again.camera)
    assert first.noise_jitter.equal(again.noise_jitter)
    assert not first.camera.equal(other.camera)
    assert first.poses_3d.equal(other.poses_3d)


def test_runs_with_other_seeds_are_evaluated_alike_and_trained_differently(dataset: WindowDataset) -> None:
    other = WindowDataset(
        dataset.windows,
        dataset.reader,
        dataset.vocabulary,
        dataset.config.model_copy(update={"seed": 1}),
        dataset.augmentation,
    )
    for epoch, alike in ((EVALUATION_EPOCH, True), (0, False)):
        mine, theirs = dataset[[(epoch, 2)]], other[[(epoch, 2)]]
        assert isinstance(mine, WindowBatch)
        assert isinstance(theirs, WindowBatch)
        assert mine.camera.equal(theirs.camera) is alike
        assert mine.noise_jitter.equal(theirs.noise_jitter) is alike


def test_a_short_clip_repeats_its_last_frame_and_masks_it(dataset: WindowDataset) -> None:
    number, window = next(
        (number, window) for number, window in enumerate(dataset.windows) if window.stop - window.start < 9
    )
    batch = dataset[[(0, number)]]
    assert isinstance(batch, WindowBatch)
    valid = window.stop - window.start
    assert batch.frame_mask[0].tolist() == [True] * valid + [False] * (9 - valid)
    assert (batch.poses_3d[0, valid:] == batch.poses_3d[0, valid - 1]).all()
    assert not batch.span_mask[0, valid:].any()


def test_a_mirrored_window_has_the_mirrored_label(dataset: WindowDataset) -> None:
    labels = dataset.vocabulary.labels
    number = next(n for n, w in enumerate(dataset.windows) if w.spans and "right" in w.spans[0].label)
    batch = dataset[[(epoch, number) for epoch in range(12)]]
    assert isinstance(batch, WindowBatch)
    assert 0 < batch.flip.sum() < 12
    for flip, candidates in zip(batch.flip, batch.label_candidates, strict=True):
        assert labels[candidates[0]] == ("wave left hand" if flip else "wave right hand")
        assert candidates[0] not in candidates[1:]
        assert len(set(candidates.tolist())) == len(labels)  # fewer than 17 labels: all of them


def test_a_window_without_a_label_has_no_candidates(dataset: WindowDataset) -> None:
    number = next(n for n, w in enumerate(dataset.windows) if not w.spans)
    batch = dataset[[(0, number)]]
    assert isinstance(batch, WindowBatch)
    assert (batch.label_candidates == -1).all()
    assert not batch.span_mask.any()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_one_clear_line(tmp_path: Path, workers: int) -> None:
    dataset = open_corpus(tmp_path).training_set
    shard = tmp_path / "train-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train-000000\.tar") as caught:
        list(islice(load_batches(dataset, stream(len(dataset)), num_workers=workers), 6))
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()  # gone by now, not when the garbage is collected


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_evaluation_sees_every_window_once_in_equal_batches(ranks: int, batch_size: int) -> None:
    per_rank = [evaluation_requests(13, batch_size, rank, ranks) for rank in range(ranks)]
    numbers = [number for batches in per_rank for batch in batches for _, number in batch]
    assert sorted(number for number in numbers if number >= 0) == list(range(13))
    assert len({len(batches) for batches in per_rank}) == 1
    assert {len(batch) for batches in per_rank for batch in batches} == {batch_size}


def test_labels_of_the_same_frames_are_never_negatives(tmp_path: Path) -> None:
    frames = 9
    poses = swing(None, frames)
    spans = (Span("walk", 0, 9), Span("a stroll", 0, 9), Span("turn", 3, 9), Span("sit", 0, 3))
    labels = ["jump", "sit", "run"]
    samples = [Sample("both", poses, spans, {})]
    samples += [Sample(label, poses, (Span(label, 0, frames),), {}) for label in labels]
    build_samples(tmp_path, samples)
    dataset = open_corpus(tmp_path, data={"flip_probability": 0}).training_set
    names = dataset.vocabulary.labels
    number = next(n for n, window in enumerate(dataset.windows) if window.key == "train-both")
    batch = dataset[[(epoch, number) for epoch in range(30)]]
    assert isinstance(batch, WindowBatch)
    true = {
        "walk": {"walk", "a stroll", "turn", "sit"},
        "a stroll": {"walk", "a stroll", "turn", "sit"},
        "turn": {"walk", "a stroll", "turn"},
        "sit": {"walk", "a stroll", "sit"},
    }
    seen = set()
    for candidates, beside in zip(batch.label_candidates.tolist(), batch.labels_beside.tolist(), strict=True):
        own, negatives = names[candidates[0]], {names[i] for i in candidates[1:] if i >= 0}
        assert {own, *(names[i] for i in beside if i >= 0)} == true[own]
        assert negatives == set(names) - true[own]  # fewer than 16: all that are left
        seen.add(own)
    assert seen == set(true)


def test_a_window_whose_label_cannot_be_mirrored_is_shown_as_it_is(tmp_path: Path) -> None:
    poses = swing("left_wrist", 9)
    labels = ["nach links", "wave left hand"]
    build_samples(
        tmp_path, [Sample(label.replace(" ", "_"), poses, (Span(label, 0, 9),), {}) for label in labels]
    )
    dataset = open_corpus(tmp_path, data={"flip_probability": 1}).training_set
    batch = dataset[[(0, number) for number in range(2)]]
    assert isinstance(batch, WindowBatch)
    shown = [dataset.vocabulary.labels[i] for i in batch.label_candidates[:, 0]]
    assert dict(zip(shown, batch.flip.tolist(), strict=True)) == {
        "nach links": False,
        "wave right hand": True,
    }
