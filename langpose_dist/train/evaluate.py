"""One evaluation, right on any number of ranks.

Every window is seen exactly once. The task gives values per window; all ranks' values are gathered and put in
one order before anything is averaged, so N ranks report what one would.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation, WindowDataset
from langpose_dist.data.loader import evaluation_requests, load_batches
from langpose_dist.host.atomic import write_text
from langpose_dist.host.bars import Bar
from langpose_dist.metrics.table import metric_of
from langpose_dist.tasks.task import Caption, Columns, Picture, Scores, Task, protocol_of
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.processes import Processes

_MEAN_TARGET_WINDOWS = 2000
"""Training windows, spread evenly, that the mean target is taken over."""

SOURCES_2D = {
    "camera": "synthetic: ground-truth 3D through a virtual camera",
    "stored": "stored: 2D joints of the data set",
}
"""``data.observation`` -> 2D source, as reports name it."""

Record = dict[str, tuple[float, float]]
"""Metric -> value and weight of one window; ``position`` and ``num_frames`` besides."""


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one evaluation."""

    split: str
    source_2d: str
    num_windows: int
    num_frames: int
    conditions: Mapping[str, Mapping[str, float]]
    """Condition -> metric -> value."""
    baselines: Mapping[str, Mapping[str, float]]
    """Name of an answer that needs no model -> metric -> value."""
    facts: Mapping[str, Any]
    """Further entries of the report, as the task gives them."""
    protocol: Mapping[str, str]
    pictures: tuple[tuple[str, Picture], ...]
    """Condition and picture."""
    captions: tuple[Caption, ...] | None = None
    """Generated from the last condition's input; ``None`` where nobody asked, or the task has none."""

    def metrics(self) -> dict[str, float]:
        """Flat names for curves and tracking, such as ``validation/masked/mpjpe_mm``."""
        return {
            f"{self.split}/{group}/{name}": value
            for group, values in {**self.conditions, **self.baselines}.items()
            for name, value in values.items()
        }

    def report(self, **origin: Any) -> dict[str, Any]:
        """Plain containers for JSON: the numbers with all that they need to be understood.

        The origin is the data's fingerprint, the configuration's hash, the commit and the like.
        """
        return {
            "split": self.split,
            "source_2d": self.source_2d,
            "num_windows": self.num_windows,
            "num_frames": self.num_frames,
            **self.facts,
            "conditions": {name: dict(values) for name, values in self.conditions.items()},
            **{name: dict(values) for name, values in self.baselines.items()},
            "protocol": dict(self.protocol),
            **origin,
        }


