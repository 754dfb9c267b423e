"""Typed schema of a run: every key with its default and range.

A default is written here and nowhere else; a YAML file holds only what differs from it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

from langpose_dist.config.affects import (
    DATA,
    EVALUATION,
    INPUT,
    LENGTH,
    MODEL,
    OBJECTIVE,
    RUNTIME,
    fields_of,
    keys_that_affect,
)
from langpose_dist.host.paths import expand_home
from langpose_dist.host.redaction import redact

# Strict: neither a boolean nor a text is a number, nor 3.0 a count, nor 1 a boolean.
Number = Annotated[float, Strict()]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Decay = Annotated[Number, Field(ge=0, lt=1)]
Whole = Annotated[int, Strict(), Field(ge=0, lt=2**31)]
Count = Annotated[Whole, Field(ge=1)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Flag = Annotated[bool, Strict()]
Place = Annotated[str, Field(min_length=1), AfterValidator(expand_home)]
"""Path, URL or URI; a leading ``~`` is the home folder."""
Range = tuple[Number, Number]
Condition = Literal["clean", "noisy", "masked"]
ClipRule = Literal["every_frame", "whole_windows"]
Space = Literal["camera", "image_25d"]

_RUNTIME_KEYS_1 = re.compile(
    r"output|(tracking|registry)\..*|data\.(path|cache_dir|num_workers|verify|licence)"
    r"|train\.(device|num_threads|keep_checkpoints|best_metric|offload|hang_timeout|start_timeout|stop_grace|\w+_every)"
)
_NEW_KEYS_1 = frozenset({"task", "data.observation", "model.recompute", "model.compile_mode"})
"""Keys that runs with a hash of the first kind did not have."""
_LATER_KEYS = re.compile(
    r"target\..*|finetune\..*|window\.clip_rule|caption\..*|data\.(held_out_\w+|train_share)|optimizer\.decay_all|model\.stream|evaluation\.flip_averaging"
)
"""Keys that came after the first hashes: the hash leaves them out at their default, so it stays the same."""


class Section(BaseModel):
    """Part of a configuration: frozen, no unknown keys, a docstring under each field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        # run_name=2024 is read as a number before the schema is known; it keeps its spelling.
        coerce_numbers_to_str=True,
    )

    def _ordered(self, *names: str) -> None:
        for name in names:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}={low, high} must be in rising order")


class WindowConfig(Section):
    """How clips are cut into windows."""

    num_frames: Annotated[Count, MODEL] = 243
    """Frames per window (T)."""
    stride: Annotated[Count, DATA] = 81
    """Frames from one training window's start to the next."""
    min_span_frames: Annotated[Count, INPUT] = 8
    """A label span that a window cuts down to fewer frames is not used there."""
    clip_rule: Annotated[ClipRule, INPUT] = "every_frame"
    """every_frame: the last window of a clip may reach past its end, where it repeats the last frame.
    whole_windows: what is left after the last whole window is not used, and a clip shorter than a window is
    stretched to one (MotionBERT)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("stride", "min_span_frames"):
            if getattr(self, name) > self.num_frames:
                loss = "frames" if name == "stride" else "labels"
                raise ValueError(
                    f"{name}={getattr(self, name)} must be in 1..{self.num_frames}, or {loss} are lost"
                )
        return self


class DataConfig(Section):
    """Where windows come from, and in which order."""

    path: Annotated[Place, RUNTIME] = "data/shards"
    """Folder or URL that holds manifest.json and its shards."""
    train_split: Annotated[str, DATA] = "train"
    """Split to train on."""
    validation_split: Annotated[str, EVALUATION] = "validation"
    """Split to evaluate on."""
    order: Annotated[Literal["exact", "streaming"], DATA] = "exact"
    """exact: every window once per epoch, resumable. streaming: for corpora larger than a node's disk."""
    shuffle_buffer: Annotated[Count, DATA] = 1000
    """Windows held for shuffling when order is streaming."""
    num_workers: Annotated[Whole, RUNTIME] = 2
    """Loader processes per rank; 0 reads in the training process."""
    cache_dir: Annotated[Place | None, RUNTIME] = None
    """Where shards of a remote path are kept on this node; default: the user's cache folder."""
    verify: Annotated[Flag, RUNTIME] = True
    """Check every shard against its hash before training starts, once per node."""
    licence: Annotated[str | None, RUNTIME] = None
    """Licence of the training data, kept with registered models."""
    flip_probability: Annotated[Fraction, DATA] = 0.5
    """Share of windows that are mirrored, with left and right exchanged in their labels."""
    observation: Annotated[Literal["camera", "stored"], INPUT] = "camera"
    """2D input. camera: projected by the virtual camera. stored: the data's own 2D joints, without synthetic
    noise, with the target in the axes of the recording camera."""
    train_share: Annotated[Number, Field(gt=0, le=1), DATA] = 1.0
    """Share of the training split's clips that are used, the same ones for every seed."""
    held_out_camera: Annotated[str | None, DATA] = None
    """Leave out clips of this camera, which the protocol cross_camera then tests on."""
    held_out_categories: Annotated[tuple[str, ...], DATA] = ()
    """Labels, or BABEL's categories of labels, that training does not see in words: its windows of them are
    unlabelled, and they are no negatives. langpose analyse recognise reports on them apart."""


