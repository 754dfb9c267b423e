"""A whole sweep: search, confirm, choose, register and report."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import ray
import yaml
from filelock import Timeout
from ray.tune.error import TuneError

from langpose_dist.config import UserError, build_config, with_values
from langpose_dist.host.atomic import replace_text
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
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.tracker import RunInfo, Status, Tracker
from langpose_dist.tracking.factory import build_tracker
from langpose_dist.train.evaluate import SOURCE_2D
from langpose_dist.train.preflight import check_here, raise_problems
from tuning.cluster import check_places, node_resources, start_ray, watch_head
from tuning.driver import Driver, check_is_own
from tuning.plan import Plan
from tuning.recorder import FORMAT, write_json
from tuning.schedulers import rungs
from tuning.settings import Sweep, load_sweep
from tuning.stopping import Stopping, SweepInterrupted
from tuning.trial import STATE_FOLDER, SWEEP_FILE, TrialPlan, trial_folder

SWEEP_RECORD = "sweep.json"
_LOCK_SECONDS = 15.0
_SETTLING_SECONDS = 60.0
"""That the end of a sweep waits for its tracking store."""
_FREE = (
    "sweep.max_concurrent",
    "sweep.max_failures",
    "tracking.register_as",
    "tracking.alias",
    "tracking.parent_run_id",
    "registry.",
    "data.num_workers",
    "data.cache_dir",
)
"""Keys that a resumed sweep may change, or their beginnings."""
_ENDED: Mapping[str, Status] = {
    "finished": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
    "diverged": "FAILED",
    "interrupted": "KILLED",
}


class SweepFailed(Exception):
    """The sweep came to no result; the message is one line."""


def run_sweep(plan: Plan, *, resume: bool, address: str | None, tell: Callable[[str], Any]) -> dict[str, Any]:
    """Run a sweep to its end.

    Args:
        plan: From ``prepare``.
        resume: Go on with the sweep that the folder holds.
        address: Of a running Ray cluster; ``None`` for this machine alone.
        tell: Is given lines for a person.

    Returns:
        The sweep's record.

    Raises:
        UserError: If configuration, data, folder or cluster do not allow it.
        SweepInterrupted: If it was asked to stop; ``resume`` goes on with it.
        SweepFailed, SweepStuck: If it came to no result.
    """
    check_folder(plan, resume=resume)
    settings = plan.sweep.settings
    with _held(plan.output), Stopping(plan.output) as stopping:
        check_folder(plan, resume=resume)  # another sweep may have held it until now
        course = _Course(plan, tell, is_resumed=resume)
        raise_problems(check_here(plan.sweep.config, settings.resources.workers, course.tracker))
        start_ray(address)
        stopping.listen()
        places = check_places(node_resources(), settings.resources)
        end_watch = watch_head(course.lose)
        try:
            return course.run(min(places, settings.max_concurrent or places), stopping)
        finally:
            end_watch()


class _Course:
    """One attempt at a sweep, from its start or from where it was broken off."""

    def __init__(self, plan: Plan, tell: Callable[[str], Any], *, is_resumed: bool) -> None:
        self.plan = plan
        self.output = plan.output
        self.tell = tell
        self.is_resumed = is_resumed
        self.began = time.monotonic()
        self.environment = describe_environment()
        self.tracker: Tracker = build_tracker(
            plan.sweep.config,
            tags={"langpose.kind": "sweep", "sweep.searcher": plan.sweep.settings.searcher},
            texts={SWEEP_FILE: _to_yaml(plan.sweep)},
            source="tuning.sweep",
        )
        self.record = self._first_record()

    def run(self, max_concurrent: int, stopping: Stopping) -> dict[str, Any]:
        """Start, or go on, and come to the end."""
        end: tuple[Status, str, str] = ("FAILED", "failed", "an error; see its message")
        self.record["max_concurrent"] = max_concurrent
        try:
            self._start()
            self._train(max_concurrent, stopping)
            self._conclude(self._choose())
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
            raise SweepFailed(f"{reason}; go on with --resume when that is mended") from error
        except Exception as error:
            end = ("FAILED", "failed", redact(str(error)))
            raise
        finally:
            try:
                if (self.output / SWEEP_RECORD).exists():
                    self._write(status=end[1], reason=end[2])
            except OSError as error:  # it must not hide what ended the sweep
                say(f"{SWEEP_RECORD} keeps its last state: {error}")
            finally:
                self.tracker.finish(end[0], end[2])
        return self.record

    def lose(self, reason: str) -> None:
        """Last words of a process that ends at once."""
        say(f"error: {reason}")
        if (self.output / SWEEP_RECORD).exists():
            self._write(status="interrupted", reason=reason)
        self.tracker.finish("KILLED", reason, wait=False)

    def _start(self) -> None:
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
        replace_text(self.output / SWEEP_FILE, _to_yaml(parent))
        self._write(status="running", reason="", tracking=tracking)

    def _train(self, max_concurrent: int, stopping: Stopping) -> None:
        settings = self.plan.sweep.settings
        with self._driver(max_concurrent, stopping) as driver:
            driver.run("search", self.plan.first, num_suggested=self.plan.num_suggested)
            # Without a finalist there is nothing to confirm, and nothing to choose either.
            if settings.has_confirm_stage and (plans := self._confirm_plans()):
                driver.run("confirm", plans)

    @contextmanager
    def _driver(self, max_concurrent: int, stopping: Stopping) -> Iterator[Driver]:
        sweep = self.plan.sweep
        settler = None
        if sweep.config.tracking.enabled:
            from langpose_dist.tracking.trials import Settler

            settler = Settler(sweep.config.tracking.uri)
        parent = self.tracker.record.get("run_uid")

        def on_end(record: Mapping[str, Any]) -> None:
            if settler is not None:
                settler.submit(
                    trial_folder(self.output, record["trial_id"]),
                    status=_ENDED[record["status"]],
                    reason=record["reason"],
                    tags=_tags(record),
                    parent=parent,
                )

        if self.is_resumed:
            before = read_sweep(self.output)
            for warning in before.warnings:
                say(f"warning: {warning}")
            for trial in before.trials:
                if trial.status in ("finished", "stopped", "diverged"):
                    on_end(trial.model_dump())  # the last attempt may have ended before it was told
        try:
            yield Driver(
                load_sweep([self.output / SWEEP_FILE]),
                max_concurrent=max_concurrent,
                stopping=stopping,
                say=_Narrator(self.plan, self.tell),
                on_end=on_end,
            )
        finally:
            left = settler.close(_SETTLING_SECONDS) if settler is not None else []
            if left:
                say(
                    f"MLflow does not have all of {len(left)} trials yet; nothing is lost, send it with: "
                    f"langpose registry replay {self.output}"
                )

    def _confirm_plans(self) -> list[TrialPlan]:
        """The finalists and the baseline, with fresh seeds; once begun, the stage keeps to them."""
        if self.record["confirm"]:
            return [TrialPlan(**plan) for plan in self.record["confirm"]]
        settings = self.plan.sweep.settings
        searched = self._ranked("search")
        chosen = [found.params for found in searched if found.is_complete and not found.is_baseline]
        if not chosen:
            return []
        points: list[Mapping[str, Any] | None] = [None] if settings.baseline else []
        points += chosen[: settings.finalists]
        numbered = enumerate(
            ((point, seed) for point in points for seed in settings.seeds), self.plan.num_trials
        )
        plans = [
            TrialPlan(number, seed, dict(point or {}), is_baseline=point is None, stage="confirm")
            for number, (point, seed) in numbered
        ]
        self._write(confirm=[asdict(plan) for plan in plans])
        return plans

    def _ranked(self, stage: Literal["search"] | None = None) -> list[Configuration]:
        folder = read_sweep(self.output)
        return rank_configurations(folder.sweep, folder.trials, stage=stage)

    def _choose(self) -> Configuration:
        ranked = [found for found in self._ranked() if found.is_complete]
        if not ranked:
            raise SweepFailed(f"no trial came to its end; see {self.output / 'trials'}/*/trial.log")
        return ranked[0]

    def _conclude(self, best: Configuration) -> None:
        """Write down, register and report what was found."""
        config = self.plan.sweep.config
        objective = self.plan.sweep.settings.objective
        values = {name: best.mean(name) for name in sorted({*objective, *best.values})}
        best_file = self.output / "best.yaml"
        replace_text(best_file, _best_yaml(self.plan.sweep, best))
        registered = None
        if config.tracking.enabled and config.tracking.register_as is not None:
            from langpose_dist.tracking.trials import register_trial

            registered = register_trial(
                trial_folder(self.output, _model_of(best, objective[0]).trial_id),
                name=config.tracking.register_as,
                alias=config.tracking.alias,
                uri=config.tracking.uri,
            )
        trials = [trial.trial_id for trial in best.trials]
        found = {"trials": trials, "params": dict(best.params), "values": values, "registered": registered}
        self._write(best=found, status="finished", reason="")
        report = write_report(self.output)
        for file in (best_file, *report.files):
            self.tracker.log_artifact(file, "report")
        step = config.train.max_steps
        assert step is not None
        self.tracker.log_metrics(
            {f"best/{name}": value for name, value in values.items() if value is not None}, step
        )
        self.tell(to_text(report))
        self.tell(f"best configuration: {best_file}")
        if registered is not None:
            reference = f"models:/{config.tracking.register_as}@{config.tracking.alias}"
            self.tell(f"registered: {registered}, {reference}")

    def _first_record(self) -> dict[str, Any]:
        sweep, manifest = self.plan.sweep, self.plan.corpus.manifest
        settings = sweep.settings.model_dump(mode="json")
        before: dict[str, Any] = {}
        if self.is_resumed:
            before = _read_record(self.output)
        return {
            "format": FORMAT,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
            "tracking": {},
            "best": None,
            "confirm": [],
            **before,
            "attempts": before.get("attempts", 0) + 1,
            "status": "running",
            "reason": "",
            "objective": settings["objective"],
            "split": sweep.config.data.validation_split,
            "searcher": settings["searcher"],
            "seed": settings["seed"],
            "scheduler": settings["scheduler"],
            "rungs": rungs(sweep),
            "num_steps": sweep.config.train.max_steps,
            "evaluate_every": sweep.config.train.evaluate_every,
            "planned": self.plan.num_trials,
            "space": sweep.space.to_dict(),
            "seeds": settings["seeds"],
            "finalists": settings["finalists"],
            "resources": settings["resources"],
            "max_concurrent": None,
            "origin": {
                "dataset": manifest.dataset,
                "fps": manifest.fps,
                "data_fingerprint": manifest.fingerprint,
                "config_hash": sweep.config.hash(),
                "commit": self.environment["git_commit"],
                "commit_dirty": self.environment["git_dirty"],
                "source_2d": SOURCE_2D,
            },
            "environment": self.environment,
        }

    def _write(self, **changes: Any) -> None:
        self.record |= changes
        now = time.monotonic()
        self.record["seconds"] += now - self.began
        self.began = now
        write_json(self.output / SWEEP_RECORD, self.record)


class _Narrator:
    """One line for each thing that happens to a trial."""

    def __init__(self, plan: Plan, tell: Callable[[str], Any]) -> None:
        self._plan = plan
        self._tell = tell
        self._seen: dict[str, Mapping[str, Any]] = {}
        self._metric = plan.sweep.settings.objective[0]

    def __call__(self, record: Mapping[str, Any]) -> None:
        self._seen[record["trial_id"]] = record
        ended = sum(
            other["status"] in _ENDED and other["status"] != "interrupted" for other in self._seen.values()
        )
        words = [f"{record['stage']} trial {record['number']} ({record['trial_id']}, seed {record['seed']})"]
        if record["evaluations"]:
            last = record["evaluations"][-1]
            value = last["metrics"].get(self._metric)
            words.append(f"step {last['step']}/{self._plan.sweep.config.train.max_steps}")
            words += [f"{self._metric} {value:.4g}"] if value is not None else []
        words.append(record["status"])
        if record["reason"]:
            words.append(record["reason"])
        planned = max(self._plan.num_trials, len(self._seen))
        self._tell(f"[{ended}/{planned} ended] {', '.join(words)}")


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    """What the sweep knows of a trial's end and the trial does not."""
    return {
        "sweep.status": record["status"],
        "sweep.stop_reason": record["reason"] or "came to its end",
        "sweep.rung": str(record["rung"]) if record["rung"] is not None else "none",
        "sweep.step": str(record["step"]),
        "sweep.failures": str(record["failures"]),
    }


