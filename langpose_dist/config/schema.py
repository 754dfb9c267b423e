"""Typed schema of a run: every key with its default and range.

A default is written here and nowhere else; a YAML file holds only what differs from it.
"""

import hashlib
import json
import re
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from langpose_dist.host.redaction import redact

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[float, float]

CIRCUMSTANCE = re.compile(
    r"output|(tracking|registry)\..*|data\.(path|cache_dir|num_workers|verify|licence)"
    r"|train\.(device|num_threads|keep_checkpoints|best_metric|offload|hang_timeout|start_timeout|stop_grace|\w+_every)"
)
"""Keys that say where and how often, not what is computed."""


class Section(BaseModel):
    """Part of a configuration: frozen, no unknown keys, a docstring under each field."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        # An override such as run_name=2024 is read as a number before the schema is known.
        coerce_numbers_to_str=True,
    )

    def _ordered(self, *names: str) -> None:
        for name in names:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}={low, high} must be in rising order")


class WindowConfig(Section):
    """How clips are cut into windows."""

    num_frames: Count = 243
    """Frames per window (T)."""
    stride: Count = 81
    """Frames from one training window's start to the next."""
    min_span_frames: Count = 8
    """A label span that a window cuts down to fewer frames is not used there."""

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

    path: str = "data/shards"
    """Folder or URL that holds manifest.json and its shards."""
    train_split: str = "train"
    """Split to train on."""
    validation_split: str = "validation"
    """Split to evaluate on."""
    order: Literal["exact", "streaming"] = "exact"
    """exact: every window once per epoch, resumable. streaming: for corpora larger than a node's disk."""
    shuffle_buffer: Count = 1000
    """Windows held for shuffling when order is streaming."""
    num_workers: Annotated[int, Field(ge=0)] = 2
    """Loader processes per rank; 0 reads in the training process."""
    cache_dir: str | None = None
    """Where shards of a remote path are kept on this node; default: the user's cache folder."""
    verify: bool = True
    """Check every shard against its hash before training starts, once per node."""
    licence: str | None = None
    """Licence of the training data, kept with registered models."""
    flip_probability: Fraction = 0.5
    """Share of windows that are mirrored, with left and right exchanged in their labels."""


class CameraConfig(Section):
    """Ranges of the virtual camera, drawn uniformly per window."""

    projection: Literal["perspective", "orthographic"] = "perspective"
    """How joints are projected."""
    yaw: Range = (-180.0, 180.0)
    """Degrees around the vertical axis."""
    elevation: Range = (-10.0, 30.0)
    """Degrees above the horizon."""
    distance: Range = (3.0, 7.0)
    """Metres to the middle of the motion; moved back where the motion would leave the image."""
    focal_length: Range = (1.5, 3.0)
    """In half image widths; Human3.6M cameras have 2.3."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._ordered("yaw", "elevation", "distance", "focal_length")
        if self.distance[0] <= 0 or self.focal_length[0] <= 0:
            raise ValueError("distance and focal_length must be above 0")
        return self


class NoiseConfig(Section):
    """Synthetic 2D detector error, in metres at the person's depth."""

    enabled: bool = True
    """Add it in training."""
    num_keyframes: Annotated[int, Field(ge=2)] = 27
    """Moments between which the slow error is interpolated."""
    gaussian_std: NonNegative = 0.015
    """Spread of the slow error; limbs' ends get up to twice as much."""
    uniform_probability: Fraction = 0.05
    """Share of keyframe errors that are gross and uniform instead of Gaussian."""
    uniform_range: NonNegative = 0.15
    """Half width of a gross error."""
    jitter_std: NonNegative = 0.003
    """Spread of the error that is new in every frame."""
    confidence_distance: Positive = 0.1
    """Displacement at which the confidence has fallen to one half."""
    confidence_std: NonNegative = 0.03
    """Spread of the confidence itself."""