class CameraConfig(Section):
    """Ranges of the virtual camera, drawn uniformly per window."""

    projection: Annotated[Literal["perspective", "orthographic"], INPUT] = "perspective"
    """How joints are projected."""
    yaw: Annotated[Range, INPUT] = (-180.0, 180.0)
    """Degrees around the vertical axis."""
    elevation: Annotated[Range, INPUT] = (-10.0, 30.0)
    """Degrees above the horizon."""
    distance: Annotated[Range, INPUT] = (3.0, 7.0)
    """Metres to the middle of the motion; moved back where the motion would leave the image."""
    focal_length: Annotated[Range, INPUT] = (1.5, 3.0)
    """In half image widths; Human3.6M cameras have 2.3."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._ordered("yaw", "elevation", "distance", "focal_length")
        if self.distance[0] <= 0 or self.focal_length[0] <= 0:
            raise ValueError("distance and focal_length must be above 0")
        return self


class NoiseConfig(Section):
    """Synthetic 2D detector error, in metres at the person's depth."""

    enabled: Annotated[Flag, DATA] = True
    """Add it in training."""
    num_keyframes: Annotated[Whole, Field(ge=2), INPUT] = 27
    """Moments between which the slow error is interpolated."""
    gaussian_std: Annotated[NonNegative, INPUT] = 0.015
    """Spread of the slow error; limbs' ends get up to twice as much."""
    uniform_probability: Annotated[Fraction, INPUT] = 0.05
    """Share of keyframe errors that are gross and uniform instead of Gaussian."""
    uniform_range: Annotated[NonNegative, INPUT] = 0.15
    """Half width of a gross error."""
    jitter_std: Annotated[NonNegative, INPUT] = 0.003
    """Spread of the error that is new in every frame."""
    confidence_distance: Annotated[Positive, INPUT] = 0.1
    """Displacement at which the confidence has fallen to one half."""
    confidence_std: Annotated[NonNegative, INPUT] = 0.03
    """Spread of the confidence itself."""


