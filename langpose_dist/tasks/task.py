"""The seam between a task and everything that trains, evaluates, records and registers it.

A task is a model with its losses and its evaluation. The loop, checkpoints, resume, evaluation on N ranks,
tracking, sweeps and the registry know no more of it than the class ``Task`` says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, Section, UserError
from langpose_dist.config.tasks import load_task_class
from langpose_dist.data.corpus import Corpus
from langpose_dist.metrics.table import metric_of


@dataclass(frozen=True)
class Column:
    """One number per window, and what each weighs in the mean."""

    values: Float[Tensor, "B"]
    weights: Tensor | None = None
    """Such as the window's valid frames; 0 where the window has no value. ``None``: all weigh the same."""


Columns = Mapping[str, Column]
"""Metric -> column."""


@dataclass(frozen=True)
class Picture:
    """One window with its prediction, on the CPU."""

    key: str
    label: str | None
    keypoints_2d: Float[Tensor, "T J 3"]
    true_poses: Float[Tensor, "T J 3"]
    predicted_poses: Float[Tensor, "T J 3"]
    hidden: Bool[Tensor, "T J"]


@dataclass(frozen=True)
class Caption:
    """A generated caption with those that people wrote: a line of ``captions.jsonl``."""

    clip: str
    """Key of the clip in the manifest."""
    frames: tuple[int, int]
    """First described frame of the clip, and one past the last."""
    generated: str
    references: tuple[str, ...]
    """In the order of the data, in the same text form as the generated one."""
    text_form: str
    """``words``: the data set's processed words. ``raw``: as written, in lower case."""


@dataclass(frozen=True)
class Scores:
    """Evaluation of one batch."""

    columns: Columns
    picture: Callable[[int], Picture] | None = None
    """Picture of a row of the batch; ``None`` where a task has none."""
    captions: Callable[[], Sequence[Caption]] | None = None
    """Captions of all rows, generated when asked; ``None`` where a task has none."""


@dataclass(frozen=True)
class Interface:
    """Input and output of the registered model: float32 arrays; -1 stands for any size."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str
    """Axes, units and order, for the registry's page."""
    kind: str
    """Kind of model, such as ``pose lifting``."""
    gives_text: bool = False
    """The output is text instead of numbers."""


