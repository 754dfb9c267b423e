"""A whole run: build, train, evaluate, export, register."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from langpose_dist.analysis.plots import draw_curves
from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.environment import describe_environment
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.text import load_text_encoder
from langpose_dist.models.weights import save_weights
from langpose_dist.tasks.pretrain import LabelTable, PretrainTask
from langpose_dist.train.checkpoint import TrainState, find_checkpoints, load_checkpoint
from langpose_dist.train.engine import build_engine, count_steps
from langpose_dist.train.evaluate import Evaluator, draw_pictures
from langpose_dist.train.metrics_file import read_metrics
from langpose_dist.train.processes import Processes, join_processes, leave_processes
from langpose_dist.train.tracker import Tracker
from langpose_dist.train.trainer import Trainer

# What a resumed run may change: it alters neither the model nor what it learns from.
_FREE = re.compile(
    r"output|(tracking|evaluation)\..*|data\.(path|num_workers|cache_dir)"
    r"|train\.(max_steps|epochs|micro_batch_size|device|num_threads|\w+_every)"
)


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind."""

    run_dir: Path
    weights: Path
    evaluation: dict[str, Any]
    record: dict[str, str]
    """What finds the run in its tracking store: ``run_id`` and ``tracking_uri``; empty without tracking."""
    registered: str | None


def train(config: RunConfig, tracker: Tracker, *, resume: bool = False) -> TrainingResult | None:
    """Run a training from start to end; every rank calls it, once per process: DeepSpeed keeps its groups.

    Args:
        config: The run.
        tracker: Records it; used on rank 0 alone.
        resume: Go on from the newest complete checkpoint in the run's folder.

    Returns:
        What it left behind on rank 0, ``None`` on the others.

    Raises:
        UserError: If configuration, data or folder do not allow it.
        TrainingError: If the loss stops being a number.
    """
    processes = join_processes(config.train)
    try:
        return _train(config, tracker, processes, resume=resume)
    finally:
        leave_processes()


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
    config: RunConfig, tracker: Tracker, processes: Processes, *, resume: bool
) -> TrainingResult | None:
    run_dir = Path(config.output)
    corpus = Corpus.open(config)
    num_steps = count_steps(config, len(corpus.training_set))
    checkpoint = _prepare_folder(config, run_dir, corpus, processes, resume=resume)

    task = build_task(config, corpus, processes.device)
    if config.model.compile:
        task.model.compile()
    engine = build_engine(task, config, processes, num_steps)
    state = TrainState(0, 0, processes.world_size, config.train.zero_stage, corpus.manifest.fingerprint)
    if checkpoint is not None:
        path, state = checkpoint
        load_checkpoint(engine, path, state, processes)
    _say_once(corpus, config, processes, num_steps, state)

    evaluator = Evaluator(corpus, config, processes)
    environment = describe_environment(
        devices=processes.gather(processes.describe_device()), world_size=processes.world_size
    )
    record = _start_tracking(config, run_dir, corpus, environment, tracker, processes, resume=resume)
    status = "FAILED"
    try:
        trainer = Trainer(
            config=config,
            run_dir=run_dir,
            processes=processes,
            corpus=corpus,
            engine=engine,
            evaluator=evaluator,
            tracker=tracker,
            num_steps=num_steps,
            state=state,
        )
        trainer.run()
        evaluation = trainer.evaluation
        if evaluation is None or not config.train.evaluate_every:
            evaluation = trainer.evaluate()
        origin = {
            "step": trainer.step,
            "seed": config.seed,
            "dataset": corpus.manifest.dataset,
            "fps": corpus.manifest.fps,
            "data_fingerprint": corpus.manifest.fingerprint,
            "config_hash": config.hash(),
            "commit": environment["git_commit"],
            "commit_dirty": environment["git_dirty"],
            "world_size": processes.world_size,
        }
        report = evaluation.report(**origin)
        weights = _export(engine, config, run_dir, report, processes)
        if not processes.is_main:
            return None
        for path in _write_reports(run_dir, report):
            tracker.log_artifact(path)
        for path in draw_pictures(evaluation.pictures, run_dir / "pictures"):
            tracker.log_artifact(path, "pictures")
        registered = tracker.register(weights)
        status = "FINISHED"
        return TrainingResult(run_dir, weights, report, record, registered)
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        if processes.is_main:
            tracker.finish(status)


