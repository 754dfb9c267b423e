"""The training loop: one for one process and for many."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.loader import TrainingStream, load_batches
from langpose_dist.data.streaming import StreamingWindows
from langpose_dist.host.bars import Bar
from langpose_dist.metrics.table import higher_is_better
from langpose_dist.models.weights import weights_header
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import MetricsFile
from langpose_dist.runs.tracker import Tracker
from langpose_dist.tasks.task import Task, best_metric, total_loss
from langpose_dist.train.averages import Averages
from langpose_dist.train.checkpoint import (
    CheckpointWriter,
    TrainState,
    checkpoint_name,
)
from langpose_dist.train.distributed.gate import DataFailure, Gate
from langpose_dist.train.distributed.guard import FiniteGuard, TrainingError
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.distributed.stop import Interrupted
from langpose_dist.train.distributed.usage import DeviceUsage
from langpose_dist.train.engine import micro_batch_size
from langpose_dist.train.engine_state import capture
from langpose_dist.train.evaluate import Evaluation, Evaluator

OnEvaluation = Callable[[int, Mapping[str, float], Path], None]
"""Callback after an evaluation: step, metrics by full name, folder of the step's published checkpoint. May
raise ``EarlyStop`` to end the run there."""


class Trainer:
    """Runs optimizer updates from a position of the stream to the run's end."""

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
        gate: Gate,
        num_steps: int,
        state: TrainState,
        origin: Mapping[str, str],
        on_evaluation: OnEvaluation | None = None,
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.folder = RunFolder(run_dir)
        self.processes = processes
        self.corpus = corpus
        self.engine = engine
        self.task: Task = engine.module
        self._parameters = [p for p in self.task.parameters() if p.requires_grad]
        self.evaluator = evaluator
        self.tracker = tracker
        self.gate = gate
        self.num_steps = num_steps
        self.step = state.step
        self.position = state.position
        self.micro_batch_size = micro_batch_size(config, processes.world_size)
        self.micro_steps = config.train.global_batch_size // (self.micro_batch_size * processes.world_size)
        self.guard = FiniteGuard(processes)
        self.usage = DeviceUsage(processes.rank, processes.device)
        self.metrics_file = MetricsFile(self.folder.metrics, self.step) if processes.is_main else None
        self.origin = origin
        self.on_evaluation = on_evaluation
        self.writer = (
            CheckpointWriter(self.folder.checkpoints, keep=config.train.keep_checkpoints, step=state.step)
            if processes.is_main
            else None
        )
        self.term_names: list[str] = []
        self.evaluation: Evaluation | None = None
        self.learning_rate = 0.0
        self.best: tuple[int, float] | None = (
            None
            if state.best_step is None or state.best_value is None
            else (state.best_step, state.best_value)
        )
        self._evaluated_step = state.evaluated_step
        self._saved_step = state.step
        self._since_log = Averages(
            state.since_log, state.counts_since_log, state.steps_since_log, processes.device
        )
        self._logged_at = time.monotonic()

    def run(self) -> Evaluation:
        """Train to the end, with checkpoints and evaluations on the way; returns the last evaluation.

        Raises:
            Interrupted: On every rank, with a checkpoint of the last step, if any rank was asked to stop.
            TrainingError: On every rank, if the loss stops being a number, data cannot be read, or the last
                checkpoint cannot be written.
        """
        try:
            return self._run_and_save()
        finally:
            # Whatever ended the run: a checkpoint that is being written becomes whole, and the process does
            # not leave beneath its thread, which would abort it.
            if self.writer is not None:
                self.writer.wait()

    def _run_and_save(self) -> Evaluation:
        try:
            self._run()
            evaluation = self.evaluation or self.evaluate()
        except Interrupted as stop:
            self._save_last()
            raise Interrupted(
                f"{stop} at step {self.step}; saved, resume with --resume"
                if self.step
                else f"{stop} before the first step; there was nothing to save"
            ) from None
        except DataFailure as failure:
            self._save_last()
            raise TrainingError(
                f"data cannot be read after step {self.step}: {failure}; fix the files, then "
                "rerun with --resume"
            ) from None
        self._save_last()
        return evaluation

    def _run(self) -> None:
        self.engine.train()
        if self._evaluated_step < self.step and self._is_evaluation_due():
            # The run was stopped while it evaluated.
            self.evaluate()
        with (
            closing(self.batches()) as batches,
            Bar(self.num_steps, "train", "step", done=self.step, is_shown=self.processes.is_main) as bar,
        ):
            while self.step < self.num_steps:
                self.train_step(batches)
                bar.update()
                if self._is_due(self.config.train.log_every):
                    self._log(bar)
                if self._is_evaluation_due():
                    self.evaluate()
                if self._is_due(self.config.train.checkpoint_every):
                    self.save()

    def train_step(self, batches: Iterator[WindowBatch]) -> None:
        """One optimizer update: all its micro steps, then the clipped step."""
        micro_batches = [self._next(batches) for _ in range(self.micro_steps)]
        num_windows = self.config.train.global_batch_size
        counts = self._count(micro_batches)
        shares = {name: num_windows / max(count, 1) for name, count in counts.items()}
        sums: Tensor | None = None
        losses: list[tuple[tuple[str, ...], Tensor]] = []
        for micro_step, windows in enumerate(micro_batches):
            self._seed_dropout(micro_step)
            terms = self.engine(windows.to(self.processes.device, non_blocking=True))
            loss = total_loss(terms, self.task.weights, shares)
            self.gate.tick(f"step {self.step + 1}'s gradients")
            self.engine.backward(loss.mean())
            values = {**terms, "loss": loss}
            self.term_names = list(values)
            stacked = torch.stack([value.detach().sum() for value in values.values()])
            sums = stacked if sums is None else sums + stacked
            losses.append((windows.keys, loss.detach()))
            if micro_step < self.micro_steps - 1:
                self.engine.step()
        assert sums is not None
        sums = self.processes.sum(sums)
        self.learning_rate = self.engine.get_lr()[0]
        # A sharded gradient has its norm only after the step, which the engine skips if it is not finite.
        is_sharded = self.config.train.zero_stage > 0
        if is_sharded:
            self.engine.step()
        norm = self._gradient_norm()
        summary = torch.cat((sums, norm[None]))
        self.guard.watch(self.step + 1, summary, losses)
        if not is_sharded:
            self._clip(norm)
            self.engine.step()
        self.task.after_step()
        self.step += 1
        self.position += self.config.train.global_batch_size
        self._since_log.add(summary, [*(counts.get(name, num_windows) for name in self.term_names), 1])

    def _count(self, micro_batches: Sequence[WindowBatch]) -> dict[str, int]:
        """Windows of the global batch that have a value, for each term of which not all of them have one."""
        counts: Counter[str] = Counter()
        for windows in micro_batches:
            for name, counted in self.task.counted(windows).items():
                counts[name] += int(counted.sum())
        return dict(zip(counts, self.processes.total(list(counts.values())), strict=True))

    def evaluate(self) -> Evaluation:
        """Evaluate, record the numbers at this step, and save the best so far."""
        self.guard.flush()
        with self._untimed():
            is_last = self.step == self.num_steps
            self.evaluation = self.evaluator.run(self.task, self.gate, with_captions=is_last)
            self._evaluated_step = self.step
            metrics = self.evaluation.metrics()
            self._record(metrics)
        if self._is_best(metrics):
            if self.step == self._saved_step and self.writer is not None:
                self.writer.mark_best(self.step)
            self.save()
        if self.on_evaluation is not None and self.step < self.num_steps:
            # What is told of a step can be gone on from: its checkpoint is there, whole.
            self.save()
            self.finish_saving()
            with self._untimed():
                self.on_evaluation(self.step, metrics, self.folder.checkpoints / checkpoint_name(self.step))
            self.gate.tick("the next step")
        return self.evaluation

    def save(self) -> None:
        """Begin to write a checkpoint of this step, where there is none yet."""
        if self.step == self._saved_step or self.step == 0:
            return
        self.guard.flush()
        best_step, best_value = self.best or (None, None)
        sums, counts = self._since_log.state()
        state = TrainState(
            step=self.step,
            position=self.position,
            data_fingerprint=self.corpus.manifest.fingerprint,
            run_id=self.tracker.record.get("run_id") if self.processes.is_main else None,
            evaluated_step=self._evaluated_step,
            best_step=best_step,
            best_value=best_value,
            since_log=sums,
            counts_since_log=counts,
            steps_since_log=self._since_log.num_steps,
            world_size=self.processes.world_size,
            zero_stage=self.config.train.zero_stage,
        )
        with self._untimed():
            snapshot = capture(self.engine, self.processes)
            if self.writer is not None:
                self.writer.write(snapshot, state, self.header())
        self._saved_step = self.step
        self.gate.tick("the next step")

    def header(self) -> dict[str, str]:
        """Header of the weights as they are now."""
        extra = {**self.origin, "step": str(self.step)}
        return weights_header(self.task.header(), self.config, extra)

    def _save_last(self) -> None:
        """Have the checkpoint of this step on the disk; one that could not be written is tried again."""
        if self.writer is not None:
            self.writer.wait()
        failed = self.writer.failed_step if self.writer is not None else None
        if self.processes.broadcast(failed) == self.step:
            self._saved_step = -1
        self.save()
        self.finish_saving()

    def finish_saving(self) -> None:
        """Wait until the last checkpoint is published.

        Raises:
            TrainingError: On every rank, if it could not be written.
        """
        error = self.writer.wait() if self.writer is not None else None
        if failure := self.processes.broadcast(error and str(error)):
            raise TrainingError(f"the last checkpoint was not written: {failure}; resume with --resume")

    def _next(self, batches: Iterator[WindowBatch]) -> WindowBatch:
        """The next micro batch, once every rank has its own and none is to stop."""
        place = f"step {self.step + 1}"
        try:
            windows = next(batches)
        except UserError as error:
            self.gate.check(place, error)
            raise  # not reached: the gate has raised
        self.gate.check(place)
        return windows

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        name = best_metric(type(self.task), self.config)
        value = metrics.get(name) if name else None
        if value is None:
            return False
        sign = -1 if higher_is_better(str(name)) else 1
        if self.best is not None and sign * value >= sign * self.best[1]:
            return False
        self.best = (self.step, value)
        return True

    def _is_evaluation_due(self) -> bool:
        every = self.config.train.evaluate_every
        return every is not None and self._is_due(every)

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
            return load_batches(windows, None, **how)
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
            return torch.nn.utils.get_total_norm([_gradient(parameter) for parameter in self._parameters])
        norm = self.engine.get_global_grad_norm()
        return torch.as_tensor(
            0.0 if norm is None else norm, dtype=torch.float32, device=self.processes.device
        )

    def _clip(self, norm: Tensor) -> None:
        """Scale the gradient down to the configured norm, where there is one."""
        if self.config.optimizer.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, self.config.optimizer.clip_norm, norm)

    def _log(self, bar: Bar) -> None:
        """Averages since the last log."""
        num_steps = self._since_log.num_steps
        if num_steps == 0:
            return
        means = zip([*self.term_names, "gradient_norm"], self._since_log.take(), strict=True)
        values = {name: value for name, value in means if value is not None}
        now = time.monotonic()
        windows = num_steps * self.config.train.global_batch_size
        rate = windows / (now - self._logged_at)
        self._logged_at = now
        bar.note(
            {name: f"{values[name]:.3g}" for name in self.term_names if name in values}
            | {"clips/s": f"{rate:.1f}"}
        )
        self._record(
            {f"train/{name}": value for name, value in values.items()}
            | {
                "train/learning_rate": self.learning_rate,
                "train/clips_per_second": rate,
                "train/epoch": self.position / len(self.corpus.training_set),
            }
        )
        self.gate.tick(f"step {self.step}'s log")
        usage = self.processes.gather(self.usage.look())
        if self.processes.is_main:
            self.tracker.log_metrics(
                {name: value for rank in usage for name, value in rank.items()}, self.step
            )

    def _record(self, metrics: dict[str, float]) -> None:
        if self.metrics_file is not None:
            self.metrics_file.append(metrics, self.step)


def _gradient(parameter: nn.Parameter) -> Tensor:
    """Gradient of a parameter: zero where it had no part in the loss, so that it decays as the others do."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
