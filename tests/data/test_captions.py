"""Captions beside the labels: in the manifest, in windows and in batches."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.batch import WindowBatch
from langpose_dist.data.captions import text_of
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.data.loader import TrainingStream, load_batches
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError, Sample, Span
from langpose_dist.data.sides import mirror_label
from langpose_dist.tasks.caption import CaptionTask
from langpose_dist.tasks.pretrain import PretrainTask
from tests.captions import build_captions, caption_config
from tests.corpus import build_samples, swing, tiny_config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    build_captions(folder)
    return folder


def corpus(root: Path, **changes: Any) -> Corpus:
    return CaptionTask.open(caption_config(root, **changes))


def batch_of(corpus: Corpus, epoch: int = 0) -> WindowBatch:
    batch = corpus.training_set[[(epoch, number) for number in range(len(corpus.training_set))]]
    assert isinstance(batch, WindowBatch)
    return batch


def test_captions_are_in_the_manifest_and_in_no_vocabulary(root: Path) -> None:
    manifest = Manifest.load(root)
    assert manifest.num_captions("train") == 28
    assert manifest.label_counts("train") == {}
    assert PretrainTask.open(tiny_config(root)).vocabulary.labels == ()
    assert manifest.group_counts("train", "mirrored") == {"no": 7, "yes": 7}
    first = manifest.shards[0].samples[0].captions[0]
    assert first == Span("a person waves.", 0, 20, words="a/DET person/NOUN wave/VERB")


def test_other_captions_give_another_fingerprint(root: Path) -> None:
    manifest = Manifest.load(root)
    shard, *others = manifest.shards
    entry = shard.samples[0]
    changed = entry.model_copy(update={"captions": (replace(entry.captions[0], label="a person runs"),)})
    samples = (changed, *shard.samples[1:])
    other = manifest.model_copy(update={"shards": (shard.model_copy(update={"samples": samples}), *others)})
    assert other.compute_fingerprint() != manifest.fingerprint


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a/DET person/NOUN walk/VERB", "a person walk"),
        ("Walk/VERB left/right/ADJ plain", "walk left/right plain"),
        ("", ""),
    ],
)
def test_words_lose_their_kinds(words: str, expected: str) -> None:
    caption = Span("a person walks!", 0, 9, words=words)
    assert text_of(caption, "words") == expected
    assert text_of(caption, "raw") == "a person walks!"


def test_a_window_is_a_motion_with_all_its_captions(root: Path) -> None:
    windows = corpus(root).training_set.windows
    assert [(window.key, window.start, window.stop) for window in windows[:2]] == [
        ("train00", 0, 20),
        ("train01", 0, 21),
    ]
    assert windows[0].captions == ("a person wave", "the person wave left hand")
    raw = corpus(root, caption={"text_form": "raw"}).training_set.windows
    assert raw[0].captions == ("a person waves.", "the person wave left hands")


def test_captions_with_times_of_their_own_describe_motions_of_their_own(tmp_path: Path) -> None:
    captions = (Span("all", 0, 30), Span("start", 0, 12), Span("everything", 0, 30), Span("end", 20, 30))
    build_samples(tmp_path, [Sample("clip", swing(None, 30), (), captions=captions)])
    windows = corpus(tmp_path, caption={"text_form": "raw"}).training_set.windows
    assert [(window.start, window.stop, window.captions) for window in windows] == [
        (0, 30, ("all", "everything")),
        (0, 12, ("start",)),
        (20, 30, ("end",)),
    ]


def test_nothing_is_cut_unless_a_key_says_so(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"4 of 14 motions of split 'train' are longer than window.num_frames=29 "
    ):
        _ = corpus(root, window={"num_frames": 29, "stride": 9}).training_set
    cropped = corpus(root, window={"num_frames": 29, "stride": 9}, caption={"too_long": "crop"})
    assert [window.stop for window in cropped.training_set.windows[-5:]] == [29] * 5
    assert list(cropped.captioned("train").notes()) == [
        "4 of 14 captioned motions of split 'train' are cut to their first frames: above window.num_frames=29"
    ]
    dropped = corpus(
        root,
        window={"num_frames": 29, "stride": 9},
        caption={"too_long": "drop", "min_frames": 22, "max_words": 4},
    )
    assert [window.stop for window in dropped.training_set.windows] == list(range(22, 30))
    # Waving with the right hand is said in five words twice, with the left hand once, each on both sides.
    assert list(dropped.captioned("train").notes()) == [
        "2 of 14 captioned motions of split 'train' are left out: below caption.min_frames=22",
        "4 of 14 captioned motions of split 'train' are left out: above window.num_frames=29",
        "6 of 16 captions of split 'train' lose their end in the loss: above caption.max_words=4",
    ]
    with pytest.raises(DataError, match=r"lower caption\.min_frames"):
        _ = corpus(root, caption={"min_frames": 99}).training_set


def test_words_of_a_caption_that_is_cut_are_counted_as_the_decoder_counts_them(tmp_path: Path) -> None:
    captions = (Span("walks counter-clockwise", 0, 30), Span("walks it's way", 0, 30))
    build_samples(tmp_path, [Sample("clip", swing(None, 30), (), captions=captions)])
    data = corpus(tmp_path, caption={"text_form": "raw", "max_words": 2})
    assert list(data.captioned("train").notes()) == [
        "2 of 2 captions of split 'train' lose their end in the loss: above caption.max_words=2"
    ]
    data = corpus(tmp_path, caption={"text_form": "raw", "max_words": 3})
    assert list(data.captioned("train").notes()) == []


def test_captions_without_words_are_counted(tmp_path: Path) -> None:
    captions = (Span("walks", 0, 30, words="walk/VERB"), Span("runs", 0, 30))
    build_samples(tmp_path, [Sample("clip", swing(None, 30), (), captions=captions)])
    data = corpus(tmp_path)
    assert [window.captions for window in data.training_set.windows] == [("walk",)]
    assert list(data.captioned("train").notes()) == [
        "1 captions of split 'train' are empty with caption.text_form=words and are left out"
    ]


def test_data_without_processed_words_are_told_of_the_other_form(tmp_path: Path) -> None:
    build_samples(tmp_path, [Sample("clip", swing(None, 30), (), captions=(Span("runs", 0, 30),))])
    with pytest.raises(DataError, match=r"set caption\.text_form=raw"):
        _ = corpus(tmp_path).training_set


def test_pretraining_says_how_captions_become_labels(root: Path) -> None:
    config = tiny_config(root)
    (problem,) = PretrainTask.problems(config, PretrainTask.open(config))
    assert "it has 0; set loss.contrastive=none (captions are no labels, unless the build has " in problem


def test_one_caption_is_drawn_per_window_and_epoch(root: Path) -> None:
    data = corpus(root)
    draws = [batch_of(data, epoch).drawn_captions for epoch in range(40)]
    assert draws[3] == batch_of(data, 3).drawn_captions
    counts = Counter(value for draw in draws for value in draw)
    assert counts.keys() == {0, 1}
    assert abs(counts[0] - counts[1]) < 4 * (40 * 14) ** 0.5  # twice two standard deviations of a fair coin


def test_every_seed_is_evaluated_on_the_same_captions(root: Path) -> None:
    drawn = []
    for seed in (0, 1):
        data = CaptionTask.open(caption_config(root).model_copy(update={"seed": seed}))
        windows = data.windows("train", stride=40)
        evaluated = data.dataset(windows, Augmentation.evaluation("clean"))
        batch = evaluated[[(EVALUATION_EPOCH, number) for number in range(len(windows))]]
        assert isinstance(batch, WindowBatch)
        drawn.append((batch.drawn_captions, batch_of(data).drawn_captions))
    assert drawn[0][0] == drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_a_mirrored_motion_says_the_other_side(root: Path) -> None:
    data = corpus(root, data={"flip_probability": 1.0})
    batch = batch_of(data)
    assert batch.flip.all()
    for window, captions in zip(data.training_set.windows, batch.captions, strict=True):
        assert captions == tuple(mirror_label(caption) for caption in window.captions)
    assert ("someone wave the left hand", "the person wave left hand") in batch.captions


def test_a_motion_whose_caption_cannot_be_mirrored_stays(tmp_path: Path) -> None:
    captions = (Span("walks", 0, 30), Span("moves to port side", 0, 30))
    build_samples(tmp_path, [Sample("clip", swing(None, 30), (), captions=captions)])
    batch = batch_of(corpus(tmp_path, caption={"text_form": "raw"}, data={"flip_probability": 1.0}))
    assert not batch.flip.any()
    assert batch.captions == (("walks", "moves to port side"),)


def test_workers_and_batch_composition_do_not_change_a_caption(root: Path) -> None:
    data = corpus(root, data={"flip_probability": 0.5}).training_set

    def batches(micro: int, workers: int) -> list[WindowBatch]:
        stream = TrainingStream(
            len(data), seed=3, position=5, global_batch_size=12, micro_batch_size=micro, rank=0, world_size=1
        )
        return list(islice(load_batches(data, stream, num_workers=workers), 24 // micro))

    small, large = batches(2, 0), batches(6, 2)
    for name in ("captions", "drawn_captions"):
        found = [sum((getattr(batch, name) for batch in part), ()) for part in (small, large)]
        assert len(found[0]) == 24
        assert found[0] == found[1]
