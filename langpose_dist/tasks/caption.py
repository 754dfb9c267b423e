"""Captioning: describe motions in words, with the pretrained encoder under TM2T's decoder."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig
from langpose_dist.data.corpus import Corpus
from langpose_dist.geometry import observe
from langpose_dist.losses.caption import caption_loss
from langpose_dist.models.captioner import Captioner
from langpose_dist.models.weights import initial_header
from langpose_dist.models.words import PAD, UNKNOWN, WordTokenizer
from langpose_dist.skeleton import H36M17
from langpose_dist.tasks.task import Caption, Column, Interface, Scores, Task, autocast

_INTERFACE = Interface(
    inputs=(-1, -1, H36M17.num_joints, 3),
    outputs=(-1,),
    description=(
        "LangPose captioner. Input: float32 (clips, frames, 17, 3), skeleton h36m17, at the rate of its "
        "training data. With caption.input=joints_3d: joints in camera axes (x right, y down, z forward), "
        "pelvis at 0, metres. With caption.input=projected_2d: x, y in half image widths from the image's "
        "centre (y down) and confidence. Output: text (clips,), a caption of each."
    ),
    kind="motion captioning",
    gives_text=True,
)
_WITH_POOLING = ("pretrain", "caption")
"""Tasks whose models have the pose pooling."""


class CaptionTask(Task):
    """The captioner with the cross-entropy of captions.

    Args:
        model: The model to train.
        config: Input, camera and decoding.
    """

    metrics = ("loss_caption", "loss", "nats_per_word")
    key_metric = "nats_per_word"
    protocol = {  # noqa: RUF012
        "condition": "input: clean is exact, noisy has detector noise, masked also training's masks",
        "windows": "each captioned motion of the split, as caption.min_frames and caption.too_long say; one "
        "camera drawn for each",
    }
    interface = _INTERFACE

    model: Captioner  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, model: Captioner, config: RunConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    @classmethod
    def open(cls, config: RunConfig) -> Corpus:
        """The data, with captions instead of labels."""
        return Corpus.open(config, has_labels=False, has_captions=True)

    @classmethod
    def problems(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """A test split that would choose the checkpoint, and options that contradict."""
        if config.data.validation_split == "test":
            yield (
                "data.validation_split=test would choose the checkpoint; evaluate the test split afterwards: "
                "langpose evaluate MODEL data.validation_split=test"
            )
        if config.train.zero_stage == 3:
            yield "task=caption does not go with train.zero_stage=3: ranks generate apart; use 0, 1 or 2"
        is_exact = not (config.noise.enabled or config.masking.enabled)
        if config.caption.input == "joints_3d" and (
            config.evaluation.conditions != ("clean",) or not is_exact
        ):
            yield (
                "noise and masks are of 2D input: with caption.input=joints_3d set noise.enabled=false, "
                "masking.enabled=false and evaluation.conditions=[clean]"
            )

    @classmethod
    def notes(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """Motions and captions that are cut or left out, words, and initial weights that fit in part."""
        for split in (config.data.train_split, config.data.validation_split):
            yield from corpus.captioned(split).notes()
        texts = _training_captions(corpus)
        ids = _train_tokenizer(config, corpus).encode(texts)
        counted = ids > PAD
        unknown = float((ids == UNKNOWN).sum() / (counted.sum() - 2 * len(ids)))
        yield (
            f"{len(set(texts))} different captions in training, mirrored motions left out, as "
            f"caption.text_form={config.caption.text_form}; {unknown:.1%} of their words are unknown, as "
            f"caption.min_count={config.caption.min_count} says"
        )
        header, fps = initial_header(config.model.initial_weights), corpus.manifest.fps
        if float(header.get("fps", fps)) != fps:
            yield (
                f"the initial weights saw {float(header['fps']):g} frames per second, the data have {fps:g}: "
                "motion looks faster or slower to them"
            )
        if config.model.initial_weights and not _has_pooling(header):
            yield "the initial weights have no pose pooling: its layers begin at random"

    @classmethod
    def build(cls, config: RunConfig, corpus: Corpus) -> Self:
        """A fresh task, from the initial weights if there are some, on the CPU.

        Raises:
            UserError: If they cannot be loaded.
        """
        tokenizer = _train_tokenizer(config, corpus)
        torch.manual_seed(config.seed)
        return cls(Captioner.build(config, tokenizer), config)

    @classmethod
    def wrap(cls, model: nn.Module, config: RunConfig, corpus: Corpus) -> Self:
        """The task around a trained ``Captioner``."""
        assert isinstance(model, Captioner)
        return cls(model, config)

    @classmethod
    def rebuild(cls, config: RunConfig, header: Mapping[str, str]) -> Captioner:
        """A ``Captioner`` of the exported words and shapes, still without memory for its weights."""
        state = header.get("tokenizer")
        tokenizer = WordTokenizer.from_json(state) if state else WordTokenizer.outline()
        with torch.device("meta"):
            return Captioner(config, tokenizer)

    @classmethod
    def predict(cls, model: nn.Module, config: RunConfig, inputs: np.ndarray) -> np.ndarray:
        """Captions of motions of up to ``window.num_frames`` frames.

        Raises:
            ValueError: If the input is of another shape, longer, or not finite.
        """
        assert isinstance(model, Captioner)
        num_frames, joints = config.window.num_frames, H36M17.num_joints
        if inputs.ndim != 4 or inputs.shape[2:] != (joints, 3) or not 0 < inputs.shape[1] <= num_frames:
            raise ValueError(
                f"input has shape {inputs.shape}, not (clips, 1 to {num_frames} frames, {joints}, 3)"
            )
        if not np.isfinite(inputs).all():
            raise ValueError("input holds NaN or infinity")
        length = inputs.shape[1]
        # As in training, a motion that is shorter than a window repeats its last frame.
        padded = np.pad(inputs, ((0, 0), (0, num_frames - length), (0, 0), (0, 0)), mode="edge")
        motion = torch.from_numpy(padded.astype(np.float32)).to(model.encoder.pos_embed.device)
        mask = (torch.arange(num_frames, device=motion.device) < length).expand(len(motion), -1)
        with torch.inference_mode():
            return np.array(model.generate(motion, mask, **_search(config)), dtype=str)

    def header(self) -> dict[str, str]:
        """The words."""
        return self.model.header()

    @property
    def weights(self) -> dict[str, float]:
        """The one term."""
        return {"loss_caption": 1.0}

    def forward(self, windows: WindowBatch) -> dict[str, Float[Tensor, "B"]]:
        """Loss of the drawn caption of each window."""
        words = self.next_words(windows, self.motion(windows))
        return {"loss_caption": self._loss(*words)}

    def motion(self, windows: WindowBatch) -> Float[Tensor, "B T J 3"]:
        """Input of the model."""
        batch = observe(windows, self.config.camera, self.config.noise)
        return batch.poses_3d if self.config.caption.input == "joints_3d" else batch.keypoints_2d

    def next_words(
        self, windows: WindowBatch, motion: Float[Tensor, "B T J 3"]
    ) -> tuple[Float[Tensor, "B M V"], Int[Tensor, "B M"]]:
        """Logits of the words of the drawn captions, and their numbers."""
        pairs = zip(windows.captions, windows.drawn_captions, strict=True)
        drawn = [captions[place] for captions, place in pairs]
        ids = self.model.tokenizer.encode(drawn).to(motion.device)
        with autocast(self.autocast, motion.device):
            logits = self.model(motion, windows.frame_mask, ids)
        return logits.float(), ids[:, 1:]

    def scorer(self) -> Callable[[WindowBatch], Scores]:
        """Cross-entropies, and captions where they are asked for."""
        return self._score

    def target(self, windows: WindowBatch) -> tuple[Tensor, Bool[Tensor, "B T"]] | None:
        """No mean of captions is a caption."""
        return None

    def facts(self, counts: Mapping[str, int]) -> dict[str, Any]:
        """Form of the text, input, and how captions are found."""
        caption = self.config.caption
        return {
            "text_form": caption.text_form,
            "input": caption.input,
            "num_words": len(self.model.tokenizer),
            "decoding": f"{caption.num_beams} beams, length penalty {caption.length_penalty:g}, at most "
            f"{caption.max_generated} words",
        }

    def _loss(self, logits: Float[Tensor, "B M V"], targets: Int[Tensor, "B M"]) -> Float[Tensor, "B"]:
        smoothing = self.config.caption.label_smoothing
        return caption_loss(logits, targets, padding=PAD, label_smoothing=smoothing)

    def _score(self, windows: WindowBatch) -> Scores:
        motion = self.motion(windows)
        words = self.next_words(windows, motion)
        columns = {
            "loss_caption": Column(self._loss(*words)),
            "nats_per_word": Column(caption_loss(*words, padding=PAD)),
        }
        return Scores(columns, captions=partial(self._describe, windows, motion))

    def _describe(self, windows: WindowBatch, motion: Float[Tensor, "B T J 3"]) -> Sequence[Caption]:
        with autocast(self.autocast, motion.device):
            generated = self.model.generate(motion, windows.frame_mask, **_search(self.config))
        lengths = windows.frame_mask.sum(dim=1).tolist()
        places = [key.rpartition(":") for key in windows.keys]
        return [
            Caption(clip, (int(start), int(start) + length), text, references, self.config.caption.text_form)
            for (clip, _, start), length, text, references in zip(
                places, lengths, generated, windows.captions, strict=True
            )
        ]


def _search(config: RunConfig) -> dict[str, Any]:
    caption = config.caption
    return {
        "num_beams": caption.num_beams,
        "length_penalty": caption.length_penalty,
        "max_words": caption.max_generated,
    }


def _training_captions(corpus: Corpus) -> list[str]:
    """Captions of training; mirrored copies would count every word twice."""
    originals = (one for one in corpus.training_set.windows if one.entry.mirrored != "yes")
    return [text for window in originals for text in window.captions]


def _train_tokenizer(config: RunConfig, corpus: Corpus) -> WordTokenizer:
    caption = config.caption
    texts = _training_captions(corpus)
    return WordTokenizer.train(texts, min_count=caption.min_count, max_words=caption.max_words)


def _has_pooling(header: Mapping[str, str]) -> bool:
    return "config" in header and json.loads(header["config"]).get("task", "pretrain") in _WITH_POOLING
