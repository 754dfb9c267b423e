"""What the driver writes down of a sweep while it runs: plain JSON that the report reads without Ray."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ray import tune
from ray.tune.experiment import Trial

from langpose_dist.host.atomic import replace_text
from langpose_dist.runs.folder import RunFolder
from tuning.trial import ENDED, STEP, TrialPlan, trial_folder

FORMAT = 1
_SILENT = "its process ended without a word"
_DEAD = "worker process has died"
_OUT_OF_MEMORY = "running low on memory"
"""In Ray's words for the end of a process."""


class Recorder(tune.Callback):
    """Keeps ``trial.json`` of each trial, and says what happens.

    Tune pickles it with the experiment, so it holds nothing but the folder; what belongs to this process
    alone is in ``Recorder.session``.

    Args:
        output: The sweep's folder.
        num_devices: Devices that a trial holds.
        device: What they are.
        num_steps: Of a whole trial.
        rungs: Steps at which trials are compared.
    """

    session: ClassVar["Session | None"] = None

    def __init__(
        self, output: Path, *, num_devices: int, device: str, num_steps: int, rungs: Sequence[int]
    ) -> None:
        self.output = output
        self.num_devices = num_devices
        self.device = device
        self.num_steps = num_steps
        self.rungs = tuple(rungs)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Once in each round of Tune's loop."""
        self._session.look(trials)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has got its devices, for the first time or again."""
        record = self._read(trial)
        self._session.started[trial.trial_id] = time.monotonic()
        self._write(record | {"status": "running", "reason": ""})

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has told an evaluation, or its end."""
        record = self._add_seconds(self._read(trial), trial)
        # The values that it trained with: the scheduler may have given it others by now.
        plan = TrialPlan.from_config(result["config"])
        record["params"] = dict(plan.params)
        metrics = {
            name: value
            for name, value in result.items()
            if "/" in name and isinstance(value, float | int) and math.isfinite(value)
        }
        if metrics:
            kept = [line for line in record["evaluations"] if line[STEP] < result[STEP]]
            record["evaluations"] = [
                *kept,
                {STEP: result[STEP], "metrics": metrics, "params": dict(plan.params)},
            ]
            record[STEP] = result[STEP]
            reached = [rung for rung in self.rungs if rung <= result[STEP]]
            record["rung"] = reached[-1] if reached else None
        if result.get(ENDED) == "diverged":
            record |= {"status": "diverged", "reason": result["reason"]}
        self._write(record)
        if ENDED not in result:  # else on_trial_complete follows
            self._session.say(record, trials)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has ended or was stopped."""
        record = self._add_seconds(self._read(trial), trial, ends=True)
        if record["status"] != "diverged":
            is_whole = record[STEP] >= self.num_steps
            reason = "" if is_whole else f"stopped by the scheduler after step {record[STEP]}"
            record |= {"status": "finished" if is_whole else "stopped", "reason": reason}
        self._end(record, trials)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed and is started again."""
        record = self._add_seconds(self._read(trial), trial, ends=True)
        record |= {"status": "pending", "failures": record["failures"] + 1, "reason": self._reason(trial)}
        self._write(record)
        self._session.say(record, trials)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed once too often."""
        record = self._add_seconds(self._read(trial), trial, ends=True)
        record |= {"status": "failed", "failures": record["failures"] + 1, "reason": self._reason(trial)}
        self._end(record, trials)

    def interrupt(self, trials: Sequence[Trial]) -> list[Trial]:
        """The loop has ended: those of the trials that have not are interrupted; returns them."""
        found = []
        for trial in trials:
            if trial.status == Trial.PAUSED:
                self._session.started.pop(trial.trial_id, None)  # it holds no devices
            record = self._add_seconds(self._read(trial), trial, ends=True)
            if record["status"] in ("running", "pending"):
                record |= {"status": "interrupted", "reason": "the sweep was interrupted"}
                self._end(record, trials)
                found.append(trial)
        return found

    @property
    def _session(self) -> "Session":
        assert Recorder.session is not None
        return Recorder.session

    def _end(self, record: dict[str, Any], trials: Sequence[Trial]) -> None:
        self._write(record)
        self._session.say(record, trials)
        self._session.on_end(record)

    def _reason(self, trial: Trial) -> str:
        """In the words of the training if it had some; else its process was ended from outside."""
        said = RunFolder(trial_folder(self.output, trial.trial_id)).read_reason()
        if said:
            return said
        # Tune's own copy, which it brings to the storage later than it calls back.
        with contextlib.suppress(OSError):
            if trial.error_file is not None:
                return explain(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
        return _SILENT

    def _read(self, trial: Trial) -> dict[str, Any]:
        plan = TrialPlan.from_config(trial.config)
        fresh = {
            "format": FORMAT,
            "trial_id": trial.trial_id,
            "number": plan.number,
            "stage": plan.stage,
            "is_baseline": plan.is_baseline,
            "params": dict(plan.params),
            "seed": plan.seed,
            "status": "pending",
            "reason": "",
            STEP: 0,
            "rung": None,
            "failures": 0,
            "seconds": 0.0,
            "num_devices": self.num_devices,
            "device": self.device,
            "evaluations": [],
        }
        with contextlib.suppress(OSError, ValueError):
            path = trial_folder(self.output, trial.trial_id) / "trial.json"
            fresh |= json.loads(path.read_text(encoding="utf-8"))
        return fresh

    def _add_seconds(self, record: dict[str, Any], trial: Trial, *, ends: bool = False) -> dict[str, Any]:
        now = time.monotonic()
        started = self._session.started.pop(trial.trial_id, None)
        if started is not None:
            record["seconds"] += now - started
            if not ends:
                self._session.started[trial.trial_id] = now
        return record

    def _write(self, record: Mapping[str, Any]) -> None:
        folder = trial_folder(self.output, record["trial_id"])
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", record)


class Session:
    """What the recorder needs of the process that it works in.

    Args:
        look: Called in each round of Tune's loop.
        say: Tells a person that a trial's record has changed.
        on_end: Called with the record of a trial that has ended for now.
    """

    def __init__(
        self,
        look: Callable[[Sequence[Trial]], Any],
        say: Callable[[Mapping[str, Any], Sequence[Trial]], Any],
        on_end: Callable[[Mapping[str, Any]], Any],
    ) -> None:
        self.look = look
        self.say = say
        self.on_end = on_end
        self.started: dict[str, float] = {}
        """Trial -> when it got its devices, or was last looked at."""


def explain(errors: str) -> str:
    """What ended a trial the last time, in one line.

    Args:
        errors: Tune's file of a trial's errors, in the order of their time.
    """
    lines = errors.rpartition("\nFailure # ")[2].strip().splitlines()
    if any(_OUT_OF_MEMORY in line for line in lines):
        return "Ray ended it: its node ran low on memory; raise sweep.resources.cpus, so that fewer run there"
    if not lines or any(_DEAD in line for line in lines):
        return _SILENT
    return lines[-1][:300]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file, whole or not at all."""
    replace_text(path, json.dumps(content, indent=2))