def _prepare_folder(
    config: RunConfig, run_dir: Path, corpus: Corpus, processes: Processes, *, resume: bool
) -> tuple[Path, TrainState] | None:
    """Make or check the run's folder on rank 0; every rank gets the checkpoint, or the error."""
    outcome: tuple[str, str, dict[str, Any]] | UserError | None = None
    if processes.is_main:
        try:
            found = _resumable(config, run_dir, corpus) if resume else _fresh(config, run_dir)
            outcome = found and ("found", str(found[0]), vars(found[1]))
        except UserError as error:
            outcome = error
    outcome = processes.broadcast(outcome)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome and (Path(outcome[1]), TrainState(**outcome[2]))


def _fresh(config: RunConfig, run_dir: Path) -> None:
    # A run that ended before its first line of metrics left nothing worth keeping.
    if (run_dir / "metrics.jsonl").exists():
        raise UserError(f"{run_dir} already holds a run; go on with --resume or choose another output=")
    _write_config(config, run_dir)


def _resumable(config: RunConfig, run_dir: Path, corpus: Corpus) -> tuple[Path, TrainState] | None:
    if not (run_dir / "config.yaml").exists():
        raise UserError(f"{run_dir} holds no run to resume; leave out --resume")
    _refuse_changes(config, run_dir)
    checkpoints = find_checkpoints(run_dir / "checkpoints")
    _write_config(config, run_dir)
    if not checkpoints:
        return None
    path, state = checkpoints[-1]
    if state.data_fingerprint != corpus.manifest.fingerprint:
        raise UserError(
            f"{path} was trained on data {state.data_fingerprint[:16]}, data.path={config.data.path} is "
            f"{corpus.manifest.fingerprint[:16]}; resume with the same data"
        )
    return path, state


def _refuse_changes(config: RunConfig, run_dir: Path) -> None:
    before = load_config(run_dir / "config.yaml").to_flat()
    for key, value in config.to_flat().items():
        if before[key] != value and not _FREE.fullmatch(key):
            raise UserError(
                f"--resume: {key} was {before[key]!r} and is now {value!r}; start a new run for that"
            )


def _write_config(config: RunConfig, run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        partial = run_dir / "config.yaml.partial"
        partial.write_text(config.to_yaml(), encoding="utf-8")
        partial.rename(run_dir / "config.yaml")
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


def _start_tracking(
    config: RunConfig,
    run_dir: Path,
    corpus: Corpus,
    environment: dict[str, str],
    tracker: Tracker,
    processes: Processes,
    *,
    resume: bool,
) -> dict[str, str]:
    record: dict[str, str] = {}
    error: UserError | None = None
    if processes.is_main:
        known = read_record(run_dir) if resume else {}
        try:
            record = tracker.start(
                config=config,
                run_dir=run_dir,
                data_fingerprint=corpus.manifest.fingerprint,
                environment=environment,
                run_id=known.get("run_id"),
            )
        except UserError as problem:
            error = problem
        else:
            _write_json(run_dir / "run.json", {**record, "environment": environment})
    record, error = processes.broadcast((record, error))
    if error is not None:
        raise error
    return record


def read_record(run_dir: Path) -> dict[str, Any]:
    """What ``run.json`` says of a run's environment and record; empty where it is missing or cut off."""
    try:
        return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _write_json(path: Path, content: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
    partial.replace(path)


def _export(
    engine: Any, config: RunConfig, run_dir: Path, report: dict[str, Any], processes: Processes
) -> Path:
    """Write plain weights; with sharded weights every rank helps to gather them."""
    path = run_dir / "model.safetensors"
    model = engine.module.model
    extra = {
        name: str(report[name])
        for name in ("data_fingerprint", "config_hash", "commit", "step", "dataset", "fps")
    }
    if config.train.zero_stage == 3:
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=None):
            if processes.is_main:
                save_weights(path, model, config, extra)
    elif processes.is_main:
        save_weights(path, model, config, extra)
    return path


def _write_reports(run_dir: Path, report: dict[str, Any]) -> list[Path]:
    """The evaluation and the curves; returns the files."""
    evaluation = run_dir / "evaluation.json"
    _write_json(evaluation, report)
    curves = run_dir / "curves.png"
    draw_curves(curves, read_metrics(run_dir / "metrics.jsonl"))
    return [evaluation, curves, run_dir / "metrics.jsonl"]
