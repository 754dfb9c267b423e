"""The life of a run: check, build, train, evaluate, export, register."""

import json
import platform
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig
from langpose_dist.host.atomic import write_text
from langpose_dist.host.environment import describe_environment, installed_packages
from langpose_dist.models.weights import write_weights
from langpose_dist.report.plots import draw_curves
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.tracker import RunInfo, Tracker
from langpose_dist.train.checkpoint import TrainState, read_optimizer, read_weights
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.processes import (
    Layout,
    Meeting,
    join_processes,
    leave_processes,
)
from langpose_dist.train.distributed.progress import Progress
from langpose_dist.train.distributed.stop import StopRequest
from langpose_dist.train.ending import leaving_together, record_forced_end, recorded_end, refusing_together
from langpose_dist.train.engine import build_engine
from langpose_dist.train.engine_state import full_weights, restore_optimizer
from langpose_dist.train.evaluate import Evaluator, draw_pictures, write_captions
from langpose_dist.train.preflight import Prepared, check_everything
from langpose_dist.train.start import (
    COMPILE_TIMEOUT_S,
    IN_HEADER,
    Resume,
    announce,
    choose_kernels,
    compile_task,
    locked_folder,
    open_folder,
    open_record,
    origin_of,
    will_resume,
)
from langpose_dist.train.trainer import OnEvaluation, Trainer


@dataclass(frozen=True)
class TrainingResult:
    """Files and numbers that a run leaves behind."""

    run_dir: Path
    weights: Path
    evaluation: dict[str, Any]
    record: dict[str, str]
    """Names of the run in its tracking store; see ``Tracker.record``. Empty without tracking."""
    registered: str | None


def train(
    config: RunConfig,
    tracker: Tracker,
    *,
    resume: Resume = "no",
    strict: bool = False,
    request: StopRequest | None = None,
    on_evaluation: OnEvaluation | None = None,
) -> TrainingResult | None:
    """Run a training from start to end; every rank calls it, once per process: DeepSpeed keeps its groups.

    Args:
        config: The run.
        tracker: Records it; used on rank 0 alone.
        resume: Resume from the newest whole checkpoint in the run's folder.
        strict: Refuse to resume from an older checkpoint where the newest is damaged.
        request: Source of requests to stop early; ``None``: there are none.
        on_evaluation: Called on every rank after each evaluation but the last, which is in the result.

    Returns:
        What it left behind on rank 0, ``None`` on the others.

    Raises:
        PreflightError: On every rank, with all problems of the run.
        UserError: If configuration, data or folder do not allow it.
        TrainingError: If the loss stops being a number, data or disk fail, or another rank ends.
        Interrupted: If the run was asked to stop; a checkpoint holds where it stands.
        EarlyStop: From ``on_evaluation``; a checkpoint holds where it stands, the run counts as finished.
    """
    run_dir = Path(config.output)
    layout = Layout.from_environment()
    meeting = Meeting(layout, config.train.start_timeout)
    with refusing_together(meeting):
        prepared = check_everything(config, meeting, tracker)
    processes = join_processes(config.train, meeting)
    try:
        progress = Progress(
            layout,
            config.train.hang_timeout,
            partial(record_forced_end, run_dir, tracker, "FAILED", is_main=processes.is_main),
            start_timeout=config.train.start_timeout + (COMPILE_TIMEOUT_S if config.model.compile else 0),
        )
        with closing(progress), leaving_together(meeting), locked_folder(run_dir, processes):
            is_resumed = will_resume(run_dir, resume)
            path, state = open_folder(prepared, processes, is_resumed=is_resumed, strict=strict)
            run = _Run(prepared, tracker, Gate(processes, request, progress), path, state)
            with recorded_end(run_dir, tracker, processes):
                run.start_tracking(is_resumed=is_resumed)
                return run.finish(run.build(on_evaluation))
    finally:
        leave_processes()


