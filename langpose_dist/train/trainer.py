"""The training loop: one for one process and for many."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.loader import TrainingStream, load_batches, stream_batches
from langpose_dist.data.streaming import StreamingWindows
from langpose_dist.train.checkpoint import TrainState, save_checkpoint
from langpose_dist.train.engine import micro_batch_size
from langpose_dist.train.evaluate import Evaluation, Evaluator
from langpose_dist.train.guard import FiniteGuard
from langpose_dist.train.metrics_file import MetricsFile
from langpose_dist.train.processes import Processes
from langpose_dist.train.tracker import Tracker


class Trainer:
    """Runs optimizer updates from a position of the stream to the run's end.

    Args:
        config: The run.
        run_dir: Its folder.
        processes: Its ranks.
        corpus: Its data.
        engine: The DeepSpeed engine around a ``PretrainTask``.
        evaluator: Evaluates between steps.
        tracker: Records metrics; used on rank 0.
        num_steps: Updates in the whole run.
        state: Where to start.
    """

    def __init__(
        self,
        *,
        config: RunConfig,
        run_dir: Path,
        processes: Processes,
        corpus: Corpus,
        engine: Any,
        evaluator: Evaluator,
        tracker: Tracker,
        num_steps: int,
        state: TrainState,
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.processes = processes
        self.corpus = corpus
        self.engine = engine
        self.evaluator = evaluator
        self.tracker = tracker
        self.num_steps = num_steps
        self.step = state.step
        self.position = state.position
        self.micro_batch_size = micro_batch_size(config, processes.world_size)
        self.micro_steps = config.train.global_batch_size // (self.micro_batch_size * processes.world_size)
        self.guard = FiniteGuard(processes)
        self.metrics_file = MetricsFile(run_dir / "metrics.jsonl", self.step) if processes.is_main else None
        self.term_names: list[str] = []
        self.evaluation: Evaluation | None = None
        self.learning_rate = 0.0
        self._since_log = torch.zeros(0)
        self._steps_since_log = 0
        self._logged_at = time.monotonic()

    def run(self) -> None:
        """Train to the end, with checkpoints and evaluations on the way."""
        self.engine.train()
        with (
            closing(self.batches()) as batches,
            tqdm(
                total=self.num_steps,
                initial=self.step,
                desc="train",
                unit="step",
                disable=not self.processes.is_main,
            ) as bar,
        ):
            while self.step < self.num_steps:
                self.train_step(batches)
                bar.update()
                if self._is_due(self.config.train.log_every):
                    self._log(bar)
                if self.config.train.evaluate_every and self._is_due(self.config.train.evaluate_every):
                    self.evaluate()
                if self._is_due(self.config.train.checkpoint_every):
                    self.save()

    def train_step(self, batches: Iterator[WindowBatch]) -> None:
        """One optimizer update: all its micro steps, then the clipped step."""
        sums: Tensor | None = None
        losses: list[tuple[tuple[str, ...], Tensor]] = []
        for micro_step in range(self.micro_steps):
            windows = next(batches)
            self._seed_dropout(micro_step)
            terms = self.engine(windows.to(self.processes.device, non_blocking=True))
            means = {name: values.mean() for name, values in terms.items()}
            self.engine.backward(means["loss"])
            self.term_names = list(means)
            stacked = torch.stack([value.detach() for value in means.values()])
            sums = stacked if sums is None else sums + stacked
            losses.append((windows.keys, terms["loss"].detach()))
            if micro_step < self.micro_steps - 1:
                self.engine.step()
        assert sums is not None
        average = self.processes.sum(sums) / (self.micro_steps * self.processes.world_size)
        self.learning_rate = self.engine.get_lr()[0]
        # A sharded gradient has its norm only after the step, which the engine skips if it is not finite.
        is_sharded = self.config.train.zero_stage > 0
        if is_sharded:
            self.engine.step()
        summary = torch.cat((average, self._gradient_norm()[None]))
        self.guard.watch(self.step + 1, summary, losses)
        if not is_sharded:
            self.engine.step()
        self.step += 1
        self.position += self.config.train.global_batch_size
        self._since_log = summary if self._steps_since_log == 0 else self._since_log + summary
        self._steps_since_log += 1

    def evaluate(self) -> Evaluation:
        """Evaluate, and record the numbers at this step."""
        self.guard.flush()
        with self._untimed():
            self.evaluation = self.evaluator.run(self.engine.module)
            self._record(self.evaluation.metrics())
        return self.evaluation

    def save(self) -> Path:
        """Write a checkpoint of this step."""
        self.guard.flush()
        state = TrainState(
            step=self.step,
            position=self.position,
            world_size=self.processes.world_size,
            zero_stage=self.config.train.zero_stage,
            data_fingerprint=self.corpus.manifest.fingerprint,
        )
        with self._untimed():
            folder, keep = self.run_dir / "checkpoints", self.config.train.keep_checkpoints
            return save_checkpoint(self.engine, folder, state, self.processes, keep=keep)

    @contextmanager
    def _untimed(self) -> Iterator[None]:
        """Leave out of training's speed what is not training."""
        start = time.monotonic()
        yield
        self._logged_at += time.monotonic() - start

    def batches(self) -> Generator[WindowBatch, None, None]:
        """This rank's micro batches from the current position on."""
        dataset, data = self.corpus.training_set, self.config.data
        how = {"num_workers": data.num_workers, "pin_memory": self.processes.device.type == "cuda"}
        if data.order == "streaming":
            windows = StreamingWindows(
                dataset,
                seed=self.config.seed,
                position=self.position,
                micro_batch_size=self.micro_batch_size,
                shuffle_buffer=data.shuffle_buffer,
                rank=self.processes.rank,
                world_size=self.processes.world_size,
            )
            return stream_batches(windows, **how)
        stream = TrainingStream(
            len(dataset),
            seed=self.config.seed,
            position=self.position,
            global_batch_size=self.config.train.global_batch_size,
            micro_batch_size=self.micro_batch_size,
            rank=self.processes.rank,
            world_size=self.processes.world_size,
        )
        return load_batches(dataset, stream, **how)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.num_steps

    def _seed_dropout(self, micro_step: int) -> None:
        # Dropout is a function of the stream's position too, so no generator state needs to be kept.
        place = (
            self.position * self.processes.world_size + self.processes.rank
        ) * self.micro_steps + micro_step
        torch.manual_seed((self.config.seed * 0x9E3779B97F4A7C15 + place) % 2**63)

    def _gradient_norm(self) -> Tensor:
        """Norm of the whole gradient before clipping."""
        if self.config.train.zero_stage == 0:
            gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
            return torch.nn.utils.get_total_norm(gradients)
        norm = self.engine.get_global_grad_norm()
        return torch.as_tensor(
            0.0 if norm is None else norm, dtype=torch.float32, device=self.processes.device
        )

    def _log(self, bar: tqdm) -> None:
        """Averages since the last log."""
        if self._steps_since_log == 0:
            return
        averages = (self._since_log / self._steps_since_log).tolist()
        values = dict(zip([*self.term_names, "gradient_norm"], averages, strict=True))
        now = time.monotonic()
        windows = self._steps_since_log * self.config.train.global_batch_size
        rate = windows / (now - self._logged_at)
        self._logged_at, self._steps_since_log = now, 0
        bar.set_postfix(
            {name: f"{values[name]:.3g}" for name in self.term_names} | {"clips/s": f"{rate:.1f}"},
            refresh=False,
        )
        self._record(
            {f"train/{name}": value for name, value in values.items()}
            | {
                "train/learning_rate": self.learning_rate,
                "train/clips_per_second": rate,
                "train/epoch": self.position / len(self.corpus.training_set),
            }
        )

    def _record(self, metrics: dict[str, float]) -> None:
        if self.metrics_file is not None:
            self.metrics_file.append(metrics, self.step)
            self.tracker.log_metrics(metrics, self.step)
