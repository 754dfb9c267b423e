"""A whole run: build, train, evaluate, export, register."""

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout

from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.host.atomic import replace_text
from langpose_dist.host.console import say
from langpose_dist.host.environment import describe_environment, installed_packages
from langpose_dist.host.redaction import presentable, redact
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.text import load_text_encoder
from langpose_dist.models.weights import read_header, write_weights
from langpose_dist.report.plots import draw_curves
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.tracker import RunInfo, Status, Tracker
from langpose_dist.tasks.pretrain import LabelTable, PretrainTask
from langpose_dist.train.checkpoint import (
    TrainState,
    adopt_checkpoint,
    checkpoint_folders,
    find_checkpoint,
    read_optimizer,
    read_random,
    read_weights,
    saved_step,
)
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.guard import TrainingError
from langpose_dist.train.distributed.processes import (
    Layout,
    Meeting,
    Processes,
    join_processes,
    leave_processes,
)
from langpose_dist.train.distributed.progress import Progress
from langpose_dist.train.distributed.stop import EarlyStop, Interrupted, StopRequest
from langpose_dist.train.engine import build_engine, count_steps, micro_batch_size
from langpose_dist.train.engine_state import full_weights, restore_optimizer, restore_random
from langpose_dist.train.evaluate import Evaluator, draw_pictures
from langpose_dist.train.preflight import PreflightError, check_everything
from langpose_dist.train.trainer import OnEvaluation, Trainer

_PEER_LOST = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|Read error|Connection refused"
    r"|ncclRemoteError|remote process exited"
)
_STATUS: dict[Status, Literal["finished", "interrupted", "failed"]] = {
    "FINISHED": "finished",
    "KILLED": "interrupted",
    "FAILED": "failed",
}
_PREFLIGHT_SECONDS = 30.0
_LOCK_SECONDS = 15.0
"""That a start waits for the job before it to be gone."""
_CLOSING_SECONDS = 1800.0
"""That ranks wait at most for rank 0 to close the run; a launcher ends them all when the first has left."""
_IN_HEADER = ("data_fingerprint", "config_hash", "commit", "dataset", "fps")
# What a resumed run may change: it alters neither the model nor what it learns from.
_FREE = re.compile(
    r"output|(tracking|evaluation|registry)\..*|data\.(path|num_workers|cache_dir|verify|licence)"
    r"|train\.(max_steps|epochs|micro_batch_size|zero_stage|offload|device|num_threads|keep_checkpoints|best_metric"
    r"|\w+_timeout|stop_grace|\w+_every)"
)


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind."""

    run_dir: Path
    weights: Path
    evaluation: dict[str, Any]
    record: dict[str, str]
    """What finds the run in its tracking store; see ``Tracker.record``. Empty without tracking."""
    registered: str | None


def train(
    config: RunConfig,
    tracker: Tracker,
    *,
    resume: Literal["no", "yes", "if started"] = "no",
    strict: bool = False,
    request: StopRequest | None = None,
    on_evaluation: OnEvaluation | None = None,
) -> TrainingResult | None:
    """Run a training from start to end; every rank calls it, once per process: DeepSpeed keeps its groups.

    Args:
        config: The run.
        tracker: Records it; used on rank 0 alone.
        resume: Whether to go on from the newest whole checkpoint in the run's folder.
        strict: Refuse to go on from an older checkpoint where the newest is damaged.
        request: What may ask for an early stop; ``None``: nothing does.
        on_evaluation: Called on every rank after each evaluation but the last, which is in the result.

    Returns:
        What it left behind on rank 0, ``None`` on the others.

    Raises:
        PreflightError: On every rank, with all that stands in the way of the run.
        UserError: If configuration, data or folder do not allow it.
        TrainingError: If the loss stops being a number, data or disk fail, or another rank ends.
        Interrupted: If the run was asked to stop; a checkpoint holds where it stands.
        EarlyStop: From ``on_evaluation``; a checkpoint holds where it stands, the run counts as finished.
    """
    run_dir = Path(config.output)
    layout = Layout.from_environment()
    meeting = Meeting(layout, config.train.start_timeout)
    try:
        check_everything(config, meeting, tracker)
    except PreflightError as refusal:
        _refuse(refusal, meeting)
        raise
    processes = join_processes(config.train, meeting)
    lock = RunFolder(run_dir).lock(_LOCK_SECONDS)
    progress = Progress(
        layout,
        config.train.hang_timeout,
        lambda reason: _leave(run_dir, tracker, "FAILED", reason, is_main=processes.is_main),
        start_timeout=config.train.start_timeout,
    )
    try:
        _hold(lock, run_dir, processes)
        gate = Gate(processes, request, progress)
        result = _train(config, tracker, gate, on_evaluation, resume=resume, strict=strict)
    except PreflightError as refusal:
        _refuse(refusal, meeting)
        raise
    except (Interrupted, TrainingError) as end:
        if end.is_agreed:  # else the others are elsewhere, or gone
            meeting.part(_CLOSING_SECONDS)
        raise
    else:
        meeting.part(_CLOSING_SECONDS)
        return result
    finally:
        lock.release()
        progress.close()
        leave_processes()


def _refuse(refusal: PreflightError, meeting: Meeting) -> None:
    """Part after rank 0 has told why: a launcher ends it as soon as one of the others has left."""
    if meeting.layout.world_size > 1 and meeting.layout.rank == 0:
        say(f"error: {presentable(str(refusal))}")
        refusal.is_told = True
    meeting.part(_PREFLIGHT_SECONDS)


def _hold(lock: FileLock, run_dir: Path, processes: Processes) -> None:
    """Have the run's folder to this job alone; every rank hears it if that cannot be."""
    problem = ""
    if processes.is_main:
        try:
            lock.acquire()
        except Timeout:
            problem = f"{run_dir}: another job is training there; stop it first, or choose another output="
    if problem := processes.broadcast(problem):
        raise PreflightError(problem)