class MaskingConfig(Section):
    """Which joints are hidden from the model; one kind per window."""

    enabled: bool = True
    """Mask in training."""
    random_probability: Fraction = 0.5
    """Share of windows with random masking."""
    time_window_probability: Fraction = 0.25
    """Share of windows with one hidden stretch of time."""
    body_part_probability: Fraction = 0.25
    """Share of windows with one hidden body part."""
    joint_ratio: Fraction = 0.05
    """Random masking: share of joints hidden one by one."""
    frame_ratio: Fraction = 0.15
    """Random masking: share of frames hidden whole."""
    time_window_frames: tuple[Count, Count] = (30, 80)
    """Time-window masking: its length in frames, drawn uniformly, both ends included."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._ordered("time_window_frames")
        total = self.random_probability + self.time_window_probability + self.body_part_probability
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the three masking probabilities must sum to 1, not {total:g}")
        return self


class ModelConfig(Section):
    """DSTformer and the two pooling layers; the defaults are the paper's."""

    dim: Count = 512
    """Width of the encoder."""
    dim_representation: Count = 512
    """Width of the motion representation in front of the pose head."""
    depth: Count = 5
    """Pairs of dual-stream blocks."""
    num_heads: Count = 8
    """Attention heads."""
    mlp_ratio: Positive = 2.0
    """Hidden width of the MLPs over dim."""
    dropout: Fraction = 0.0
    """In the encoder's attention and MLPs."""
    drop_path: Fraction = 0.0
    """Stochastic depth at the last block; rises linearly from 0."""
    init_std: Positive = 0.02
    """Spread of the encoder's initial weights; MotionBERT's suits a width of 512, small widths want more."""
    pool_dim: Count = 64
    """Width per joint after the pose pooling's first layer."""
    pool_dropout: Fraction = 0.1
    """In both pooling layers."""
    embed_dim: Count = 512
    """Width of motion and text features (D)."""
    initial_weights: str | None = None
    """MotionBERT checkpoint or exported safetensors that the encoder starts from."""
    compile: bool = False
    """Compile the model with torch.compile; needs a C++ compiler on CPU."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % self.num_heads:
            raise ValueError(f"dim={self.dim} must be a multiple of num_heads={self.num_heads}")
        return self


class TextConfig(Section):
    """The text encoder."""

    encoder: str = "offline"
    """Hugging Face model name, local folder, or offline: all-MiniLM-L6-v2 from the offline-text extra."""
    max_tokens: Annotated[int, Field(ge=3)] = 20
    """Tokens per label (L), special tokens included."""
    frozen: bool = True
    """Keep its weights; label embeddings are then computed once per vocabulary."""


class LossConfig(Section):
    """Loss terms and their weights."""

    contrastive: Literal["none", "infonce", "modified"] = "modified"
    """none, cross-entropy with hard targets, or focal loss with KL divergence."""
    lambda_con: NonNegative = 0.5
    """Weight of the contrastive term."""
    lambda_3d: NonNegative = 1.0
    """Weight of the position term."""
    lambda_v: NonNegative = 20.0
    """Weight of the velocity term."""
    temperature: Positive = 0.1
    """Divisor of cosine similarity."""
    gamma: NonNegative = 2.0
    """Focal exponent of the modified form."""
    beta: NonNegative = 1.0
    """Weight of the KL divergence in the modified form."""
    target_temperature: Positive = 0.1
    """Divisor of the label similarities that the KL divergence aims at."""
    num_negatives: Count = 16
    """Other labels that each window is compared with."""
    negative_power: NonNegative = 1.0
    """Negatives are drawn with probability proportional to label count to this power."""

    @property
    def is_contrastive(self) -> bool:
        """Whether motions are compared with labels at all."""
        return self.contrastive != "none" and self.lambda_con > 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lambda_3d + self.lambda_v == 0 and not self.is_contrastive:
            raise ValueError("at least one of lambda_con, lambda_3d and lambda_v must be above 0")
        return self


class OptimizerConfig(Section):
    """AdamW and its schedule."""

    learning_rate: Positive = 5e-4
    """Peak learning rate."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay, on matrices only."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the moment estimates."""
    clip_norm: NonNegative = 1.0
    """Largest gradient norm; 0 turns clipping off."""
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    """Shape of the decay after warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    """Steps of linear warm-up."""
    final_ratio: Fraction = 0.01
    """Learning rate at the last step over the peak."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule == "exponential" and self.final_ratio == 0:
            raise ValueError("final_ratio must be above 0 with schedule=exponential, which never reaches 0")
        return self


class TrainConfig(Section):
    """Length, batch, precision and rhythm of a run."""

    epochs: Positive = 300.0
    """Passes over the training windows, where max_steps is not set."""
    max_steps: Count | None = None
    """Optimizer updates; overrides epochs."""
    global_batch_size: Count = 16
    """Windows per optimizer update, over all ranks and accumulation."""
    micro_batch_size: Count | None = None
    """Windows per rank and forward pass; default: global_batch_size over ranks."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of activations; weights stay float32. auto: bfloat16 on a GPU that has it."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage: what ranks share out. 1: optimizer state, 2: gradients too, 3: weights too."""
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """Keep in the host's memory: the optimizer's state (stages 1 to 3), or the weights too (stage 3)."""
    num_threads: Count | None = None
    """CPU threads per rank; default: the machine's cores over its ranks."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    log_every: Count = 10
    """Steps between two lines of metrics."""
    evaluate_every: Count | None = None
    """Steps between two evaluations; default: only at the end."""
    checkpoint_every: Count = 1000
    """Steps between two checkpoints; one is always written at the end."""
    keep_checkpoints: Count = 3
    """Newest checkpoints that are kept; the best one is kept besides."""
    best_metric: str | None = None
    """Metric that chooses the best checkpoint; default: mpjpe_mm of the last evaluation condition."""
    start_timeout: Positive = 300.0
    """Seconds that ranks wait for each other at the start."""
    hang_timeout: Positive = 600.0
    """Seconds without progress of a rank after which the run is ended, naming the rank."""
    stop_grace: Positive = 20.0
    """Seconds from a request to stop until a rank that cannot save leaves without saving."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        lowest = {"none": 0, "optimizer": 1, "parameters": 3}[self.offload]
        if self.zero_stage < lowest:
            raise ValueError(f"offload={self.offload} needs zero_stage={lowest} or higher")
        return self


class EvaluationConfig(Section):
    """What an evaluation does."""

    conditions: tuple[Literal["clean", "noisy", "masked"], ...] = ("clean", "noisy", "masked")
    """2D input: exact projection, with detector noise, with noise and masking as in training."""
    batch_size: Count = 16
    """Windows per rank and forward pass."""
    max_windows: Count | None = None
    """Evaluate only the first windows of the split; default: all."""
    num_pictures: Annotated[int, Field(ge=0)] = 4
    """Pictures of predicted against true skeletons."""


class TrackingConfig(Section):
    """MLflow."""

    enabled: bool = True
    """Record the run."""
    uri: str = "sqlite:///mlflow.db"
    """Tracking URI; an SQLite file needs no server."""
    experiment: str = "langpose-pretrain"
    """Experiment that the run belongs to."""
    run_name: str | None = None
    """Name of the run; default: the run folder's name."""
    register_as: str | None = None
    """Register the final model under this name."""
    alias: str = "candidate"
    """Alias that is set on the registered version."""
    required: bool = False
    """Refuse to start while the store does not answer; otherwise the run is sent when it does."""
    parent_run_id: str | None = None
    """Run that this one belongs under, such as a sweep's: its id in MLflow, or its tag langpose.run_uid."""