class MaskingConfig(Section):
    """Which joints are hidden from the model; one kind per window."""

    enabled: Annotated[Flag, DATA] = True
    """Mask in training."""
    random_probability: Annotated[Fraction, INPUT] = 0.5
    """Share of windows with random masking."""
    time_window_probability: Annotated[Fraction, INPUT] = 0.25
    """Share of windows with one hidden stretch of time."""
    body_part_probability: Annotated[Fraction, INPUT] = 0.25
    """Share of windows with one hidden body part."""
    joint_ratio: Annotated[Fraction, INPUT] = 0.05
    """Random masking: share of joints hidden one by one."""
    frame_ratio: Annotated[Fraction, INPUT] = 0.15
    """Random masking: share of frames hidden whole."""
    time_window_frames: Annotated[tuple[Count, Count], INPUT] = (30, 80)
    """Time-window masking: its length in frames, drawn uniformly, both ends included."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._ordered("time_window_frames")
        total = self.random_probability + self.time_window_probability + self.body_part_probability
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the three masking probabilities must sum to 1, not {total:g}")
        return self


class TargetConfig(Section):
    """Target of the model."""

    space: Annotated[Space, MODEL] = "camera"
    """camera: metres in camera axes. image_25d: x and y as in the 2D input, in half image widths, and z in
    the same unit; needs the root's depth and the camera's lens."""


class ModelConfig(Section):
    """DSTformer and the two pooling layers; the defaults are the paper's."""

    dim: Annotated[Count, MODEL] = 512
    """Width of the encoder."""
    dim_representation: Annotated[Count, MODEL] = 512
    """Width of the motion representation in front of the pose head."""
    depth: Annotated[Count, MODEL] = 5
    """Pairs of dual-stream blocks."""
    num_heads: Annotated[Count, MODEL] = 8
    """Attention heads."""
    mlp_ratio: Annotated[Positive, MODEL] = 2.0
    """Hidden width of the MLPs over dim."""
    dropout: Annotated[Fraction, MODEL] = 0.0
    """In the encoder's attention and MLPs."""
    drop_path: Annotated[Fraction, MODEL] = 0.0
    """Stochastic depth at the last block; rises linearly from 0."""
    init_std: Annotated[Positive, MODEL] = 0.02
    """Spread of the encoder's initial weights; MotionBERT's suits a width of 512, small widths want more."""
    pool_dim: Annotated[Count, MODEL] = 64
    """Width per joint after the pose pooling's first layer."""
    pool_dropout: Annotated[Fraction, MODEL] = 0.1
    """In both pooling layers."""
    embed_dim: Annotated[Count, MODEL] = 512
    """Width of motion and text features (D)."""
    initial_weights: Annotated[Place | None, OBJECTIVE] = None
    """Weights that the encoder starts from: a run's folder, exported safetensors, a MotionBERT checkpoint, or
    models:/NAME@ALIAS of the registry."""
    stream: Annotated[Literal["float32", "bfloat16"], OBJECTIVE] = "float32"
    """Type of the sum that every layer adds to, where activations are bfloat16."""
    recompute: Annotated[Flag, RUNTIME] = False
    """Keep only the input of each pair of blocks for the backward pass, and compute the rest again."""
    compile: Annotated[Flag, RUNTIME] = False
    """Compile the model with torch.compile; needs a C++ compiler on CPU."""
    compile_mode: Annotated[Literal["default", "reduce-overhead", "max-autotune-no-cudagraphs"], RUNTIME] = (
        "default"
    )
    """torch.compile's mode; reduce-overhead replays CUDA graphs, without gradient accumulation."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % self.num_heads:
            raise ValueError(f"dim={self.dim} must be a multiple of num_heads={self.num_heads}")
        return self


class TextConfig(Section):
    """The text encoder."""

    encoder: Annotated[Place, MODEL] = "offline"
    """Hugging Face model name, local folder, or offline: all-MiniLM-L6-v2 from the offline-text extra."""
    max_tokens: Annotated[Whole, Field(ge=3), MODEL] = 20
    """Tokens per label (L), special tokens included."""
    frozen: Annotated[Flag, MODEL] = True
    """Keep its weights; label embeddings are then computed once per vocabulary."""


class LossConfig(Section):
    """Loss terms and their weights."""

    contrastive: Annotated[Literal["none", "infonce", "modified"], MODEL] = "modified"
    """none, cross-entropy with hard targets, or focal loss with KL divergence."""
    lambda_con: Annotated[NonNegative, OBJECTIVE] = 0.5
    """Weight of the contrastive term."""
    lambda_3d: Annotated[NonNegative, OBJECTIVE] = 1.0
    """Weight of the position term."""
    lambda_v: Annotated[NonNegative, OBJECTIVE] = 20.0
    """Weight of the velocity term."""
    temperature: Annotated[Positive, OBJECTIVE] = 0.1
    """Divisor of cosine similarity."""
    gamma: Annotated[NonNegative, OBJECTIVE] = 2.0
    """Focal exponent of the modified form."""
    beta: Annotated[NonNegative, OBJECTIVE] = 1.0
    """Weight of the KL divergence in the modified form."""
    target_temperature: Annotated[Positive, OBJECTIVE] = 0.1
    """Divisor of the label similarities that the KL divergence aims at."""
    num_negatives: Annotated[Count, OBJECTIVE] = 16
    """Other labels that each window is compared with."""
    negative_power: Annotated[NonNegative, OBJECTIVE] = 1.0
    """Negatives are drawn with probability proportional to label count to this power."""

    @property
    def is_contrastive(self) -> bool:
        """True if motions are compared with labels."""
        return self.contrastive != "none" and self.lambda_con > 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lambda_3d + self.lambda_v == 0 and not self.is_contrastive:
            raise ValueError("at least one of lambda_con, lambda_3d and lambda_v must be above 0")
        return self


Part = Literal["embeddings", "blocks", "head"]


class FinetuneConfig(Section):
    """Further loss terms and options of task=finetune; loss.lambda_3d and loss.lambda_v hold there too."""

    lambda_n: Annotated[NonNegative, OBJECTIVE] = 0.5
    """Weight of the position error after the best scale of each frame (N-MPJPE)."""
    lambda_limb: Annotated[NonNegative, OBJECTIVE] = 0.0
    """Weight of the error of limb lengths."""
    lambda_limb_variance: Annotated[NonNegative, OBJECTIVE] = 0.0
    """Weight of the variance of predicted limb lengths over time."""
    lambda_angle: Annotated[NonNegative, OBJECTIVE] = 0.0
    """Weight of the error of the angles between neighbouring limbs."""
    lambda_angle_velocity: Annotated[NonNegative, OBJECTIVE] = 0.0
    """Weight of the error of those angles' change from frame to frame."""
    ema_decay: Annotated[Decay, MODEL] = 0.0
    """Decay per step of a moving average of the weights, which is then evaluated and exported; 0: none."""
    layer_decay: Annotated[Number, Field(gt=0, le=1), OBJECTIVE] = 1.0
    """Factor of the learning rate from each pair of blocks to the one before it; 1: one rate for all."""
    frozen: Annotated[tuple[Part, ...], MODEL] = ()
    """Parts of the encoder that keep their first weights."""