def resolve_autocast(config: RunConfig, device: torch.device) -> torch.dtype | None:
    """Type of the activations: ``None`` for float32.

    Raises:
        UserError: If bfloat16 is asked of a GPU that does not have it.
    """
    has_bfloat16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    match config.train.precision:
        case "float32":
            return None
        case "auto":
            # On a CPU it pays only with matrix instructions for it; see benchmarks/results.
            return torch.bfloat16 if device.type == "cuda" and has_bfloat16 else None
        case "bfloat16":
            if not has_bfloat16:
                raise UserError("train.precision=bfloat16: this GPU does not have it; set float32")
            return torch.bfloat16


def build_task(config: RunConfig, corpus: Corpus, device: torch.device) -> PretrainTask:
    """A fresh task with seeded weights, on the CPU.

    Raises:
        UserError: If the text encoder or the initial weights cannot be loaded, or there are too few labels.
    """
    if config.loss.is_contrastive and corpus.training_set.num_negatives == 0:
        raise UserError(
            f"the contrastive loss needs two labels or more in split {config.data.train_split!r}, it has "
            f"{len(corpus.manifest.splits[config.data.train_split].label_counts)}; set loss.contrastive=none"
        )
    if config.loss.is_contrastive and not any(window.spans for window in corpus.training_set.windows):
        raise UserError(
            "no training window has a label for as long as window.min_span_frames="
            f"{config.window.min_span_frames}; lower it or set loss.contrastive=none"
        )
    encoder = load_text_encoder(config.text)
    labels = LabelTable.compute(encoder, corpus.vocabulary.labels, frozen=config.text.frozen)
    torch.manual_seed(config.seed)
    model = LangPose.build(config, encoder.dim, None if config.text.frozen else encoder.backbone)
    return PretrainTask(model, labels, config, resolve_autocast(config, device))


