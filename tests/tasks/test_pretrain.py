from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, build_config
from langpose_dist.data.labels import Vocabulary
from langpose_dist.datasets.build import build_shards
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import weights_header, write_weights
from langpose_dist.tasks.labels import LabelTable
from langpose_dist.tasks.pretrain import PretrainTask, describe_lengths
from langpose_dist.tasks.task import total_loss
from tests.corpus import MadeClip, open_corpus

TEXT_DIM = 6


def label_table(num_labels: int) -> LabelTable:
    """Made-up text features: what matters here is what the task does with them."""
    generator = torch.Generator().manual_seed(9)
    return LabelTable(
        token_ids=torch.zeros(num_labels, 4, dtype=torch.int64),
        token_mask=torch.ones(num_labels, 4, dtype=torch.bool),
        sentence_features=torch.nn.functional.normalize(
            torch.randn(num_labels, TEXT_DIM, generator=generator), dim=-1
        ),
        token_features=torch.randn(num_labels, 4, TEXT_DIM, generator=generator),
    )


def build(config: RunConfig, num_labels: int) -> PretrainTask:
    torch.manual_seed(0)
    vocabulary = Vocabulary.build({f"label {number}": 1 for number in range(num_labels)}, (), 0.0)
    return PretrainTask(
        LangPose.build(config, TEXT_DIM), label_table(num_labels), vocabulary, config, 30.0
    ).eval()


def setting(root: Path, numbers: list[int], **changes: Any) -> tuple[PretrainTask, WindowBatch]:
    corpus = open_corpus(root, **changes)
    batch = corpus.training_set[[(0, number) for number in numbers]]
    assert isinstance(batch, WindowBatch)
    return build(corpus.config, len(corpus.vocabulary)), batch


def loss_of(task: PretrainTask, batch: WindowBatch) -> torch.Tensor:
    return total_loss(task(batch), task.weights, {})


def gradient(task: PretrainTask, batches: list[WindowBatch]) -> list[torch.Tensor]:
    """Gradient of the mean loss, accumulated over equal micro batches."""
    task.zero_grad()
    for batch in batches:
        (loss_of(task, batch).mean() / len(batches)).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in task.parameters()]