class RegistryConfig(Section):
    """The gate that a registered model passes to be promoted."""

    metrics: tuple[str, ...] = ("masked/mpjpe_mm", "clean/mpjpe_mm")
    """CONDITION/METRIC in which it must be no worse than the model that it replaces."""
    tolerance: NonNegative = 0.0
    """Share of the replaced model's value by which it may be worse all the same."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for metric in self.metrics:
            if not re.fullmatch(r"(clean|noisy|masked)/\w+", metric):
                raise ValueError(f"metrics: {metric!r} must be CONDITION/METRIC, such as masked/mpjpe_mm")
        if not self.metrics:
            raise ValueError("metrics must name at least one, such as masked/mpjpe_mm")
        return self


class RunConfig(Section):
    """Everything that defines a run."""

    output: str = "runs/pretrain"
    """Folder of the run: configuration, metrics, checkpoints, weights."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of weights, order, cameras, noise, masks and negatives."""
    data: DataConfig = DataConfig()
    window: WindowConfig = WindowConfig()
    camera: CameraConfig = CameraConfig()
    noise: NoiseConfig = NoiseConfig()
    masking: MaskingConfig = MaskingConfig()
    model: ModelConfig = ModelConfig()
    text: TextConfig = TextConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    registry: RegistryConfig = RegistryConfig()

    @property
    def best_metric(self) -> str | None:
        """Full name of the metric that chooses the best checkpoint; ``None`` where nothing is evaluated."""
        conditions = self.evaluation.conditions
        name = self.train.best_metric or (f"{conditions[-1]}/mpjpe_mm" if conditions else None)
        return name and f"{self.data.validation_split}/{name}"

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
        """First 16 hex digits of the SHA-256 of all keys but those that say where and how often, not what."""
        content = {key: value for key, value in self.to_flat().items() if not CIRCUMSTANCE.fullmatch(key)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _public(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value