def _train(
    config: RunConfig,
    tracker: Tracker,
    gate: Gate,
    on_evaluation: OnEvaluation | None,
    *,
    resume: str,
    strict: bool,
) -> TrainingResult | None:
    processes = gate.processes
    run_dir = Path(config.output)
    corpus = Corpus.open(config)
    num_steps = count_steps(config, len(corpus.training_set))
    is_resumed = resume == "yes" or (resume == "if started" and RunFolder(run_dir).config.exists())
    checkpoint = _prepare_folder(config, run_dir, corpus, processes, is_resumed=is_resumed, strict=strict)
    path, state = checkpoint or (None, TrainState())

    is_peer_lost = False
    end: tuple[Status, str] = ("FAILED", "an error; see its message")
    environment = describe_environment(
        devices=processes.gather(processes.describe_device()),
        nodes=processes.gather(platform.node()),
        world_size=processes.world_size,
    )
    origin = {
        "seed": config.seed,
        "dataset": corpus.manifest.dataset,
        "fps": corpus.manifest.fps,
        "data_fingerprint": corpus.manifest.fingerprint,
        "config_hash": config.hash(),
        "commit": environment["git_commit"],
        "commit_dirty": environment["git_dirty"],
        "world_size": processes.world_size,
    }
    try:
        if processes.is_main:
            # Early, so that the store answers while the model is built.
            tracker.start(
                RunInfo(
                    config=config,
                    run_dir=run_dir,
                    dataset=corpus.manifest.dataset,
                    data_fingerprint=corpus.manifest.fingerprint,
                    environment=environment,
                    packages=installed_packages(),
                    origin=_origin(config.model.initial_weights),
                    is_resumed=is_resumed,
                    step=state.step,
                    run_id=state.run_id,
                    is_stopping=lambda: gate.request is not None and bool(gate.request.code),
                )
            )
        task = build_task(config, corpus, processes.device)
        if path is not None:
            task.model.load_state_dict(read_weights(path))
        if config.model.compile:
            task.model.compile()
            if processes.is_main:
                print("compiling the model; this takes a minute or more", flush=True)
            _warm_up(task.to(processes.device), corpus, micro_batch_size(config, processes.world_size))
        engine = build_engine(task, config, processes, num_steps, step=state.step)
        if path is not None:
            restore_optimizer(engine, read_optimizer(path), state.step)
        _say_once(corpus, config, processes, num_steps, state)

        record = _finish_start(run_dir, environment, tracker, processes)
        trainer = Trainer(
            config=config,
            run_dir=run_dir,
            processes=processes,
            corpus=corpus,
            engine=engine,
            evaluator=Evaluator(corpus, config, processes),
            tracker=tracker,
            gate=gate,
            num_steps=num_steps,
            state=state,
            origin={name: str(origin[name]) for name in _IN_HEADER} | record,
            on_evaluation=on_evaluation,
        )
        if path is not None:
            restore_random(processes, read_random(path))
        if gate.request is not None:
            gate.request.on_forced_exit = lambda reason: _leave(
                run_dir, tracker, "KILLED", reason, is_main=processes.is_main
            )
            gate.request.run_on()
        evaluation = trainer.run()
        report = evaluation.report(step=trainer.step, **origin)
        weights = full_weights(engine, processes)
        if gate.progress is not None:
            gate.progress.close()  # what follows is rank 0's alone
        registered = None
        if processes.is_main:
            exported = RunFolder(run_dir).weights
            write_weights(exported, weights, trainer.header())
            for file in _write_reports(run_dir, report):
                tracker.log_artifact(file)
            for file in draw_pictures(evaluation.pictures, RunFolder(run_dir).pictures):
                tracker.log_artifact(file, "pictures")
            registered = tracker.register(exported, report)
            end = ("FINISHED", "")
            record = tracker.record
            RunFolder(run_dir).write_record(record, environment)
            return TrainingResult(run_dir, exported, report, record, registered)
        return None
    except Interrupted as stop:
        end = ("KILLED", str(stop))
        raise
    except EarlyStop as stop:
        end = ("FINISHED", str(stop))
        raise
    except UserError as error:
        end = ("FAILED", str(error))
        raise
    except RuntimeError as error:
        # Gloo's and NCCL's words where another rank ended first; that one has said why.
        is_peer_lost = not isinstance(error, TrainingError) and bool(_PEER_LOST.search(str(error)))
        reason = "another rank ended, so this one cannot go on; go on with --resume"
        end = ("FAILED", reason if is_peer_lost else str(error))
        if is_peer_lost:
            raise TrainingError(reason, is_agreed=False) from None
        raise
    except OSError as error:
        end = ("FAILED", str(error))
        raise TrainingError(f"{error}; go on with --resume", is_agreed=False) from None
    finally:
        if processes.is_main:
            _write_end(run_dir, _STATUS[end[0]], redact(end[1]))
            tracker.finish(end[0], redact(end[1]))
        elif is_peer_lost and RunFolder(run_dir).read_status() == "running":
            # Rank 0 is the one that is gone.
            _write_end(run_dir, _STATUS[end[0]], redact(end[1]))


