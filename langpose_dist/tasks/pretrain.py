"""Pretraining: rebuild 3D from masked, noisy 2D, and agree with the action label in words."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.config import RunConfig
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.labels import Vocabulary
from langpose_dist.losses.contrastive import candidate_logits, info_nce, modified_info_nce
from langpose_dist.losses.pose import position_loss, velocity_loss
from langpose_dist.metrics.retrieval import chance_recall, label_ranks
from langpose_dist.metrics.table import metric_of
from langpose_dist.models.langpose import LangPose, LangPoseOutput
from langpose_dist.models.lifting import lift_windows
from langpose_dist.models.text import TextBackbone, TextEncoder, load_text_encoder
from langpose_dist.models.tokens import load_tokenizer
from langpose_dist.models.weights import initial_header
from langpose_dist.tasks.labels import LabelTable, describe_labels, examples
from langpose_dist.tasks.poses import (
    PROTOCOL,
    PoseTask,
    measure_person,
    pose_columns,
    read_person,
)
from langpose_dist.tasks.task import (
    Column,
    Columns,
    Picture,
    Scores,
    autocast,
    rate_problems,
)

_PROTOCOL = {
    **PROTOCOL,
    "chance": "a uniform guess among all labels; most_frequent_r_at_1: always training's most frequent label",
}
_OFFLINE_TEXT_DIM = 384
_ENCODED_AT_ONCE = 4096
"""Labels that are encoded together, so that memory does not grow with the vocabulary."""
_MISSING = -1e4
"""Logit of a candidate that is missing: weight 0 in every softmax, without infinities in a gradient."""


class PretrainTask(PoseTask):
    """LangPose with its position, velocity and contrastive losses.

    Args:
        labels: Features of ``vocabulary``'s labels, which ``label_candidates`` count in.
        vocabulary: Labels and how often training shows each.
        model, config, fps: As ``PoseTask``.
    """

    metrics = (
        *("loss_3d", "loss_v", "loss_con", "loss"),
        *("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_s"),
        *("any_r_at_1", "any_r_at_3", "r_at_1", "r_at_3", "median_rank"),
    )
    key_metric = "mpjpe_mm"
    protocol = _PROTOCOL

    model: LangPose  # pyright: ignore[reportIncompatibleVariableOverride]
    token_ids: Tensor
    token_mask: Tensor
    sentence_features: Tensor
    token_features: Tensor | None

    def __init__(
        self, model: LangPose, labels: LabelTable, vocabulary: Vocabulary, config: RunConfig, fps: float
    ) -> None:
        super().__init__(model, config, fps)
        self.vocabulary = vocabulary
        # Buffers follow the module to its device; they belong to the data, so no checkpoint holds them.
        for field in fields(LabelTable):
            self.register_buffer(field.name, getattr(labels, field.name), persistent=False)

    @classmethod
    def open(cls, config: RunConfig) -> Corpus:
        """The data, with labels that the text encoder cannot tell apart as one candidate."""
        return Corpus.open(config, load_tokenizer(config.text).keys if config.loss.is_contrastive else None)

    @classmethod
    def unmeasured(cls, config: RunConfig, corpus: Corpus) -> dict[str, str]:
        """Terms of weight 0, and retrieval without labels."""
        found: dict[str, str] = {}
        for name in ("loss_3d", "loss_v", "loss_con"):
            if getattr(config.loss, name.replace("loss", "lambda")) == 0:
                found[name] = f"loss.{name.replace('loss', 'lambda')}=0"
        retrieval = [name for name in cls.metrics if metric_of(name).kind == "retrieval"]
        split = config.data.validation_split
        if config.loss.contrastive == "none":
            found |= dict.fromkeys([*retrieval, "loss_con"], "loss.contrastive=none")
        elif config.loss.lambda_con == 0:
            found |= dict.fromkeys(retrieval, "loss.lambda_con=0")
        else:
            windows = corpus.windows(split, stride=config.window.num_frames)
            if not any(window.spans for window in windows[: config.evaluation.max_windows]):
                reason = f"no window of split {split!r} has a label"
                found |= dict.fromkeys([*retrieval, "loss_con"], reason)
        return found

    @classmethod
    def problems(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """Initial weights of another frame rate, and too few labels for the contrastive term."""
        initial = config.model.initial_weights
        yield from rate_problems(initial_header(initial), corpus, source=f"model.initial_weights={initial}")
        if not config.loss.is_contrastive:
            return
        split = config.data.train_split
        if corpus.training_set.num_negatives == 0:
            labels = list(corpus.vocabulary.candidates)
            reasons = "; ".join(describe_labels(labels, load_tokenizer(config.text), config.text))
            if corpus.manifest.num_captions(split):
                reasons = "captions are no labels, unless the build has --captions-as-labels"
            yield (
                f"the contrastive loss needs two labels or more in split {split!r}, it has "
                f"{sum(count > 0 for count in corpus.vocabulary.counts)}; set loss.contrastive=none"
                + (f" ({reasons})" if reasons else "")
            )
        elif not any(window.spans for window in corpus.training_set.windows):
            yield (
                "no training window has a label for as long as window.min_span_frames="
                f"{config.window.min_span_frames}; lower it or set loss.contrastive=none"
            )

    @classmethod
    def notes(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """Lengths in seconds, labels as the text encoder sees them, and fewer labels than negatives."""
        yield describe_lengths(config, corpus.manifest.fps)
        if not config.loss.is_contrastive:
            return
        vocabulary = corpus.vocabulary
        if held_out := sorted(corpus.held_out):
            yield (
                f"data.held_out_categories={list(config.data.held_out_categories)} keeps {len(held_out)} of "
                f"the data's labels from training: {examples(held_out)}"
            )
        yield from describe_labels(list(vocabulary.candidates), load_tokenizer(config.text), config.text)
        if unmirrored := vocabulary.unmirrored:
            yield (
                f"{len(unmirrored)} of {len(vocabulary.candidates)} labels name a side in words that cannot "
                f"be exchanged, so their windows are not mirrored: {examples(unmirrored)}"
            )
        num_negatives = corpus.training_set.num_negatives
        if num_negatives < config.loss.num_negatives:
            yield (
                f"only {num_negatives} other labels: each window is compared with all of them, not "
                f"loss.num_negatives={config.loss.num_negatives}"
            )

    @classmethod
    def build(cls, config: RunConfig, corpus: Corpus) -> Self:
        """A fresh task with seeded weights, on the CPU.

        Raises:
            UserError: If the text encoder or the initial weights cannot be loaded.
        """
        encoder = load_text_encoder(config.text)
        labels = _label_table(encoder, config, corpus)
        torch.manual_seed(config.seed)
        model = LangPose.build(config, encoder.dim, None if config.text.frozen else encoder.backbone)
        model.limb_total = measure_person(config, corpus)
        return cls(model, labels, corpus.vocabulary, config, corpus.manifest.fps)

    @classmethod
    def wrap(cls, model: nn.Module, config: RunConfig, corpus: Corpus) -> Self:
        """The task around a trained ``LangPose``."""
        assert isinstance(model, LangPose)
        labels = _label_table(load_text_encoder(config.text), config, corpus)
        return cls(model, labels, corpus.vocabulary, config, corpus.manifest.fps)

    @classmethod
    def rebuild(cls, config: RunConfig, header: Mapping[str, str]) -> LangPose:
        """A ``LangPose`` of the exported shapes, still without memory for its weights."""
        architecture = header.get("text_architecture")
        text_encoder = TextBackbone.from_architecture(architecture) if architecture else None
        with torch.device("meta"):
            model = LangPose(config, int(header.get("text_dim", _OFFLINE_TEXT_DIM)), text_encoder)
        model.limb_total = read_person(header)
        return model

    def header(self) -> dict[str, str]:
        """Width and architecture of the text encoder, and the size of a person."""
        return {**super().header(), **self.model.header()}

    @property
    def weights(self) -> dict[str, float]:
        """Term -> weight; a term of weight 0 is not computed."""
        loss = self.config.loss
        weights = {"loss_3d": loss.lambda_3d, "loss_v": loss.lambda_v}
        if self.is_contrastive:
            weights["loss_con"] = loss.lambda_con
        return {name: weight for name, weight in weights.items() if weight > 0}

    @property
    def is_contrastive(self) -> bool:
        """Motions are compared with labels, of which there are some."""
        return self.config.loss.is_contrastive and len(self.vocabulary) > 0

    def forward(self, windows: WindowBatch) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window; a window without a label has 0 of the contrastive term."""
        batch, output = self.lift(windows)
        return self.loss_terms(batch, output)

    def counted(self, windows: WindowBatch) -> dict[str, Bool[Tensor, "B"]]:
        """Only windows with a label and another to compare it with have a contrastive term."""
        return {"loss_con": _is_compared(windows.label_candidates)} if self.is_contrastive else {}

    def lift(self, windows: WindowBatch) -> tuple[MotionBatch, LangPoseOutput]:
        """Observe windows and run the model on what was seen."""
        batch = self.observe(windows)
        with autocast(self.autocast, batch.keypoints_2d.device):
            output = self.model(batch.keypoints_2d, batch.span_mask, with_features=self.is_contrastive)
        return batch, output

    def loss_terms(self, batch: MotionBatch, output: LangPoseOutput) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window of a prediction."""
        terms: dict[str, Tensor] = {}
        if "loss_3d" in self.weights:
            terms["loss_3d"] = position_loss(output.poses_3d, batch.poses_3d, batch.frame_mask)
        if "loss_v" in self.weights:
            terms["loss_v"] = velocity_loss(output.poses_3d, batch.poses_3d, batch.frame_mask)
        if "loss_con" in self.weights:
            assert output.motion_features is not None
            terms["loss_con"] = self._contrastive(output.motion_features, batch.label_candidates)
        return terms

    def scorer(self) -> Callable[[WindowBatch], Scores]:
        """Pose errors, losses and the rank of each label among all, whose features are computed once."""
        return partial(self._score, self.text_features().double() if self.is_contrastive else None)

    def baselines(self, windows: WindowBatch, mean_target: Tensor | None) -> dict[str, Columns]:
        """The mean training pose as every answer, and guessed labels."""
        found = super().baselines(windows, mean_target)
        return found | {"chance": self._chance(windows)} if self.is_contrastive else found

    def facts(self, counts: Mapping[str, int]) -> dict[str, Any]:
        """Space, numbers of labelled windows, of labels, and of labels that count as another's."""
        return {
            **super().facts(counts),
            "num_labelled_windows": counts.get("r_at_1", 0),
            "num_labels": len(self.vocabulary),
            "num_joined_labels": len(self.vocabulary.candidates) - len(self.vocabulary),
        }

    def text_features(self, ids: Int[Tensor, "N"] | None = None) -> Float[Tensor, "N D"]:
        """Unit-length features of some labels of the vocabulary, or of all."""
        if ids is None and len(self.token_mask) > _ENCODED_AT_ONCE:
            everything = torch.arange(len(self.token_mask), device=self.token_mask.device)
            return torch.cat([self.text_features(part) for part in everything.split(_ENCODED_AT_ONCE)])
        rows = slice(None) if ids is None else ids
        with autocast(self.autocast, self.token_mask.device):
            if self.token_features is None:
                return self.model.encode_tokens(self.token_ids[rows], self.token_mask[rows])
            return self.model.encode_text(self.token_features[rows], self.token_mask[rows])

    def _score(self, text_features: Float[Tensor, "V D"] | None, windows: WindowBatch) -> Scores:
        batch, output = self.lift(windows)
        columns = {
            name: Column(values, _is_compared(batch.label_candidates) if name == "loss_con" else None)
            for name, values in self.loss_terms(batch, output).items()
        }
        poses = output.poses_3d
        if self.config.evaluation.flip_averaging:
            with autocast(self.autocast, poses.device):
                poses = lift_windows(self.model, batch.keypoints_2d, flip_averaging=True)
        columns |= pose_columns(poses, batch, self.fps)
        if text_features is not None and output.motion_features is not None:
            own = batch.label_candidates[:, :1]
            true = torch.cat((own.clamp(min=0), windows.labels_beside), dim=1)
            any_ranks = label_ranks(output.motion_features, text_features, true)
            ranks = label_ranks(output.motion_features, text_features, true[:, :1])
            found = {"median_rank": ranks}
            for k in (1, 3):
                found |= {f"any_r_at_{k}": any_ranks <= k, f"r_at_{k}": ranks <= k}
            columns |= {name: Column(values.float(), own[:, 0] >= 0) for name, values in found.items()}
        return Scores(columns, partial(self._picture, windows, batch, poses))

    def _picture(self, windows: WindowBatch, batch: MotionBatch, predicted: Tensor, row: int) -> Picture:
        label = int(batch.label_candidates[row, 0])
        name = self.vocabulary.labels[label] if label >= 0 else None
        return self.picture(windows, batch, predicted, name, row)

    def _chance(self, windows: WindowBatch) -> dict[str, Column]:
        """A uniform guess among all labels, and training's most frequent label."""
        counts, num_labels = self.vocabulary.counts, len(self.vocabulary)
        own = windows.label_candidates[:, 0]
        one, all_true = torch.ones_like(own), _count_true(windows)
        guesses = {
            "median_rank": torch.full(own.shape, (num_labels + 1) / 2, dtype=torch.float64),
            "most_frequent_r_at_1": (own == counts.index(max(counts))).double(),
        }
        for k in (1, 3):
            guesses[f"any_r_at_{k}"] = chance_recall(num_labels, k, all_true)
            guesses[f"r_at_{k}"] = chance_recall(num_labels, k, one)
        return {name: Column(values, own >= 0) for name, values in guesses.items()}

    def _contrastive(
        self, motion_features: Float[Tensor, "B D"], label_candidates: Int[Tensor, "B C"]
    ) -> Float[Tensor, "B"]:
        loss = self.config.loss
        candidates, is_missing = label_candidates.clamp(min=0), label_candidates < 0
        # Of a small vocabulary every label is encoded once; of a large one only those in the batch.
        if len(self.token_mask) <= candidates.numel():
            text_features = self.text_features()[candidates]
        else:
            text_features = self.text_features(candidates.flatten()).unflatten(0, candidates.shape)
        logits = candidate_logits(motion_features, text_features, loss.temperature)
        logits = logits.masked_fill(is_missing, _MISSING)
        if loss.contrastive == "infonce":
            values = info_nce(logits)
        else:
            sentences = self.sentence_features[candidates]
            target_logits = candidate_logits(sentences[:, 0], sentences, loss.target_temperature)
            target_logits = target_logits.masked_fill(is_missing, _MISSING)
            values = modified_info_nce(logits, target_logits, gamma=loss.gamma, beta=loss.beta)
        return torch.where(_is_compared(label_candidates), values, 0.0)


