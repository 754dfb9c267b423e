"""One evaluation, right on any number of ranks: pose errors, label retrieval and losses on a split.

Every window is seen exactly once. Values per window are gathered before anything is averaged, so N ranks
report what one would.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation, WindowDataset
from langpose_dist.data.loader import evaluation_requests, load_batches
from langpose_dist.geometry import observe
from langpose_dist.metrics.pose import mpjpe, mpjve, n_mpjpe, p_mpjpe
from langpose_dist.metrics.retrieval import (
    chance_median_rank,
    chance_recall,
    label_ranks,
    median_rank,
    recall_at,
)
from langpose_dist.tasks.pretrain import PretrainTask
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.processes import Processes

_POSE_METRICS = {"mpjpe_mm": mpjpe, "p_mpjpe_mm": p_mpjpe, "n_mpjpe_mm": n_mpjpe}
_MEAN_POSE_WINDOWS = 2000

SOURCE_2D = "synthetic: ground-truth 3D through a virtual camera"
"""Of every evaluation here."""

PROTOCOL = {
    "mpjpe_mm": "mean per-joint position error over all valid frames, pelvis at 0, camera axes",
    "p_mpjpe_mm": "the same after the best rotation, translation and scale of each frame",
    "n_mpjpe_mm": "the same after the best scale of each frame",
    "mpjve_mm_s": "mean per-joint velocity error",
    "r_at_k": "share of windows with the own label among the k most similar of all; ties count against",
    "mean_pose": "mean of the training targets in camera axes, given as answer for every frame",
    "chance": "a uniform guess among all labels; most_frequent_r_at_1: always training's most frequent label",
    "condition": "2D input: clean is exact, noisy has detector noise, masked also training's masks",
    "windows": "every frame of the split in exactly one window; one camera and one label span drawn for each",
}


@dataclass(frozen=True)
class Picture:
    """One window with its prediction, on the CPU."""

    key: str
    condition: str
    label: str | None
    keypoints_2d: Float[Tensor, "T J 3"]
    true_poses: Float[Tensor, "T J 3"]
    predicted_poses: Float[Tensor, "T J 3"]
    hidden: Tensor


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    split: str
    num_windows: int
    num_frames: int
    num_labelled: int
    num_labels: int
    conditions: Mapping[str, Mapping[str, float]]
    """Condition -> metric -> value."""
    mean_pose: Mapping[str, float]
    chance: Mapping[str, float]
    pictures: tuple[Picture, ...]

    def metrics(self) -> dict[str, float]:
        """Flat names for curves and tracking, such as ``validation/masked/mpjpe_mm``."""
        named = {**self.conditions, "mean_pose": self.mean_pose, "chance": self.chance}
        return {
            f"{self.split}/{group}/{name}": value
            for group, values in named.items()
            for name, value in values.items()
        }

    def report(self, **origin: Any) -> dict[str, Any]:
        """Plain containers for JSON: the numbers with all that they need to be understood.

        Args:
            **origin: Data fingerprint, configuration hash, commit and the like.
        """
        return {
            "split": self.split,
            "source_2d": SOURCE_2D,
            "num_windows": self.num_windows,
            "num_frames": self.num_frames,
            "num_labelled_windows": self.num_labelled,
            "num_labels": self.num_labels,
            "conditions": {name: dict(values) for name, values in self.conditions.items()},
            "mean_pose": dict(self.mean_pose),
            "chance": dict(self.chance),
            "protocol": PROTOCOL,
            **origin,
        }


class Evaluator:
    """Evaluates a task on one split, as often as asked.

    Args:
        corpus: The data.
        config: Windows, cameras, conditions and batch size.
        processes: This run's ranks; all of them call ``run``.
    """

    def __init__(self, corpus: Corpus, config: RunConfig, processes: Processes) -> None:
        self.corpus = corpus
        self.config = config
        self.processes = processes
        self.split = config.data.validation_split
        windows = corpus.windows(self.split, stride=config.window.num_frames)
        self.windows = windows[: config.evaluation.max_windows]
        self._gate = Gate(processes)
        self._mean_pose: dict[str, float] | None = None

    @torch.no_grad()
    def run(self, task: PretrainTask, gate: Gate | None = None) -> Evaluation:
        """Evaluate in every configured condition; the task's mode is put back afterwards.

        Args:
            task: With the weights to evaluate.
            gate: Where all ranks agree to go on, before each batch; ``None`` to go on whatever happens.

        Raises:
            UserError: If this rank's data cannot be read, without a gate.
            Interrupted, DataFailure: From the gate.
        """
        self._gate = gate or Gate(self.processes)
        conditions: dict[str, dict[str, float]] = {}
        rows = Rows(0, 0, 0, 0)
        pictures: list[Picture] = []
        with _evaluation_mode(task):
            text_features = task.text_features() if task.is_contrastive else None
            for condition in self.config.evaluation.conditions:
                dataset = self.corpus.dataset(self.windows, Augmentation.evaluation(condition))
                rows, conditions[condition] = self._condition(
                    task, dataset, text_features, condition, pictures
                )
            # Of the data alone: the same however often the model is evaluated.
            if self._mean_pose is None:
                self._mean_pose = self._evaluate_mean_pose()
        num_labels = len(self.corpus.vocabulary)
        return Evaluation(
            split=self.split,
            num_windows=rows.windows,
            num_frames=rows.frames,
            num_labelled=rows.labelled,
            num_labels=num_labels,
            conditions=conditions,
            mean_pose=self._mean_pose,
            chance={
                "r_at_1": chance_recall(num_labels, 1),
                "r_at_3": chance_recall(num_labels, 3),
                "median_rank": chance_median_rank(num_labels),
                "most_frequent_r_at_1": rows.most_frequent / rows.labelled,
            }
            if rows.labelled
            else {},
            pictures=tuple(pictures),
        )

    def _condition(
        self,
        task: PretrainTask,
        dataset: WindowDataset,
        text_features: Tensor | None,
        condition: str,
        pictures: list[Picture],
    ) -> tuple["Rows", dict[str, float]]:
        records: list[dict[str, float]] = []
        for windows in self._batches(dataset, f"evaluate {condition}"):
            batch, output = task.lift(windows)
            columns = task.loss_terms(batch, output)
            columns |= _pose_columns(output.poses_3d, batch)
            per_second = 1000 * self.corpus.manifest.fps
            columns["mpjve_mm_s"] = mpjve(output.poses_3d, batch.poses_3d, batch.frame_mask) * per_second
            if text_features is not None and output.motion_features is not None:
                columns["rank"] = _ranks(output.motion_features, text_features, batch)
                columns["label"] = batch.label_candidates[:, 0]
            records += _records(columns, windows)
            if self.processes.is_main and condition == self.config.evaluation.conditions[-1]:
                self._add_pictures(pictures, windows, batch, output.poses_3d, condition)
        return self._summarise(records)

    def _batches(self, dataset: WindowDataset, title: str) -> Iterator[WindowBatch]:
        requests = evaluation_requests(
            len(dataset), self.config.evaluation.batch_size, self.processes.rank, self.processes.world_size
        )
        batches = load_batches(dataset, requests, num_workers=self.config.data.num_workers)
        shown = tqdm(total=len(requests), desc=title, leave=False, disable=not self.processes.is_main)
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

    def _summarise(self, records: list[dict[str, float]]) -> tuple["Rows", dict[str, float]]:
        """Join all ranks' windows in one order, then average: frames for poses, windows for losses."""
        everyone = [record for part in self.processes.gather(records) for record in part]
        everyone.sort(key=lambda record: record["position"])
        frames = torch.tensor([record["num_frames"] for record in everyone], dtype=torch.float64)
        pairs = (frames - 1).clamp(min=0)
        weights = dict.fromkeys(_POSE_METRICS, frames) | {"mpjve_mm_s": pairs}
        values: dict[str, float] = {}
        for name in everyone[0]:
            if name in ("position", "num_frames", "rank", "label"):
                continue
            column = torch.tensor([record[name] for record in everyone], dtype=torch.float64)
            weight = weights.get(name, torch.ones_like(column))
            if not weight.any():
                continue
            # A window of one frame has no velocity: NaN of weight 0.
            values[name] = float(torch.where(weight > 0, column * weight, 0).sum() / weight.sum())
        labelled = [record for record in everyone if record.get("rank", 0) > 0]
        ranks = torch.tensor([int(record["rank"]) for record in labelled])
        counts = self.corpus.vocabulary.counts
        most_frequent = sum(record["label"] == counts.index(max(counts)) for record in labelled)
        if len(ranks):
            values |= {
                "r_at_1": recall_at(ranks, 1),
                "r_at_3": recall_at(ranks, 3),
                "median_rank": median_rank(ranks),
            }
        return Rows(len(everyone), int(frames.sum()), len(ranks), most_frequent), values

    def _evaluate_mean_pose(self) -> dict[str, float]:
        if self.config.data.train_split not in self.corpus.manifest.splits:
            return {}
        mean_pose = self._compute_mean_pose()
        dataset = self.corpus.dataset(self.windows, Augmentation.evaluation("clean"))
        records: list[dict[str, float]] = []
        for windows in self._batches(dataset, "evaluate mean pose"):
            batch = observe(windows, self.config.camera, self.config.noise)
            predicted = mean_pose.expand_as(batch.poses_3d)
            records += _records(_pose_columns(predicted, batch), windows)
        return self._summarise(records)[1]

    def _compute_mean_pose(self) -> Float[Tensor, "J 3"]:
        """Mean target over the training split, of which at most 2,000 windows spread evenly are read."""
        windows = self.corpus.windows(self.config.data.train_split, stride=self.config.window.num_frames)
        windows = windows[:: -(-len(windows) // _MEAN_POSE_WINDOWS)]
        flip = self.config.data.flip_probability
        dataset = self.corpus.dataset(
            windows, Augmentation(noise=False, masking=False, flip_probability=flip)
        )
        total = torch.zeros(17, 3, dtype=torch.float64)
        count = 0.0
        for batch_windows in self._batches(dataset, "mean training pose"):
            batch = observe(batch_windows, self.config.camera, self.config.noise)
            counted = batch.frame_mask & (batch_windows.positions >= 0)[:, None]
            total += batch.poses_3d[counted].double().sum(dim=0).cpu()
            count += float(counted.sum())
        parts = self.processes.gather((total.tolist(), count))
        total = torch.tensor([part[0] for part in parts], dtype=torch.float64).sum(dim=0)
        mean = total / sum(part[1] for part in parts)
        return mean.float().to(self.processes.device)

    def _add_pictures(
        self,
        pictures: list[Picture],
        windows: WindowBatch,
        batch: MotionBatch,
        predicted: Tensor,
        condition: str,
    ) -> None:
        for row, key in enumerate(windows.keys):
            if len(pictures) == self.config.evaluation.num_pictures:
                return
            if windows.positions[row] < 0:
                continue
            label = int(batch.label_candidates[row, 0])
            valid = batch.frame_mask[row]
            pictures.append(
                Picture(
                    key=key,
                    condition=condition,
                    label=self.corpus.vocabulary.labels[label] if label >= 0 else None,
                    keypoints_2d=batch.keypoints_2d[row][valid].cpu(),
                    true_poses=batch.poses_3d[row][valid].cpu(),
                    predicted_poses=predicted[row][valid].float().cpu(),
                    hidden=windows.joint_mask[row][valid].cpu(),
                )
            )


@dataclass(frozen=True)
class Rows:
    """How much an evaluation saw."""

    windows: int
    frames: int
    labelled: int
    most_frequent: int
    """Windows that carry training's most frequent label."""


def _pose_columns(predicted: Tensor, batch: MotionBatch) -> dict[str, Tensor]:
    return {
        name: metric(predicted, batch.poses_3d, batch.frame_mask) * 1000
        for name, metric in _POSE_METRICS.items()
    }


def _ranks(motion_features: Tensor, text_features: Tensor, batch: MotionBatch) -> Tensor:
    """Rank of each window's label; 0 where there is none."""
    own = batch.label_candidates[:, 0]
    ranks = label_ranks(motion_features, text_features, own.clamp(min=0))
    return torch.where(own >= 0, ranks, 0)


def _records(columns: Mapping[str, Tensor], windows: WindowBatch) -> list[dict[str, float]]:
    """One record per window that counts."""
    named = {**columns, "position": windows.positions, "num_frames": windows.frame_mask.sum(dim=1)}
    lists = {name: column.tolist() for name, column in named.items()}
    return [
        {name: values[row] for name, values in lists.items()}
        for row, position in enumerate(lists["position"])
        if position >= 0
    ]


@contextmanager
def _evaluation_mode(task: torch.nn.Module) -> Iterator[None]:
    training = task.training
    task.eval()
    try:
        yield
    finally:
        task.train(training)


def draw_pictures(pictures: Iterable[Picture], folder: Path) -> list[Path]:
    """Draw predicted against true skeletons, one PNG per window."""
    from langpose_dist.report.plots import draw_skeletons

    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number, picture in enumerate(pictures):
        path = folder / f"skeletons-{number:02d}.png"
        title = f"{picture.key}: {picture.label or 'no label'} ({picture.condition} input)"
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