def _write_end(run_dir: Path, status: Literal["finished", "interrupted", "failed"], reason: str) -> None:
    folder = RunFolder(run_dir)
    folder.write_status(status, saved_step(folder.checkpoints), reason)


def _leave(run_dir: Path, tracker: Tracker, status: Status, reason: str, *, is_main: bool) -> None:
    """Last words of a process that ends at once."""
    _write_end(run_dir, _STATUS[status], reason)
    if is_main:
        tracker.finish(status, redact(reason), wait=False)


def _warm_up(task: PretrainTask, corpus: Corpus, micro_batch_size: int) -> None:
    """Compile in training and in evaluation mode, while nothing is lost if the run is asked to stop."""
    for size, is_training in ((micro_batch_size, True), (corpus.config.evaluation.batch_size, False)):
        windows = corpus.training_set[[(0, 0)] * size]
        if isinstance(windows, UserError):
            raise windows
        task.train(is_training)
        with torch.set_grad_enabled(is_training):
            losses = task(windows.to(next(task.parameters()).device))
        if is_training:
            losses["loss"].mean().backward()
            task.zero_grad(set_to_none=True)


def _prepare_folder(
    config: RunConfig, run_dir: Path, corpus: Corpus, processes: Processes, *, is_resumed: bool, strict: bool
) -> tuple[Path, TrainState] | None:
    """Make or check the run's folder on rank 0; every rank gets the checkpoint, or the error."""
    outcome: tuple[str, dict[str, Any]] | UserError | None = None
    if processes.is_main:
        try:
            if is_resumed:
                found = _resumable(config, run_dir, corpus, strict=strict)
                outcome = found and (str(found[0]), vars(found[1]))
            else:
                _fresh(config, run_dir)
            RunFolder(run_dir).write_status(
                "running", outcome[1]["step"] if isinstance(outcome, tuple) else 0
            )
        except UserError as error:
            outcome = error
    outcome = processes.broadcast(outcome)
    if isinstance(outcome, UserError):
        raise PreflightError(str(outcome))
    return outcome and (Path(outcome[0]), TrainState(**outcome[1]))


def _fresh(config: RunConfig, run_dir: Path) -> None:
    # A run that ended before its first line of metrics left nothing worth keeping.
    folder = RunFolder(run_dir)
    if folder.metrics.exists() or checkpoint_folders(folder.checkpoints):
        raise UserError(f"{run_dir} already holds a run; go on with --resume or choose another output=")
    _write_config(config, run_dir)


def _resumable(
    config: RunConfig, run_dir: Path, corpus: Corpus, *, strict: bool
) -> tuple[Path, TrainState] | None:
    if not RunFolder(run_dir).config.exists():
        raise UserError(f"{run_dir} holds no run to resume; leave out --resume")
    _refuse_changes(config, run_dir)
    found = find_checkpoint(RunFolder(run_dir).checkpoints, strict=strict)
    if found is None:
        print(f"{run_dir} has no checkpoint yet; starting from step 0", flush=True)
    elif found[1].data_fingerprint != corpus.manifest.fingerprint:
        path, state = found
        raise UserError(
            f"{path} was trained on data {state.data_fingerprint[:16]}, data.path={config.data.path} is "
            f"{corpus.manifest.fingerprint[:16]}; resume with the same data"
        )
    _write_config(config, run_dir)
    return found