@pytest.mark.parametrize("contrastive", ["none", "infonce", "modified"])
def test_loss_and_gradient_do_not_depend_on_how_a_batch_is_split(tmp_path: Path, contrastive: str) -> None:
    numbers = list(range(12))
    task, whole = setting(tmp_path, numbers, loss={"contrastive": contrastive})
    parts = [setting(tmp_path, numbers[start : start + 3])[1] for start in range(0, 12, 3)]
    split = torch.cat([loss_of(task, part) for part in parts])
    torch.testing.assert_close(split, loss_of(task, whole))
    for joined, accumulated in zip(gradient(task, [whole]), gradient(task, parts), strict=True):
        torch.testing.assert_close(accumulated, joined, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_weighted_sum_of_its_terms(tmp_path: Path) -> None:
    weights = {"lambda_con": 0.25, "lambda_3d": 2.0, "lambda_v": 3.0}
    task, batch = setting(tmp_path, [0, 1, 2], loss=weights)
    terms = task(batch)
    expected = 0.25 * terms["loss_con"] + 2 * terms["loss_3d"] + 3 * terms["loss_v"]
    torch.testing.assert_close(total_loss(terms, task.weights, {}), expected)


def test_a_term_of_weight_0_is_not_computed(tmp_path: Path) -> None:
    task, batch = setting(tmp_path, [0, 1], loss={"lambda_con": 0.0, "lambda_v": 0.0})
    assert set(task(batch)) == {"loss_3d"}
    assert task.lift(batch)[1].motion_features is None


def test_a_window_without_a_label_adds_nothing_to_the_contrastive_term(tmp_path: Path) -> None:
    corpus = open_corpus(tmp_path)
    number = next(n for n, w in enumerate(corpus.training_set.windows) if not w.spans)
    task, batch = setting(tmp_path, [0, number])
    terms = task(batch)["loss_con"]
    assert terms[0] > 0
    assert terms[1] == 0
    assert all(torch.isfinite(part).all() for part in gradient(task, [batch]))


def test_a_large_vocabulary_gives_the_same_loss_as_a_small_one(tmp_path: Path) -> None:
    # With more labels than the batch has candidates only those in the batch are encoded.
    task, batch = setting(tmp_path, [0, 1, 2])
    many = build(task.config, 500)
    few = build(task.config, len(task.token_mask))
    for name in ("token_features", "token_mask", "sentence_features"):
        setattr(few, name, getattr(many, name)[: len(task.token_mask)])
    assert batch.label_candidates.numel() >= len(few.token_mask)
    assert batch.label_candidates.numel() < len(many.token_mask)
    torch.testing.assert_close(many(batch)["loss_con"], few(batch)["loss_con"])


def test_a_text_encoder_that_is_trained_along_gets_a_gradient(tmp_path: Path) -> None:
    class Lookup(torch.nn.Module):
        """Stands where the text encoder's backbone does."""

        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(3, TEXT_DIM)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.table(ids) * mask[..., None]

    frozen, batch = setting(tmp_path, [0, 1])
    labels = label_table(len(frozen.token_mask))
    backbone = Lookup()
    model = LangPose.build(frozen.config, TEXT_DIM)
    model.text_encoder = backbone  # pyright: ignore[reportAttributeAccessIssue]
    table = LabelTable(labels.token_ids, labels.token_mask, labels.sentence_features, None)
    loss_of(PretrainTask(model, table, frozen.vocabulary, frozen.config, 30.0), batch).mean().backward()
    assert backbone.table.weight.grad is not None
    assert (backbone.table.weight.grad[0] != 0).any()


def test_bfloat16_stays_close_to_float32(tmp_path: Path) -> None:
    task, batch = setting(tmp_path, list(range(8)))
    exact = loss_of(task, batch)
    task.autocast = torch.bfloat16
    torch.testing.assert_close(loss_of(task, batch), exact, rtol=0.05, atol=0.05)
    assert loss_of(task, batch).dtype == torch.float32


def test_weights_of_another_frame_rate_are_a_problem(tmp_path: Path) -> None:
    corpus = open_corpus(tmp_path / "shards")
    file = tmp_path / "model.safetensors"
    write_weights(file, {"x": torch.zeros(1)}, weights_header({}, corpus.config, {"fps": "10.0"}))
    model = corpus.config.model.model_copy(update={"initial_weights": str(file)})
    config = corpus.config.model_copy(update={"model": model})
    (problem,) = PretrainTask.problems(config, corpus)
    assert "was trained at 10.0 frames per second" in problem
    assert "has 30" in problem
    assert list(PretrainTask.problems(corpus.config, corpus)) == []


def test_lengths_in_frames_are_told_in_seconds(tmp_path: Path) -> None:
    config = open_corpus(tmp_path).config
    config = build_config(
        {
            **config.to_dict(),
            "masking": {"time_window_frames": (30, 80)},
            "noise": {"num_keyframes": 27},
            "window": {"num_frames": 243},
        }
    )
    assert "hides 3 to 8 s" in describe_lengths(config, 10.0)
    assert "every 0.93 s" in describe_lengths(config, 10.0)
    assert "hides 1 to 2.7 s" in describe_lengths(config, 30.0)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_contrastive_term_is_a_mean_over_labelled_windows(tmp_path: Path, parts: int) -> None:
    numbers = list(range(12))
    task, whole = setting(tmp_path, numbers)
    has_label = whole.label_candidates[:, 0] >= 0
    assert 0 < has_label.sum() < 12
    values = task(whole)["loss_con"][has_label]
    size = 12 // parts
    batches = [setting(tmp_path, numbers[start : start + size])[1] for start in range(0, 12, size)]
    shares = {"loss_con": 12 / sum(int(task.counted(batch)["loss_con"].sum()) for batch in batches)}
    weights = {"loss_con": 1.0}
    means = [total_loss(task(batch), weights, shares).mean() for batch in batches]
    torch.testing.assert_close(torch.stack(means).mean(), values.mean())


@pytest.mark.parametrize("contrastive", ["infonce", "modified"])
def test_a_missing_negative_weighs_nothing(tmp_path: Path, contrastive: str) -> None:
    task, batch = setting(tmp_path, [0, 1, 2, 3], loss={"contrastive": contrastive})
    terms = task(batch)["loss_con"]
    candidates = torch.cat((batch.label_candidates, torch.full((4, 2), -1)), dim=1)
    more = replace(batch, label_candidates=candidates)
    torch.testing.assert_close(task(more)["loss_con"], terms)
    expected, found = gradient(task, [batch]), gradient(task, [more])
    for one, other in zip(found, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("contrastive", ["infonce", "modified"])
def test_a_label_with_nothing_to_compare_it_with_has_no_term(tmp_path: Path, contrastive: str) -> None:
    task, batch = setting(tmp_path, [0, 1, 2, 3], loss={"contrastive": contrastive})
    candidates = batch.label_candidates.clone()
    candidates[:, 1:] = -1
    alone = replace(batch, label_candidates=candidates)
    assert task(alone)["loss_con"].tolist() == [0] * 4
    assert not task.counted(alone)["loss_con"].any()
    assert all(values.isfinite().all() for values in gradient(task, [alone]))


def test_a_contrastive_model_is_evaluated_on_data_without_labels(tmp_path: Path) -> None:
    clips = [
        (split, MadeClip(f"{split}{n}", None, 12)) for split in ("train", "validation") for n in range(2)
    ]
    build_shards(clips, tmp_path, dataset="x", source="x", fps=30.0, options={}, shard_size=4)
    corpus = open_corpus(tmp_path)
    batch = corpus.training_set[[(0, 0), (0, 1)]]
    assert isinstance(batch, WindowBatch)
    task = build(corpus.config, 0)
    scores = task.scorer()(batch)
    assert "mpjpe_mm" in scores.columns
    assert "r_at_1" not in scores.columns
    assert "chance" not in task.baselines(batch, None)