def _label_table(encoder: TextEncoder, config: RunConfig, corpus: Corpus) -> LabelTable:
    """Features of the labels; of none where motions are not compared with them."""
    labels = corpus.vocabulary.labels if config.loss.is_contrastive else ()
    output = Path(config.output)
    cache = output.parent / "text_features" if output.is_dir() else None
    return LabelTable.compute(encoder, labels, frozen=config.text.frozen, cache=cache)


def _is_compared(label_candidates: Int[Tensor, "B C"]) -> Bool[Tensor, "B"]:
    """Windows with a label and one negative or more."""
    return (label_candidates >= 0).sum(dim=1) > 1


def _count_true(windows: WindowBatch) -> Int[Tensor, "B"]:
    """Number of different labels that are true of the drawn label's frames, itself included."""
    labels = torch.cat((windows.label_candidates[:, :1], windows.labels_beside), dim=1).sort(dim=1).values
    is_new = torch.ones_like(labels, dtype=torch.bool)
    is_new[:, 1:] = labels[:, 1:] != labels[:, :-1]
    return (is_new & (labels >= 0)).sum(dim=1)


def describe_lengths(config: RunConfig, fps: float) -> str:
    """Masking and noise, which are configured in frames, in seconds of the data."""
    low, high = config.masking.time_window_frames
    spacing = (config.window.num_frames - 1) / (config.noise.num_keyframes - 1) / fps
    return (
        f"at {fps:g} frames per second masking.time_window_frames={low, high} hides {low / fps:.2g} to "
        f"{high / fps:.2g} s (the paper's 30 to 80 frames at 30: 1 to 2.7 s), and slow 2D noise changes "
        f"every {spacing:.2g} s (the defaults: 0.31 s)"
    )
