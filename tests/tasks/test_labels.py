"""Labels as the text encoder sees them, and their features on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from langpose_dist.config import TextConfig
from langpose_dist.models.text import TextEncoder, load_text_encoder
from langpose_dist.models.tokens import load_tokenizer
from langpose_dist.tasks import labels as module
from langpose_dist.tasks.labels import LabelTable, describe_labels

LABELS = ["walk", "walk slowly forward", "dance", "dance left", "walk left"]


@pytest.fixture
def encoder(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> TextEncoder:
    monkeypatch.setattr(module, "CACHED_FROM", 3)
    return load_text_encoder(TextConfig(encoder=str(tiny_folder), max_tokens=6))


def same(first: LabelTable, second: LabelTable) -> bool:
    assert first.token_features is not None
    assert second.token_features is not None
    return (
        first.token_ids.equal(second.token_ids)
        and first.sentence_features.equal(second.sentence_features)
        and first.token_features.equal(second.token_features)
    )


def test_features_are_those_of_the_encoder_with_and_without_a_cache(
    encoder: TextEncoder, tmp_path: Path
) -> None:
    table = LabelTable.compute(encoder, LABELS, frozen=True)
    assert table.token_features is not None
    torch.testing.assert_close(table.token_features, encoder.token_features(LABELS))
    torch.testing.assert_close(table.sentence_features, encoder.sentence_features(LABELS))
    assert same(table, LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path))
    assert LabelTable.compute(encoder, LABELS, frozen=False, cache=tmp_path).token_features is None


def count_passes(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    passes: list[int] = []
    forward: Callable[..., torch.Tensor] = encoder.backbone.forward

    def counted(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        passes.append(len(ids))
        return forward(ids, mask)

    monkeypatch.setattr(encoder.backbone, "forward", counted)
    return passes


def test_a_second_start_reads_what_the_first_computed(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = count_passes(encoder, monkeypatch)
    first = LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path)
    assert sum(passes) == len(LABELS)
    assert same(first, LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path))
    assert sum(passes) == len(LABELS)
    LabelTable.compute(encoder, ["walk", *LABELS[2:]], frozen=True, cache=tmp_path)
    assert sum(passes) == 2 * len(LABELS) - 1  # other labels, other features
    with torch.no_grad():
        next(encoder.backbone.parameters()).add_(1)
    LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path)
    assert sum(passes) == 3 * len(LABELS) - 1  # other weights, other features


def test_a_cache_that_was_cut_off_is_computed_again(encoder: TextEncoder, tmp_path: Path) -> None:
    first = LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path)
    (last,) = tmp_path.glob("*/sentences.npy")
    last.unlink()
    assert same(first, LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path))
    assert last.exists()


def test_cut_equal_and_unknown_labels_are_counted_with_examples(tiny_folder: Path) -> None:
    config = TextConfig(encoder=str(tiny_folder), max_tokens=5)
    labels = ["walk", "walk slowly forward left", "walk slowly forward dance", "hop", "skip"]
    cut, equal, unknown = describe_labels(labels, load_tokenizer(config), config)
    assert cut.startswith(
        "2 of 5 labels are longer than text.max_tokens=5 and are cut: 'walk slowly forward left'"
    )
    assert "4 of 5 labels cannot be told apart" in equal
    assert "count as 2: 'walk slowly forward left' = 'walk slowly forward dance'; 'hop' = 'skip'" in equal
    assert unknown.startswith("2 of 5 labels hold no word that text.encoder=")
    assert list(describe_labels(["walk", "dance"], load_tokenizer(config), config)) == []


def test_features_stay_in_memory_where_the_cache_cannot_be_written(
    encoder: TextEncoder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    table = LabelTable.compute(encoder, LABELS, frozen=True, cache=tmp_path / "file")
    assert same(table, LabelTable.compute(encoder, LABELS, frozen=True))
    assert "text features are not kept in" in capfd.readouterr().err