class _Run:
    """The stations of a run between its start and its end."""

    def __init__(
        self, prepared: Prepared, tracker: Tracker, gate: Gate, checkpoint: Path | None, state: TrainState
    ) -> None:
        self.config = prepared.config
        self.prepared = prepared
        self.tracker = tracker
        self.gate = gate
        self.processes = gate.processes
        self.checkpoint = checkpoint
        self.state = state
        self.run_dir = Path(self.config.output)
        self.folder = RunFolder(self.run_dir)
        self.environment = describe_environment(
            devices=self.processes.gather(self.processes.describe_device()),
            nodes=self.processes.gather(platform.node()),
            world_size=self.processes.world_size,
        )
        manifest = prepared.corpus.manifest
        self.origin = {
            "seed": self.config.seed,
            "dataset": manifest.dataset,
            "fps": manifest.fps,
            "data_fingerprint": manifest.fingerprint,
            "config_hash": self.config.hash(),
            "commit": self.environment["git_commit"],
            "commit_dirty": self.environment["git_dirty"],
            "world_size": self.processes.world_size,
        }

    def start_tracking(self, *, is_resumed: bool) -> None:
        """Open the record early, so that the store answers while the model is built."""
        if not self.processes.is_main:
            return
        request = self.gate.request
        self.tracker.start(
            RunInfo(
                config=self.config,
                run_dir=self.run_dir,
                dataset=self.prepared.corpus.manifest.dataset,
                data_fingerprint=self.prepared.corpus.manifest.fingerprint,
                environment=self.environment,
                packages=installed_packages(),
                origin=origin_of(self.config.model.initial_weights),
                is_resumed=is_resumed,
                step=self.state.step,
                run_id=self.state.run_id,
                is_stopping=lambda: request is not None and bool(request.code),
            )
        )

    def build(self, on_evaluation: OnEvaluation | None) -> Trainer:
        """Model, engine and trainer, at the checkpoint's step."""
        config, processes, corpus = self.config, self.processes, self.prepared.corpus
        task = self.prepared.task
        if self.checkpoint is not None:
            task.model.load_state_dict(read_weights(self.checkpoint))
        choose_kernels(task, self.prepared, processes)
        if config.model.compile:
            compile_task(task, self.prepared, processes)
        engine = build_engine(task, config, processes, self.prepared.num_steps, step=self.state.step)
        if self.checkpoint is not None:
            restore_optimizer(engine, read_optimizer(self.checkpoint), self.state.step)
        if processes.is_main:
            announce(self.prepared, processes, self.state)
        record = open_record(self.run_dir, self.environment, self.tracker, processes)
        return Trainer(
            config=config,
            run_dir=self.run_dir,
            processes=processes,
            corpus=corpus,
            engine=engine,
            evaluator=Evaluator(corpus, config, processes),
            tracker=self.tracker,
            gate=self.gate,
            num_steps=self.prepared.num_steps,
            state=self.state,
            origin={name: str(self.origin[name]) for name in IN_HEADER} | record,
            on_evaluation=on_evaluation,
        )

    def finish(self, trainer: Trainer) -> TrainingResult | None:
        """Train to the end; then export, report and register on rank 0."""
        if (request := self.gate.request) is not None:
            request.on_forced_exit = partial(
                record_forced_end, self.run_dir, self.tracker, "KILLED", is_main=self.processes.is_main
            )
            request.run_on()
        evaluation = trainer.run()
        weights = full_weights(trainer.engine, self.processes)
        if self.gate.progress is not None:
            self.gate.progress.close()  # the other ranks have nothing left to do
        if not self.processes.is_main:
            return None
        exported = self.folder.weights
        write_weights(exported, weights, trainer.header())
        report = evaluation.report(step=trainer.step, **self.origin)
        write_text(self.folder.evaluation, json.dumps(report, indent=2))
        written = [self.folder.evaluation, self.folder.curves, self.folder.metrics]
        if evaluation.captions is not None:
            write_captions(self.folder.captions, evaluation.captions)
            written.append(self.folder.captions)
        draw_curves(self.folder.curves, read_metrics(self.folder.metrics))
        for file in written:
            self.tracker.log_artifact(file)
        for file in draw_pictures(evaluation.pictures, self.folder.pictures):
            self.tracker.log_artifact(file, "pictures")
        registered = self.tracker.register(exported, report)
        record = self.tracker.record
        self.folder.write_record(record, self.environment)
        return TrainingResult(self.run_dir, exported, report, record, registered)