Words = Annotated[Count, Field(le=62)]
"""Words of a caption: the decoder knows 64 positions, with those of its beginning and end."""


class CaptionConfig(Section):
    """Data, decoder and decoding of task=caption; the defaults are TM2T's for KIT-ML."""

    input: Annotated[Literal["joints_3d", "projected_2d"], MODEL] = "joints_3d"
    """joints_3d: relative to the pelvis, metres, in the axes of the virtual camera. projected_2d: as that
    camera sees them, with a confidence, as in pretraining."""
    text_form: Annotated[Literal["words", "raw"], MODEL] = "words"
    """Captions as the data set's processed words, of which verbs and nouns are lemmas, or as they were
    written, in lower case."""
    max_words: Annotated[Words, MODEL] = 20
    """Words of a caption in training; a longer one loses its end."""
    min_count: Annotated[Count, MODEL] = 2
    """A word that the captions of unmirrored training clips hold less often is unknown to the decoder."""
    min_frames: Annotated[Count, INPUT] = 1
    """Shorter motions are left out."""
    too_long: Annotated[Literal["refuse", "crop", "drop"], INPUT] = "refuse"
    """Motions of more than window.num_frames: refuse the data, use their first frames, or leave them out."""
    num_layers: Annotated[Count, MODEL] = 3
    """Layers of the decoder, which is as wide as model.embed_dim."""
    num_heads: Annotated[Count, MODEL] = 8
    """Attention heads of the decoder."""
    memory_layers: Annotated[Whole, MODEL] = 0
    """Transformer layers over the features of frames, before the decoder; TM2T has as many as there."""
    dropout: Annotated[Fraction, OBJECTIVE] = 0.1
    """In the decoder's attention and MLPs."""
    frozen: Annotated[Flag, MODEL] = False
    """Keep the first weights of the encoder and its pooling; what follows alone learns."""
    label_smoothing: Annotated[Decay, OBJECTIVE] = 0.0
    """Share of the target that is spread over all words."""
    num_beams: Annotated[Count, EVALUATION] = 2
    """Beams of the search for a caption; 1: the likeliest word each time."""
    length_penalty: Annotated[Number, EVALUATION] = 0.7
    """A caption's log probability is divided by its length to this power."""
    max_generated: Annotated[Words, EVALUATION] = 30
    """Most words of a generated caption."""


