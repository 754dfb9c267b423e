"""Fine-tuning: lift 2D to 3D without labels, from pretrained weights or from scratch."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.config import RunConfig
from langpose_dist.data.corpus import Corpus
from langpose_dist.losses.pose import (
    angle_loss,
    angle_velocity_loss,
    limb_loss,
    limb_variance_loss,
    position_loss,
    scaled_position_loss,
    velocity_loss,
)
from langpose_dist.models.lifter import Lifter, depth_of
from langpose_dist.models.lifting import lift_windows
from langpose_dist.models.weights import initial_header
from langpose_dist.tasks.poses import (
    PROTOCOL,
    PoseTask,
    measure_person,
    pose_columns,
    read_person,
)
from langpose_dist.tasks.task import Column, Scores, autocast

Loss = Callable[[Float[Tensor, "B T J 3"], Float[Tensor, "B T J 3"], Bool[Tensor, "B T"]], Float[Tensor, "B"]]

_LOSSES: Mapping[str, Loss] = {
    "loss_3d": position_loss,
    "loss_n": scaled_position_loss,
    "loss_v": velocity_loss,
    "loss_limb": limb_loss,
    "loss_limb_variance": lambda predicted, target, mask: limb_variance_loss(predicted, mask),
    "loss_angle": angle_loss,
    "loss_angle_velocity": angle_velocity_loss,
}

_PROTOCOL = {**PROTOCOL, "windows": "the split's windows by window.clip_rule; one camera drawn for each"}


class FinetuneTask(PoseTask):
    """The motion encoder with its pose head, and the losses of MotionBERT's recipe."""

    metrics = (*_LOSSES, "loss", "mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm_s")
    key_metric = "mpjpe_mm"
    protocol = _PROTOCOL

    model: Lifter  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def open(cls, config: RunConfig) -> Corpus:
        """The data, without their labels."""
        return Corpus.open(config, has_labels=False)

    @classmethod
    def unmeasured(cls, config: RunConfig, corpus: Corpus) -> dict[str, str]:
        """Terms of weight 0."""
        return {name: f"{key_of(name)}=0" for name, weight in _weights(config).items() if weight == 0}

    @classmethod
    def problems(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """No loss at all, a test split that would choose the checkpoint, and options that contradict."""
        if not any(_weights(config).values()):
            yield f"at least one of {', '.join(map(key_of, _LOSSES))} must be above 0"
        split = config.data.validation_split
        entries = [entry for _, shard in corpus.manifest.shards_of(split) for entry in shard.samples]
        if split == "test" or any(entry.source_split == "test" for entry in entries):
            yield (
                f"data.validation_split={split} holds test recordings, which would choose the checkpoint; "
                "hold out training subjects when building (such as --split validation:subject=s8), and "
                "evaluate the test split by a protocol (langpose evaluate MODEL --protocol NAME)"
            )
        if len(config.finetune.frozen) == len(set(config.finetune.frozen)) == 3:
            yield "finetune.frozen names every part of the encoder; leave one out, or nothing is trained"
        if config.finetune.ema_decay and config.train.zero_stage == 3:
            yield "finetune.ema_decay does not go with train.zero_stage=3; use stage 0, 1 or 2"

    @classmethod
    def notes(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """Initial weights of another rate or space."""
        header = initial_header(config.model.initial_weights)
        fps = corpus.manifest.fps
        if float(header.get("fps", fps)) != fps:
            yield (
                f"the initial weights saw {float(header['fps']):g} frames per second, the data have {fps:g}: "
                "their positions count frames, so motion looks faster or slower to them; build the data at "
                "the same rate to avoid it"
            )
        space = header.get("space", "camera") if header else None
        if space is not None and space != config.target.space:
            yield (
                f"the initial weights predict {space}, target.space={config.target.space}: the pose head "
                "begins in the wrong unit and is trained anew"
            )

    @classmethod
    def build(cls, config: RunConfig, corpus: Corpus) -> Self:
        """A fresh task, from the initial weights if there are some, on the CPU.

        Raises:
            UserError: If they cannot be loaded.
        """
        torch.manual_seed(config.seed)
        model = Lifter.build(config)
        model.limb_total = measure_person(config, corpus)
        return cls(model, config, corpus.manifest.fps)

    @classmethod
    def wrap(cls, model: nn.Module, config: RunConfig, corpus: Corpus) -> Self:
        """The task around a trained ``Lifter``."""
        return cls(model, config, corpus.manifest.fps)

    @classmethod
    def rebuild(cls, config: RunConfig, header: Mapping[str, str]) -> Lifter:
        """A ``Lifter`` of the exported shapes, still without memory for its weights."""
        with torch.device("meta"):
            model = Lifter(config)
        model.limb_total = read_person(header)
        return model

    @property
    def weights(self) -> dict[str, float]:
        """Term -> weight; a term of weight 0 is not computed."""
        return {name: weight for name, weight in _weights(self.config).items() if weight > 0}

    def rate_factor(self, name: str) -> float:
        """Layer-wise decay of the learning rate."""
        depth = depth_of(name.removeprefix("model.encoder."), self.config.model.depth)
        return self.config.finetune.layer_decay**depth

    def after_step(self) -> None:
        """Follow the weights with their moving average."""
        self.model.update_average()

    def forward(self, windows: WindowBatch) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window."""
        batch = self.observe(windows)
        with autocast(self.autocast, batch.keypoints_2d.device):
            predicted = self.model(batch.keypoints_2d)
        return self.loss_terms(batch, predicted)

    def loss_terms(
        self, batch: MotionBatch, predicted: Float[Tensor, "B T J 3"]
    ) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window of a prediction, in the unit of the target's space."""
        return {name: _LOSSES[name](predicted, batch.poses_3d, batch.frame_mask) for name in self.weights}

    def scorer(self) -> Callable[[WindowBatch], Scores]:
        """Pose errors and losses."""
        return self._score

    def _score(self, windows: WindowBatch) -> Scores:
        batch = self.observe(windows)
        with autocast(self.autocast, batch.keypoints_2d.device):
            predicted = lift_windows(
                self.model, batch.keypoints_2d, flip_averaging=self.config.evaluation.flip_averaging
            )
        columns = {name: Column(values) for name, values in self.loss_terms(batch, predicted).items()}
        columns |= pose_columns(predicted, batch, self.fps)
        return Scores(columns, partial(self.picture, windows, batch, predicted, None))


def key_of(name: str) -> str:
    """Configuration key of a term's weight."""
    key = name.replace("loss", "lambda")
    return f"{'loss' if name in ('loss_3d', 'loss_v') else 'finetune'}.{key}"


def _weights(config: RunConfig) -> dict[str, float]:
    places = {name: key_of(name).split(".") for name in _LOSSES}
    return {name: getattr(getattr(config, section), key) for name, (section, key) in places.items()}