def _model_of(best: Configuration, metric: str) -> TrialRecord:
    """Of the best configuration's seeds the one whose model is registered: the best."""
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


def check_folder(plan: Plan, *, resume: bool) -> None:
    """Whether the folder is new, or holds the sweep that is to go on.

    Raises:
        UserError: If not.
    """
    output = plan.output
    if not resume:
        if (output / SWEEP_RECORD).exists():
            raise UserError(f"{output} already holds a sweep; go on with --resume or choose another output=")
        if RunFolder(output).config.exists():
            raise UserError(f"{output} holds a run, not a sweep; choose another output=")
        return
    if not (output / SWEEP_RECORD).exists():
        raise UserError(f"{output} holds no sweep to resume; leave out --resume")
    check_is_own(output / STATE_FOLDER)
    before, now = (_flat(sweep) for sweep in (load_sweep([output / SWEEP_FILE]), plan.sweep))
    if before["output"] != now["output"]:
        raise UserError(
            f"{output} was {before['output']} when the sweep was started, and Ray's state holds that path; "
            "move it back"
        )
    known = _read_record(output).get("origin", {}).get("data_fingerprint")
    if known not in (None, plan.corpus.manifest.fingerprint):
        raise UserError(
            f"--resume: the shards at {plan.sweep.config.data.path} are others than the sweep began with: "
            f"fingerprint {known[:16]} then, {plan.corpus.manifest.fingerprint[:16]} now; start a new sweep "
            "with another output="
        )
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key) and not key.startswith(_FREE):
            raise UserError(
                f"--resume: {key} was {before.get(key)!r} and is now {now.get(key)!r}; leave it as it was "
                "(without --config all is), or start a new sweep with another output="
            )


def _read_record(output: Path) -> dict[str, Any]:
    path = output / SWEEP_RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{path} is damaged; start a new sweep with another output=")
    return record


def _flat(sweep: Sweep) -> dict[str, Any]:
    settings = {f"sweep.{key}": value for key, value in sweep.settings.model_dump(mode="json").items()}
    return sweep.config.to_flat() | settings


@contextmanager
def _held(output: Path) -> Iterator[None]:
    """Have the sweep's folder to this process alone, and Ray only for as long."""
    output.mkdir(parents=True, exist_ok=True)
    lock = RunFolder(output).lock(_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{output}: another sweep is running there; stop it first") from None
    try:
        yield
    finally:
        ray.shutdown()
        lock.release()


def _to_yaml(sweep: Sweep) -> str:
    return yaml.safe_dump(sweep.to_dict(), sort_keys=False)