class OptimizerConfig(Section):
    """AdamW and its schedule."""

    learning_rate: Annotated[Positive, OBJECTIVE] = 5e-4
    """Peak learning rate."""
    weight_decay: Annotated[NonNegative, OBJECTIVE] = 0.01
    """Decoupled weight decay."""
    decay_all: Annotated[Flag, OBJECTIVE] = False
    """Decay biases, norms and position embeddings too (MotionBERT), not matrices alone."""
    betas: Annotated[tuple[Decay, Decay], OBJECTIVE] = (0.9, 0.999)
    """Decay of the moment estimates."""
    clip_norm: Annotated[NonNegative, OBJECTIVE] = 1.0
    """Largest gradient norm; 0 turns clipping off."""
    schedule: Annotated[Literal["cosine", "exponential", "constant"], OBJECTIVE] = "cosine"
    """Shape of the decay after warm-up."""
    warmup_steps: Annotated[Whole, OBJECTIVE] = 500
    """Steps of linear warm-up."""
    final_ratio: Annotated[Fraction, OBJECTIVE] = 0.01
    """Learning rate at the last step over the peak."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule == "exponential" and self.final_ratio == 0:
            raise ValueError("final_ratio must be above 0 with schedule=exponential, which never reaches 0")
        return self


class TrainConfig(Section):
    """Length, batch, precision and rhythm of a run."""

    epochs: Annotated[Positive, LENGTH] = 300.0
    """Passes over the training windows, where max_steps is not set."""
    max_steps: Annotated[Count | None, LENGTH] = None
    """Optimizer updates; overrides epochs."""
    global_batch_size: Annotated[Count, OBJECTIVE] = 16
    """Windows per optimizer update, over all ranks and accumulation."""
    micro_batch_size: Annotated[Count | None, RUNTIME] = None
    """Windows per rank and forward pass; default: global_batch_size over ranks."""
    precision: Annotated[Literal["auto", "float32", "bfloat16"], OBJECTIVE] = "auto"
    """Type of activations; weights stay float32. auto: bfloat16 on a GPU that has it."""
    zero_stage: Annotated[Whole, Field(le=3), RUNTIME] = 0
    """DeepSpeed ZeRO stage: what ranks share out. 1: optimizer state, 2: gradients too, 3: weights too."""
    offload: Annotated[Literal["none", "optimizer", "parameters"], RUNTIME] = "none"
    """Keep in the host's memory: the optimizer's state (stages 1 to 3), or the weights too (stage 3)."""
    num_threads: Annotated[Count | None, RUNTIME] = None
    """CPU threads per rank; default: the machine's cores over its ranks."""
    device: Annotated[Literal["auto", "cpu", "cuda"], RUNTIME] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    log_every: Annotated[Count, RUNTIME] = 10
    """Steps between two lines of metrics."""
    evaluate_every: Annotated[Count | None, RUNTIME] = None
    """Steps between two evaluations; default: only at the end."""
    checkpoint_every: Annotated[Count, RUNTIME] = 1000
    """Steps between two checkpoints; one is always written at the end."""
    keep_checkpoints: Annotated[Count, RUNTIME] = 3
    """Newest checkpoints that are kept; the best one is kept besides."""
    best_metric: Annotated[str | None, RUNTIME] = None
    """Metric that chooses the best checkpoint; default: mpjpe_mm of the last evaluation condition."""
    start_timeout: Annotated[Positive, RUNTIME] = 300.0
    """Seconds that ranks wait for each other at the start."""
    hang_timeout: Annotated[Positive, RUNTIME] = 600.0
    """Seconds without progress of a rank after which the run is ended, naming the rank."""
    stop_grace: Annotated[Positive, RUNTIME] = 20.0
    """Seconds from a request to stop until a rank that cannot save leaves without saving."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        lowest = {"none": 0, "optimizer": 1, "parameters": 3}[self.offload]
        if self.zero_stage < lowest:
            raise ValueError(f"offload={self.offload} needs zero_stage={lowest} or higher")
        return self


class EvaluationConfig(Section):
    """Conditions and size of an evaluation."""

    conditions: Annotated[tuple[Condition, ...], EVALUATION] = (
        "clean",
        "noisy",
        "masked",
    )
    """2D input: exact projection, with detector noise, with noise and masking as in training. With
    data.observation=stored clean and noisy are the same stored joints, and masked hides some of them."""
    batch_size: Annotated[Count, RUNTIME] = 16
    """Windows per rank and forward pass."""
    flip_averaging: Annotated[Flag, EVALUATION] = False
    """Average each prediction with that of the mirrored input, mirrored back."""
    max_windows: Annotated[Count | None, EVALUATION] = None
    """Evaluate only the first windows of the split; default: all."""
    num_pictures: Annotated[Whole, RUNTIME] = 4
    """Pictures of predicted against true skeletons."""


class TrackingConfig(Section):
    """MLflow."""

    enabled: Annotated[Flag, RUNTIME] = True
    """Record the run."""
    uri: Annotated[Place, RUNTIME] = "sqlite:///mlflow.db"
    """Tracking URI; an SQLite file needs no server."""
    experiment: Annotated[str, RUNTIME] = "langpose-pretrain"
    """Experiment that the run belongs to."""
    run_name: Annotated[str | None, RUNTIME] = None
    """Name of the run; default: the run folder's name."""
    register_as: Annotated[str | None, RUNTIME] = None
    """Register the final model under this name."""
    alias: Annotated[str, RUNTIME] = "candidate"
    """Alias that is set on the registered version."""
    required: Annotated[Flag, RUNTIME] = False
    """Refuse to start while the store does not answer; otherwise the run is sent when it does."""
    parent_run_id: Annotated[str | None, RUNTIME] = None
    """Run that this one belongs under, such as a sweep's: its id in MLflow, or its tag langpose.run_uid."""


