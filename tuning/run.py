"""A whole sweep: search, confirm, choose, register and report."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import ray
import yaml
from ray.tune.error import TuneError

from langpose_dist.config import build_config, with_values
from langpose_dist.host.atomic import write_text
from langpose_dist.host.console import say
from langpose_dist.host.environment import describe_environment, installed_packages
from langpose_dist.host.redaction import redact
from langpose_dist.metrics.table import higher_is_better
from langpose_dist.report.sweep import (
    Configuration,
    TrialRecord,
    rank_configurations,
    read_sweep,
    to_text,
    write_report,
)
from langpose_dist.runs.tracker import RunInfo, Status, Tracker
from langpose_dist.tracking.factory import build_tracker
from langpose_dist.train.preflight import check_here, raise_problems
from tuning.cluster import check_slots, node_resources, start_ray
from tuning.folder import SweepRecord, check_folder, held
from tuning.outcomes import Narrator, settling
from tuning.plan import Plan
from tuning.recorder import Recorder
from tuning.settings import SWEEP_FILE, Sweep
from tuning.stages import StageRunner
from tuning.stopping import Stopping, SweepInterrupted
from tuning.trial import new_trial, trial_folder


class SweepFailed(Exception):
    """The sweep came to no result; the message is one line."""


def run_sweep(plan: Plan, *, resume: bool, address: str | None, tell: Callable[[str], Any]) -> None:
    """Run a sweep to its end.

    Args:
        plan: From ``prepare``.
        resume: Resume the sweep that the folder holds.
        address: Of a running Ray cluster; ``None`` for this machine alone.
        tell: Given lines for a person.

    Raises:
        UserError: If configuration, data, folder or cluster do not allow it.
        SweepInterrupted: If it was asked to stop; ``resume`` continues it.
        SweepFailed: If it came to no result.
    """
    check_folder(plan, resume=resume)
    settings = plan.sweep.settings
    with held(plan.output), Stopping(plan.output) as stopping, _shut_down_ray():
        check_folder(plan, resume=resume)  # another sweep may have held it until now
        attempt = SweepAttempt(plan, tell, is_resumed=resume)
        raise_problems(check_here(plan.sweep.config, settings.resources.workers, attempt.tracker))
        start_ray(address)
        stopping.listen()
        slots = check_slots(node_resources(), settings.resources)
        attempt.run(min(slots, settings.max_concurrent or slots), stopping)


class SweepAttempt:
    """One attempt at a sweep, from its start or from where the attempt before ended."""

    def __init__(self, plan: Plan, tell: Callable[[str], Any], *, is_resumed: bool) -> None:
        self.plan = plan
        self.output = plan.output
        self.tell = tell
        self.is_resumed = is_resumed
        self.environment = describe_environment()
        self.tracker: Tracker = build_tracker(
            plan.sweep.config,
            tags={"langpose.kind": "sweep", "sweep.searcher": plan.sweep.settings.searcher},
            texts={SWEEP_FILE: _to_yaml(plan.sweep)},
            source="tuning.sweep",
        )
        self.record = SweepRecord(plan, self.environment, is_resumed=is_resumed)

    def run(self, max_concurrent: int, stopping: Stopping) -> None:
        """Search, confirm, choose, register and report."""
        with self._recorded():
            self._start(max_concurrent)
            with settling(self.plan.sweep.config, self.tracker, is_resumed=self.is_resumed) as settle:
                recorder = Recorder(self.plan.sweep, Narrator(self.plan, self.tell), settle)
                stages = StageRunner(
                    self.plan.sweep, max_concurrent=max_concurrent, stopping=stopping, recorder=recorder
                )
                stages.search(self.plan.first, num_suggested=self.plan.num_suggested)
                stages.confirm(self._finalists())
            best = self._choose()
            self._report(best, self._register(best))

    def _start(self, max_concurrent: int) -> None:
        config, manifest = self.plan.sweep.config, self.plan.corpus.manifest
        self.tracker.start(
            RunInfo(
                config=config,
                run_dir=self.output,
                dataset=manifest.dataset,
                data_fingerprint=manifest.fingerprint,
                environment=self.environment,
                packages=installed_packages(),
                is_resumed=self.is_resumed,
            )
        )
        self.tracker.opened()
        tracking = self.tracker.record
        # Trials read their configuration from here, and belong under this run.
        parent = self.plan.sweep.with_values({"tracking.parent_run_id": tracking.get("run_uid")})
        write_text(self.output / SWEEP_FILE, _to_yaml(parent))
        self.record.write(max_concurrent=max_concurrent, tracking=tracking)

    def _finalists(self) -> list[TrialRecord]:
        """Trials of finalists and baseline with fresh seeds; once begun, the confirm stage keeps to them."""
        settings = self.plan.sweep.settings
        if self.record.confirm or not settings.has_confirm_stage:
            return self.record.confirm
        searched = self._ranked("search")
        chosen = [found.params for found in searched if found.is_complete and not found.is_baseline]
        if not chosen:  # nothing to confirm, and nothing to choose either
            return []
        points: list[Mapping[str, Any] | None] = [None] if settings.baseline else []
        points += chosen[: settings.finalists]
        seeded = ((point, seed) for point in points for seed in settings.seeds)
        trials = [
            new_trial(number, seed, point, settings.resources, stage="confirm")
            for number, (point, seed) in enumerate(seeded, self.plan.num_trials)
        ]
        self.record.write(confirm=[trial.model_dump(mode="json") for trial in trials])
        return trials

    def _choose(self) -> Configuration:
        ranked = [found for found in self._ranked() if found.is_complete]
        if not ranked:
            raise SweepFailed(f"no trial finished; see {self.output / 'trials'}/*/trial.log")
        return ranked[0]

    def _ranked(self, stage: Literal["search"] | None = None) -> list[Configuration]:
        folder = read_sweep(self.output)
        return rank_configurations(folder.sweep, folder.trials, stage=stage)

    def _register(self, best: Configuration) -> str | None:
        """Register the best model under its alias; returns its name and version."""
        config = self.plan.sweep.config.tracking
        if not config.enabled or config.register_as is None:
            return None
        from langpose_dist.tracking.trials import register_trial

        metric = self.plan.sweep.settings.objective[0]
        return register_trial(
            trial_folder(self.output, _best_seed(best, metric).trial_id),
            name=config.register_as,
            alias=config.alias,
            uri=config.uri,
        )

    def _report(self, best: Configuration, registered: str | None) -> None:
        sweep = self.plan.sweep
        values = {name: best.mean(name) for name in sorted({*sweep.settings.objective, *best.values})}
        best_file = self.output / "best.yaml"
        write_text(best_file, _best_yaml(sweep, best))
        trials = [trial.trial_id for trial in best.trials]
        found = {"trials": trials, "params": dict(best.params), "values": values, "registered": registered}
        self.record.write(best=found, status="finished", reason="")
        report = write_report(self.output)
        for file in (best_file, *report.files):
            self.tracker.log_artifact(file, "report")
        step = sweep.config.train.max_steps
        assert step is not None
        self.tracker.log_metrics(
            {f"best/{name}": value for name, value in values.items() if value is not None}, step
        )
        self.tell(to_text(report))
        self.tell(f"best configuration: {best_file}")
        if registered is not None:
            tracking = sweep.config.tracking
            self.tell(f"registered: {registered}, models:/{tracking.register_as}@{tracking.alias}")

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Write down how the attempt ends, whatever ends it."""
        end: tuple[Status, str, str] = ("FAILED", "failed", "an error; see its message")
        try:
            yield
            end = ("FINISHED", "finished", "")
        except SweepInterrupted as stop:
            end = ("KILLED", "interrupted", str(stop))
            raise
        except KeyboardInterrupt:
            end = ("KILLED", "interrupted", "SIGINT, twice")
            raise
        except (TuneError, OSError) as error:  # Tune's text is a traceback; the other's of a full disk
            reason = str(error).strip().splitlines()[-1]
            end = ("FAILED", "failed", redact(reason))
            raise SweepFailed(f"{reason}; fix that, then resume with --resume") from error
        except Exception as error:
            end = ("FAILED", "failed", redact(str(error)))
            raise
        finally:
            try:
                self.record.write_if_begun(status=end[1], reason=end[2])
            except OSError as error:  # it must not hide what ended the sweep
                say(f"sweep.json keeps its last state: {error}")
            finally:
                self.tracker.finish(end[0], end[2])


@contextmanager
def _shut_down_ray() -> Iterator[None]:
    try:
        yield
    finally:
        ray.shutdown()


def _best_seed(best: Configuration, metric: str) -> TrialRecord:
    """Best of the best configuration's seeds, whose model is registered."""
    sign = -1 if higher_is_better(metric) else 1
    ended = [trial for trial in best.trials if trial.status == "finished"]
    return min(ended, key=lambda trial: sign * trial.values_at(best.step)[metric])


def _best_yaml(sweep: Sweep, best: Configuration) -> str:
    """The best configuration, for ``langpose train``."""
    content = with_values(sweep.config.to_dict(), best.params)
    content = with_values(content, {"tracking.register_as": None, "output": f"{sweep.config.output}-best"})
    values = ", ".join(f"{name} {best.mean(name):.5g}" for name in sweep.settings.objective)
    split = sweep.config.data.validation_split
    head = (
        f"# The best configuration of {sweep.config.output}: {values} on {split}.\n"
        "# langpose train --config best.yaml output=FOLDER\n"
    )
    return head + build_config(content).to_yaml()


def _to_yaml(sweep: Sweep) -> str:
    return yaml.safe_dump(sweep.to_dict(), sort_keys=False)
