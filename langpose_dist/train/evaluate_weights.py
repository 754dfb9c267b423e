"""Evaluating exported weights, apart from the run that made them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig, UserError
from langpose_dist.host.environment import describe_environment
from langpose_dist.tasks.exported import load_exported, override_config
from langpose_dist.tasks.task import rate_problems
from langpose_dist.train.distributed.processes import join_processes, leave_processes
from langpose_dist.train.engine import resolve_autocast
from langpose_dist.train.evaluate import Evaluation, Evaluator


@dataclass(frozen=True)
class WeightsEvaluation:
    """Numbers of exported weights, with all that is needed to understand them."""

    config: RunConfig
    evaluation: Evaluation
    report: Mapping[str, Any]
    step: int


def evaluate_weights(weights: Path, overrides: Iterable[str] = ()) -> WeightsEvaluation:
    """Evaluate a ``model.safetensors`` on the data that its configuration, or an override, names.

    Args:
        weights: As exported by a run.
        overrides: ``key.sub=value`` on the configuration in the file's header.

    Raises:
        UserError: If the file, the data or an override does not fit.
    """
    exported = load_exported(weights)
    header = exported.header
    config = override_config(exported.config, overrides)
    processes = join_processes(config.train)
    try:
        corpus = exported.task.open(config)
        for problem in rate_problems(header, corpus, source=str(weights)):
            raise UserError(problem)
        task = exported.task.wrap(exported.model, config, corpus)
        task.autocast = resolve_autocast(config, processes.device)
        evaluation = Evaluator(corpus, config, processes).run(task.to(processes.device))
    finally:
        leave_processes()
    environment = describe_environment(devices=[processes.describe_device()])
    report = evaluation.report(
        weights=str(weights),
        step=int(header.get("step", 0)),
        seed=config.seed,
        dataset=corpus.manifest.dataset,
        fps=corpus.manifest.fps,
        data_fingerprint=corpus.manifest.fingerprint,
        trained_on_fingerprint=header.get("data_fingerprint", "unknown"),
        config_hash=known if config.has_hash(known := header.get("config_hash", "")) else config.hash(),
        commit=environment["git_commit"],
        commit_dirty=environment["git_dirty"],
        trained_at_commit=header.get("commit", "unknown"),
    )
    return WeightsEvaluation(config, evaluation, report, int(header.get("step", 0)))