def _refuse_changes(config: RunConfig, run_dir: Path) -> None:
    before = load_config(RunFolder(run_dir).config).to_flat()
    for key, value in config.to_flat().items():
        if before[key] != value and not _FREE.fullmatch(key):
            raise UserError(
                f"--resume: {key} was {before[key]!r} and is now {value!r}; start a new run for that"
            )


def go_on_from(checkpoint: Path, config: RunConfig) -> None:
    """Let a run's folder go on from a checkpoint of another run, or with another configuration.

    Args:
        checkpoint: Folder of a published checkpoint, or a copy of one under any name.
        config: From now on; its output is the folder.

    Raises:
        UserError: If the checkpoint is damaged or the folder cannot be written.
    """
    run_dir = Path(config.output)
    try:
        adopt_checkpoint(checkpoint, RunFolder(run_dir).checkpoints)
    except (ValueError, OSError) as error:
        raise UserError(f"{checkpoint}: {error}") from None
    _write_config(config, run_dir)


def _write_config(config: RunConfig, run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        replace_text(RunFolder(run_dir).config, config.to_yaml())
    except OSError as error:
        raise UserError(f"output={run_dir} cannot be written: {error.strerror or error}") from None


def _say_once(
    corpus: Corpus, config: RunConfig, processes: Processes, num_steps: int, state: TrainState
) -> None:
    if not processes.is_main:
        return
    dataset = corpus.training_set
    print(
        f"{len(dataset)} windows of {corpus.manifest.dataset} ({corpus.manifest.fingerprint[:16]}), "
        f"{len(corpus.vocabulary)} labels; {num_steps} steps of {config.train.global_batch_size} windows on "
        f"{processes.world_size} x {processes.describe_device()}",
        flush=True,
    )
    if config.loss.is_contrastive and dataset.num_negatives < config.loss.num_negatives:
        print(
            f"only {dataset.num_negatives} other labels: each window is compared with all of them, not "
            f"loss.num_negatives={config.loss.num_negatives}",
            flush=True,
        )
    if config.data.order == "streaming":
        print(
            "data.order=streaming: windows are not seen exactly once per epoch, nor resumed exactly",
            flush=True,
        )
    if state.step:
        print(f"going on after step {state.step}", flush=True)


def _finish_start(
    run_dir: Path, environment: Mapping[str, str], tracker: Tracker, processes: Processes
) -> dict[str, str]:
    """Wait until the tracking store has the run; returns what the exported weights say of it."""
    error: UserError | None = None
    record: dict[str, str] = {}
    if processes.is_main:
        try:
            tracker.opened()
        except UserError as problem:
            error = problem
        else:
            record = tracker.record
            RunFolder(run_dir).write_record(record, environment)
    record, error = processes.broadcast((record, error))
    if error is not None:
        raise PreflightError(str(error))
    return {name: record[name] for name in ("run_uid",) if name in record}


def _origin(initial_weights: str | None) -> dict[str, str]:
    """What the initial weights say of the run that they come from; empty for another project's."""
    if initial_weights is None or not initial_weights.endswith(".safetensors"):
        return {}
    try:
        header = read_header(initial_weights)
    except UserError:  # building the model says it
        return {}
    return {name: header[name] for name in ("run_uid", *_IN_HEADER) if name in header}


def _write_reports(run_dir: Path, report: dict[str, Any]) -> list[Path]:
    """The evaluation and the curves; returns the files."""
    folder = RunFolder(run_dir)
    replace_text(folder.evaluation, json.dumps(report, indent=2))
    draw_curves(folder.curves, read_metrics(folder.metrics))
    return [folder.evaluation, folder.curves, folder.metrics]