class Evaluator:
    """Evaluates a task on one split, as often as asked; all ranks call ``run``."""

    def __init__(self, corpus: Corpus, config: RunConfig, processes: Processes) -> None:
        self.corpus = corpus
        self.config = config
        self.processes = processes
        self.split = config.data.validation_split
        windows = corpus.windows(self.split, stride=config.window.num_frames)
        self.windows = windows[: config.evaluation.max_windows]
        self._gate = Gate(processes)
        self._baselines: dict[str, dict[str, float]] | None = None

    @torch.no_grad()
    def run(self, task: Task, gate: Gate | None = None, *, with_captions: bool = True) -> Evaluation:
        """Evaluate in every configured condition; at a gate all ranks agree to continue before each batch.

        Args:
            task: The task.
            gate: Of a training; ``None`` outside of one.
            with_captions: Generate captions too, where the task has some.

        Raises:
            UserError: If this rank's data cannot be read, without a gate.
            Interrupted, DataFailure: From the gate.
        """
        self._gate = gate or Gate(self.processes)
        conditions: dict[str, dict[str, float]] = {}
        pictures: list[tuple[str, Picture]] = []
        records: list[Record] = []
        captions: dict[int, Caption] | None = {} if with_captions else None
        with _evaluation_mode(task):
            score = task.scorer()
            for condition in self.config.evaluation.conditions:
                records = self._condition(score, condition, pictures, captions)
                means = _means(records)
                # The weighted sum of the loss terms that have a value.
                loss = sum(weight * means[name] for name, weight in task.weights.items() if name in means)
                conditions[condition] = {**means, "loss": loss}
            # A property of the data alone: the same however often a model is evaluated.
            if self._baselines is None:
                self._baselines = self._evaluate_baselines(task)
        return Evaluation(
            split=self.split,
            source_2d=SOURCES_2D[self.config.data.observation],
            num_windows=len(records),
            num_frames=int(sum(record["num_frames"][0] for record in records)),
            conditions=conditions,
            baselines=self._baselines,
            facts=task.facts(_counts(records)),
            protocol=protocol_of(type(task)),
            pictures=tuple(pictures),
            captions=self._gather_captions(captions),
        )

    def _condition(
        self,
        score: Callable[[WindowBatch], Scores],
        condition: str,
        pictures: list[tuple[str, Picture]],
        captions: dict[int, Caption] | None,
    ) -> list[Record]:
        is_last = condition == self.config.evaluation.conditions[-1]
        dataset = self.corpus.dataset(self.windows, Augmentation.evaluation(condition))
        records: list[Record] = []
        for windows in self._batches(dataset, f"evaluate {condition}"):
            scores = score(windows)
            records += _records(scores.columns, windows)
            if captions is not None and is_last and scores.captions is not None:
                captions |= dict(zip(windows.positions.tolist(), scores.captions(), strict=True))
            if self.processes.is_main and is_last and scores.picture is not None:
                missing = self.config.evaluation.num_pictures - len(pictures)
                rows = [row for row, position in enumerate(windows.positions.tolist()) if position >= 0]
                pictures += [(condition, scores.picture(row)) for row in rows[:missing]]
        return self._gather(records)

    def _batches(self, dataset: WindowDataset, title: str) -> Iterator[WindowBatch]:
        requests = evaluation_requests(
            len(dataset), self.config.evaluation.batch_size, self.processes.rank, self.processes.world_size
        )
        batches = load_batches(dataset, requests, num_workers=self.config.data.num_workers)
        shown = Bar(len(requests), title, "batch", is_kept=False, is_shown=self.processes.is_main)
        with closing(batches), shown:
            for _ in requests:
                try:
                    windows = next(batches)
                except UserError as error:
                    self._gate.check(title, error)
                    raise
                self._gate.check(title)
                shown.update()
                yield windows.to(self.processes.device)

    def _gather(self, records: list[Record]) -> list[Record]:
        """All ranks' windows in one order."""
        everyone = [record for part in self.processes.gather(records) for record in part]
        return sorted(everyone, key=lambda record: record["position"][0])

    def _gather_captions(self, captions: dict[int, Caption] | None) -> tuple[Caption, ...] | None:
        """All ranks' captions in the order of their windows, fillers left out."""
        if captions is None:
            return None
        everyone = {place: one for part in self.processes.gather(captions) for place, one in part.items()}
        return tuple(everyone[place] for place in sorted(everyone) if place >= 0) or None

    def _evaluate_baselines(self, task: Task) -> dict[str, dict[str, float]]:
        has_training = self.config.data.train_split in self.corpus.manifest.splits
        mean_target = self._mean_target(task.target) if has_training else None
        dataset = self.corpus.dataset(self.windows, Augmentation.evaluation("clean"))
        records: dict[str, list[Record]] = {}
        for windows in self._batches(dataset, "evaluate baselines"):
            for name, columns in task.baselines(windows, mean_target).items():
                records.setdefault(name, []).extend(_records(columns, windows))
        return {name: _means(self._gather(found)) for name, found in records.items()}

    def _mean_target(self, target: Callable[[WindowBatch], tuple[Tensor, Tensor] | None]) -> Tensor | None:
        """Mean over the training split, mirrored windows included; ``None`` if the task has no target."""
        windows = self.corpus.windows(self.config.data.train_split, stride=self.config.window.num_frames)
        windows = windows[:: -(-len(windows) // _MEAN_TARGET_WINDOWS)]
        flip = self.config.data.flip_probability
        dataset = self.corpus.dataset(
            windows, Augmentation(noise=False, masking=False, flip_probability=flip)
        )
        total: Tensor | None = None
        count = 0.0
        for batch in self._batches(dataset, "mean training target"):
            if (found := target(batch)) is None:
                return None
            values, mask = found
            counted = mask & (batch.positions >= 0)[:, None]
            part = values[counted].double().sum(dim=0).cpu()
            total = part if total is None else total + part
            count += float(counted.sum())
        parts = self.processes.gather((None if total is None else total.tolist(), count))
        sums = [torch.tensor(part[0], dtype=torch.float64) for part in parts if part[0] is not None]
        mean = torch.stack(sums).sum(dim=0) / sum(part[1] for part in parts)
        return mean.float().to(self.processes.device)


def _records(columns: Columns, windows: WindowBatch) -> list[Record]:
    """One record per window that is no filler."""
    positions = windows.positions.tolist()
    ones = [1.0] * len(positions)
    lists = {
        "position": (positions, ones),
        "num_frames": (windows.frame_mask.sum(dim=1).tolist(), ones),
    } | {
        name: (column.values.tolist(), ones if column.weights is None else column.weights.tolist())
        for name, column in columns.items()
    }
    return [
        {name: (float(values[row]), float(weights[row])) for name, (values, weights) in lists.items()}
        for row, position in enumerate(positions)
        if position >= 0
    ]


def _means(records: list[Record]) -> dict[str, float]:
    """Weighted mean, or median where the metric's row says so, of every column that has a value."""
    found: dict[str, float] = {}
    for name in records[0] if records else ():
        if name in ("position", "num_frames"):
            continue
        pairs = [record[name] for record in records if record[name][1] > 0]
        if not pairs:
            continue
        values, weights = torch.tensor(pairs, dtype=torch.float64).unbind(dim=1)
        if metric_of(name).reduction == "median":
            found[name] = float(values.quantile(0.5))
        else:
            found[name] = float((values * weights).sum() / weights.sum())
    return found


def _counts(records: list[Record]) -> dict[str, int]:
    """Metric -> windows that have a value of it."""
    names = records[0] if records else ()
    return {name: sum(record[name][1] > 0 for record in records) for name in names}


def write_captions(path: Path, captions: Iterable[Caption]) -> None:
    """Write captions as JSON lines."""
    write_text(path, "".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in captions))


@contextmanager
def _evaluation_mode(task: torch.nn.Module) -> Iterator[None]:
    training = task.training
    task.eval()
    try:
        yield
    finally:
        task.train(training)


def draw_pictures(pictures: Iterable[tuple[str, Picture]], folder: Path) -> list[Path]:
    """Draw predicted against true skeletons, one PNG per window."""
    from langpose_dist.report.plots import draw_skeletons

    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number, (condition, picture) in enumerate(pictures):
        path = folder / f"skeletons-{number:02d}.png"
        title = f"{picture.key}: {picture.label or 'no label'} ({condition} input)"
        draw_skeletons(
            path,
            picture.true_poses,
            picture.predicted_poses,
            title=title,
            hidden=picture.hidden,
            keypoints_2d=picture.keypoints_2d,
        )
        paths.append(path)
    return paths