class Task(nn.Module, ABC):
    """A model with its losses and its evaluation.

    Attributes:
        section: Schema of the configuration section of the task's name, for a task of another package.
        metrics: Rows of ``metrics/table.py`` that its evaluations may hold.
        key_metric: The one of them that chooses the best checkpoint unless the configuration names another.
        protocol: Further entries of a report's protocol, such as what a condition is.
        interface: Input and output of the registered model.
        model: What is checkpointed and exported.
        autocast: Type of the model's activations; ``None`` for float32. Set after building.
    """

    section: ClassVar[type[Section] | None] = None
    metrics: ClassVar[tuple[str, ...]]
    key_metric: ClassVar[str]
    protocol: ClassVar[Mapping[str, str]] = {}
    interface: ClassVar[Interface]
    model: Any
    autocast: torch.dtype | None = None

    @classmethod
    def open(cls, config: RunConfig) -> Corpus:
        """The data as the task uses them.

        Raises:
            UserError: If they cannot be opened.
        """
        return Corpus.open(config)

    @classmethod
    def unmeasured(cls, config: RunConfig, corpus: Corpus) -> Mapping[str, str]:
        """Metric of the task -> reason why evaluations of this data do not give it."""
        return {}

    @classmethod
    @abstractmethod
    def problems(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """Reasons why the task cannot train on this data, one line each, found before anything is built."""

    @classmethod
    def notes(cls, config: RunConfig, corpus: Corpus) -> Iterator[str]:
        """Lines for a person about how the data limits the task, printed at the start."""
        yield from ()

    @classmethod
    @abstractmethod
    def build(cls, config: RunConfig, corpus: Corpus) -> Self:
        """A fresh task with seeded weights, on the CPU.

        Raises:
            UserError: If something that the configuration names cannot be loaded.
        """

    @classmethod
    @abstractmethod
    def wrap(cls, model: nn.Module, config: RunConfig, corpus: Corpus) -> Self:
        """The task around a trained model, to evaluate it."""

    @classmethod
    @abstractmethod
    def rebuild(cls, config: RunConfig, header: Mapping[str, str]) -> nn.Module:
        """The model of an exported file, without memory where it can: its weights are loaded afterwards.

        The header is empty where parameters are counted before there is a file.
        """

    @classmethod
    @abstractmethod
    def predict(cls, model: nn.Module, config: RunConfig, inputs: np.ndarray) -> np.ndarray:
        """Answer of the registered model, as ``interface`` describes it.

        Raises:
            ValueError: If the input is outside of the contract.
        """

    @abstractmethod
    def header(self) -> dict[str, str]:
        """Entries of an export's header that ``rebuild`` needs besides the configuration."""

    @property
    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """Loss term -> weight in the loss; a term of weight 0 is not computed."""

    @abstractmethod
    def forward(self, windows: WindowBatch) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window; 0 where a window has no value of a term."""

    def counted(self, windows: WindowBatch) -> Mapping[str, Bool[Tensor, "B"]]:
        """Term -> windows that have a value of it, for terms of which not every window has one.

        Asked before the batch goes to its device.
        """
        return {}

    def rate_factor(self, name: str) -> float:
        """Learning rate of a parameter of the task over ``optimizer.learning_rate``."""
        return 1.0

    def after_step(self) -> None:
        """Whatever follows an update of the weights, such as an average of them."""

    @abstractmethod
    def scorer(self) -> Callable[[WindowBatch], Scores]:
        """Function that evaluates a batch; made once per evaluation, so it can hold what batches share."""

    def target(self, windows: WindowBatch) -> tuple[Float[Tensor, "B T ..."], Bool[Tensor, "B T"]] | None:
        """Targets and which of them count; ``None`` if their mean would be no answer."""

    def baselines(self, windows: WindowBatch, mean_target: Tensor | None) -> Mapping[str, Columns]:
        """Name -> columns of answers that need no model, such as the mean of the training targets."""
        return {}

    def facts(self, counts: Mapping[str, int]) -> Mapping[str, Any]:
        """Further entries of a report, from the number of windows that had a value of each metric."""
        return {}


def total_loss(
    terms: Mapping[str, Float[Tensor, "B"]], weights: Mapping[str, float], shares: Mapping[str, float]
) -> Float[Tensor, "B"]:
    """Weighted sum of the loss terms per window.

    Args:
        terms: From ``Task.forward``.
        weights: From ``Task.weights``.
        shares: Term -> windows of the global batch over those that have a value of it, so that the mean of
            the sum holds each term's mean over its own windows; 1 for terms that are left out.
    """
    return torch.stack([weights[name] * shares.get(name, 1.0) * terms[name] for name in weights]).sum(dim=0)


def best_metric(task: type[Task], config: RunConfig) -> str | None:
    """Full name of the metric that chooses the best checkpoint; ``None`` where nothing is evaluated."""
    conditions = config.evaluation.conditions
    name = config.train.best_metric or (f"{conditions[-1]}/{task.key_metric}" if conditions else None)
    return name and f"{config.data.validation_split}/{name}"


def check_metric(name: str, config: RunConfig, corpus: Corpus | None = None) -> None:
    """Check that evaluations of a run give a metric.

    Args:
        name: CONDITION/METRIC.
        config: The run's.
        corpus: To look for labels in; ``None`` before it is opened.

    Raises:
        UserError: If they do not, with the nearest name, those that they give, or the reason.
    """
    task, conditions = load_task(config.task), config.evaluation.conditions
    condition, _, metric = name.rpartition("/")
    metric_of(metric)
    if metric not in task.metrics:
        raise UserError(
            f"task={config.task} does not evaluate {metric}; choose one of {', '.join(task.metrics)}"
        )
    if condition not in conditions:
        raise UserError(f"{condition!r} is no condition of evaluation.conditions={list(conditions)}")
    reason = None if corpus is None else task.unmeasured(config, corpus).get(metric)
    if reason:
        raise UserError(f"evaluation does not give {metric}: {reason}")


def protocol_of(task: type[Task]) -> dict[str, str]:
    """Definition of every number in a task's reports."""
    rows = [metric_of(name) for name in task.metrics]
    return {row.protocol_name or row.name: row.protocol for row in rows if row.protocol} | dict(task.protocol)


def rate_problems(header: Mapping[str, str], corpus: Corpus, *, source: str) -> Iterator[str]:
    """Weights, named by ``source``, that were trained at another frame rate than the data has."""
    fps = corpus.manifest.fps
    if float(header.get("fps", fps)) != fps:
        yield (
            f"{source} was trained at {header['fps']} frames per second, data.path={corpus.config.data.path} "
            f"has {fps:g}; build the data at the same rate"
        )


def load_task(name: str) -> type[Task]:
    """Class of a task.

    Raises:
        ConfigError: If no task has the name.
    """
    return load_task_class(name)


def autocast(dtype: torch.dtype | None, device: torch.device) -> torch.autocast:
    """Context of a model's forward pass; losses stay outside of it, in float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