class RegistryConfig(Section):
    """The gate that a registered model passes to be promoted."""

    metrics: Annotated[tuple[str, ...], RUNTIME] = ("masked/mpjpe_mm", "clean/mpjpe_mm")
    """CONDITION/METRIC in which it must be no worse than the model that it replaces."""
    tolerance: Annotated[NonNegative, RUNTIME] = 0.0
    """Share of the replaced model's value by which it may be worse all the same."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for metric in self.metrics:
            if not re.fullmatch(r"\w+/\w+", metric):
                raise ValueError(f"metrics: {metric!r} must be CONDITION/METRIC, such as masked/mpjpe_mm")
        if not self.metrics:
            raise ValueError("metrics must name at least one, such as masked/mpjpe_mm")
        return self


class RunConfig(Section):
    """Everything that defines a run."""

    task: Annotated[str, MODEL] = "pretrain"
    """Task to train: pretrain, finetune, caption, or one that an installed package adds."""
    output: Annotated[Place, RUNTIME] = "runs/pretrain"
    """Folder of the run: configuration, metrics, checkpoints, weights."""
    seed: Annotated[Seed, OBJECTIVE] = 0
    """Seed of weights, order, cameras, noise, masks and negatives."""
    data: DataConfig = DataConfig()
    window: WindowConfig = WindowConfig()
    camera: CameraConfig = CameraConfig()
    noise: NoiseConfig = NoiseConfig()
    masking: MaskingConfig = MaskingConfig()
    target: TargetConfig = TargetConfig()
    model: ModelConfig = ModelConfig()
    text: TextConfig = TextConfig()
    loss: LossConfig = LossConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    caption: CaptionConfig = CaptionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    registry: RegistryConfig = RegistryConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        chosen = self.train.best_metric
        if chosen is not None and chosen.partition("/")[0] not in self.evaluation.conditions:
            raise ValueError(
                f"train.best_metric={chosen} must be CONDITION/METRIC with a condition of "
                f"evaluation.conditions={list(self.evaluation.conditions)}, such as masked/mpjpe_mm"
            )
        if self.masking.time_window_frames[1] > self.window.num_frames:
            raise ValueError(
                f"masking.time_window_frames={self.masking.time_window_frames} must not exceed "
                f"window.num_frames={self.window.num_frames}"
            )
        if self.task == "caption" and self.model.embed_dim % self.caption.num_heads:
            raise ValueError(
                f"model.embed_dim={self.model.embed_dim} must be a multiple of caption.num_heads="
                f"{self.caption.num_heads}"
            )
        if self.model.compile and self.train.zero_stage == 3:
            raise ValueError("model.compile=true does not go with train.zero_stage=3; use stage 0, 1 or 2")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for YAML and JSON, fit to be written down: no URL keeps its credentials."""
        return {
            name: {key: _public(value) for key, value in section.items()}
            if isinstance(section, dict)
            else _public(section)
            for name, section in self.model_dump(mode="json").items()
        }

    def to_flat(self) -> dict[str, Any]:
        """Dotted key -> plain value."""
        return {
            name if key is None else f"{name}.{key}": value
            for name, section in self.to_dict().items()
            for key, value in (section.items() if isinstance(section, dict) else [(None, section)])
        }

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of all keys that change a result."""
        left_out = keys_that_affect(type(self), RUNTIME)
        return _digest({key: value for key, value in self._hashed().items() if key not in left_out})

    def _hashed(self) -> dict[str, Any]:
        defaults = {key: field.default for key, field in fields_of(type(self))}
        return {
            key: value
            for key, value in self.to_flat().items()
            if not (_LATER_KEYS.fullmatch(key) and _plain(value) == _plain(defaults[key]))
        }

    def has_hash(self, value: str) -> bool:
        """Tell whether a recorded hash is this configuration's, of the present kind or of the first.

        The first kind held some keys that change no result, such as ``train.zero_stage``.
        """
        first = {
            key: item
            for key, item in self._hashed().items()
            if key not in _NEW_KEYS_1 and not _RUNTIME_KEYS_1.fullmatch(key)
        }
        return value in (self.hash(), _digest(first))


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _public(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
