"""Categories that training does not see in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.data.labels import held_out_labels
from langpose_dist.data.sample import Sample, Span
from tests.corpus import LIMBS, build_samples, open_corpus, swing

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "wave left hand": ("wave", "gesture"),
    "wave right hand": ("wave",),
    "kick": ("kick",),
    "stand": (),
}
NUM_EPOCHS = 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four actions one after the other in every clip, the first of them under a second label."""
    folder = tmp_path_factory.mktemp("corpus")
    spans = [Span(name, 9 * n, 9 * n + 9, CATEGORIES[name]) for n, name in enumerate(LIMBS)]
    spans.append(Span("stand", 0, 5))
    samples = [Sample(f"clip{number}", swing("left_wrist", 36), tuple(spans)) for number in range(3)]
    build_samples(folder, samples)
    return folder


def labels_in_training(corpus: Corpus) -> set[str]:
    """All that the batches of some epochs name, as true, as true beside it, or as a negative."""
    dataset = corpus.training_set
    requests = [(epoch, number) for epoch in range(NUM_EPOCHS) for number in range(len(dataset))]
    batch: Any = dataset[requests]
    ids = {*batch.label_candidates.flatten().tolist(), *batch.labels_beside.flatten().tolist()} - {-1}
    return {corpus.vocabulary.labels[number] for number in ids}


@pytest.mark.parametrize(
    ("names", "unseen"),
    [
        (["gesture"], {"wave left hand", "wave right hand"}),  # mirrored, the right one would be the left one
        (["Wave"], {"wave left hand", "wave right hand"}),
        (["stand"], {"stand"}),  # a label of no category
        (["kick", "stand"], {"kick", "stand"}),
    ],
)
def test_a_held_out_label_reaches_no_training_batch(root: Path, names: list[str], unseen: set[str]) -> None:
    everything = open_corpus(root)
    assert labels_in_training(everything) == set(LIMBS)
    corpus = open_corpus(root, data={"held_out_categories": names})
    assert corpus.held_out == unseen
    assert labels_in_training(corpus) == set(LIMBS) - unseen
    counts = dict(zip(corpus.vocabulary.labels, corpus.vocabulary.counts, strict=True))
    assert {label for label, count in counts.items() if count == 0} == unseen


def test_its_windows_stay_and_validation_keeps_its_labels(root: Path) -> None:
    everything, corpus = open_corpus(root), open_corpus(root, data={"held_out_categories": ["kick"]})
    places = [[(w.key, w.start, w.stop) for w in one.training_set.windows] for one in (everything, corpus)]
    assert places[0] == places[1]
    windows = corpus.windows("validation", stride=9)
    assert {span.label for window in windows for span in window.spans} == set(LIMBS)
    dataset = corpus.dataset(windows, corpus.training_set.augmentation)
    batch: Any = dataset[[(EVALUATION_EPOCH, number) for number in range(len(windows))]]
    kick = corpus.vocabulary.id("kick")
    assert (batch.label_candidates[:, 0] == kick).any()
    assert not (batch.label_candidates[:, 1:] == kick).any()


def test_a_name_that_the_data_do_not_have_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="'gestur' is no label or category of the data; did you mean 'gest"):
        open_corpus(root, data={"held_out_categories": ["gestur"]})


def test_the_names_belong_to_the_run_and_leave_old_hashes_alone() -> None:
    config = load_config(None, ["data.held_out_categories=[wave, kick]"])
    assert config.data.held_out_categories == ("wave", "kick")
    assert config.hash() != RunConfig().hash()
    assert load_config(None, ["data.held_out_categories=[]"]).hash() == RunConfig().hash()


def test_what_the_text_encoder_takes_for_a_held_out_label_is_left_out_too() -> None:
    labels = [("knock left", ()), ("knock right", ()), ("kick", ("kick",)), ("stand", ())]

    def tokens(some: Sequence[str]) -> list[str]:  # of an encoder that cannot tell knock left from kick
        return ["kick" if label == "knock left" else label for label in some]

    assert held_out_labels(labels, ["kick"]) == {"kick"}
    assert held_out_labels(labels, ["kick"], tokens) == {"kick", "knock left", "knock right"}
