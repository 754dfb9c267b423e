"""The search space: keys of the configuration and their values, checked against the schema."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
import optuna
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from langpose_dist.config import ConfigError, RunConfig, suggest
from langpose_dist.config.affects import EVALUATION, INPUT, LENGTH, RUNTIME, fields_of, marks

Kind = Literal["choice", "uniform", "log_uniform", "integer"]

DEFAULT_SPACE: dict[str, Any] = {
    "loss.lambda_con": {"log_uniform": [0.05, 5.0]},
    "loss.lambda_3d": {"log_uniform": [0.1, 10.0]},
    "loss.lambda_v": {"log_uniform": [2.0, 200.0]},
    "loss.temperature": {"log_uniform": [0.02, 0.5]},
}
"""A factor of ten to each side of the paper's weights, and the temperatures that are in use elsewhere."""

_MAX_REPEATS = 1000
"""Samples in a row with nothing new, after which a finite space counts as exhausted."""
_EQUAL_STEPS = "trials are compared at equal steps, so it must be the same in all"
_MEASURED = "it changes what is measured, so that trials could not be compared"
_REFUSED_KEYS = {
    "seed": "give several seeds in sweep.seeds",
    "train.evaluate_every": _EQUAL_STEPS,
    "window.num_frames": _MEASURED,
}
# Evaluation draws its cameras, errors and masks from the same ranges as training.
_REFUSED = {
    LENGTH: _EQUAL_STEPS,
    RUNTIME: "it does not change what is learnt",
    EVALUATION: _MEASURED,
    INPUT: _MEASURED,
}


@dataclass(frozen=True)
class Dimension:
    """One key of the configuration and the values that it may have."""

    key: str
    kind: Kind
    arguments: tuple[Any, ...]
    """Every value of a ``choice``; else the lowest and the highest, both included."""

    def draw(self, seed: int, number: int) -> Any:
        """Draw the value of a sample; it depends on nothing but seed, number and the key's name.

        Source:
            Philox, Salmon et al., SC 2011.
        """
        name = int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "little")
        rng = np.random.Generator(
            np.random.Philox(
                key=np.array([seed, name], dtype=np.uint64),
                counter=np.array([0, 0, 0, number], dtype=np.uint64),
            )
        )
        if self.kind == "choice":
            return self.arguments[int(rng.integers(len(self.arguments)))]
        low, high = self.arguments
        if self.kind == "integer":
            return int(rng.integers(low, high, endpoint=True))
        if self.kind == "uniform":
            return float(rng.uniform(low, high))
        return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)

    def suggest(self, trial: optuna.Trial) -> Any:
        """Have Optuna suggest a value."""
        if self.kind == "choice":
            # By number: Optuna takes no lists.
            return self.arguments[trial.suggest_categorical(self.key, range(len(self.arguments)))]
        low, high = self.arguments
        if self.kind == "integer":
            return trial.suggest_int(self.key, low, high)
        return trial.suggest_float(self.key, low, high, log=self.kind == "log_uniform")


@dataclass(frozen=True)
class Space:
    """All keys that a sweep varies."""

    dimensions: Mapping[str, Dimension]

    def to_dict(self) -> dict[str, Any]:
        """Key -> kind and arguments, as in YAML."""
        return {key: {item.kind: list(item.arguments)} for key, item in self.dimensions.items()}

    def points(self, searcher: str, num_trials: int, seed: int) -> list[dict[str, Any]]:
        """Different points that are fixed beforehand.

        Args:
            searcher: ``random``, or ``grid``: every combination of all values.
            num_trials: Random: number of draws. A finite space may have fewer points.
            seed: Of the draws.
        """
        if searcher == "grid":
            values = itertools.product(*(item.arguments for item in self.dimensions.values()))
            return [dict(zip(self.dimensions, point, strict=True)) for point in values]
        points: dict[str, dict[str, Any]] = {}
        repeats = 0
        for number in itertools.count():
            if len(points) == num_trials or repeats == _MAX_REPEATS:
                break
            point = {key: dimension.draw(seed, number) for key, dimension in self.dimensions.items()}
            name = json.dumps(point, sort_keys=True)
            repeats = repeats + 1 if name in points else 0
            points.setdefault(name, point)
        return list(points.values())

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Have Optuna suggest a point, key by key."""
        return {key: dimension.suggest(trial) for key, dimension in self.dimensions.items()}

    def encode(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """A point in the values that Optuna knows it by."""
        found = {}
        for key, value in point.items():
            arguments = self.dimensions[key].arguments
            found[key] = arguments.index(value) if self.dimensions[key].kind == "choice" else value
        return found


def read_space(entries: Any, schema: type[RunConfig] = RunConfig) -> Space:
    """Read a search space, with its values in the types of the schema.

    Args:
        entries: Key -> kind and arguments.
        schema: Of the configuration that is varied.

    Raises:
        ConfigError: With one line that names the key, the value and the remedy.
    """
    if not isinstance(entries, Mapping) or not entries:
        raise ConfigError(
            f"sweep.space={entries!r} must name at least one key, such as "
            "{loss.temperature: {log_uniform: [0.02, 0.5]}}"
        )
    fields, effects = dict(fields_of(schema)), dict(marks(schema))
    found: dict[str, Dimension] = {}
    for key, entry in entries.items():
        if key not in fields:
            raise ConfigError(f"sweep.space: unknown key {key!r}{suggest(str(key), list(fields))}")
        reason = _REFUSED_KEYS.get(key) or _REFUSED.get(effects[key])
        if reason is not None:
            raise ConfigError(f"sweep.space: {key} cannot be varied: {reason}")
        kind, arguments = _read_kind(key, entry, fields)
        found[key] = Dimension(key, kind, arguments)
    return Space(found)


def _read_kind(key: str, entry: Any, fields: Mapping[str, FieldInfo]) -> tuple[Kind, tuple[Any, ...]]:
    known = get_args(Kind)
    example = "such as {log_uniform: [0.05, 5.0]}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"sweep.space: {key}={entry!r} must be a kind with its values, {example}")
    for name in entry:
        if name not in known:
            hint = suggest(str(name), known)
            raise ConfigError(
                f"sweep.space: {key}: unknown kind {name!r}, it can be {', '.join(known)}{hint}"
            )
    if len(entry) != 1:
        named = " and ".join(entry) or "none"
        raise ConfigError(f"sweep.space: {key} must have one kind, {example}, not {named}")
    (kind,) = entry
    if not isinstance(entry[kind], list | tuple):
        raise ConfigError(f"sweep.space: {key}: {kind}={entry[kind]!r} must be a list")
    arguments = tuple(_read_value(fields[key], value, key) for value in entry[kind])
    problem = _problem_with(kind, arguments)
    if problem:
        raise ConfigError(f"sweep.space: {key}: {kind}={list(arguments)}: {problem}")
    return kind, arguments


def _problem_with(kind: Kind, arguments: tuple[Any, ...]) -> str:
    if kind == "choice":
        if not arguments:
            return "name at least one value"
        twice = [value for number, value in enumerate(arguments) if value in arguments[:number]]
        return f"{twice[0]!r} stands there twice" if twice else ""
    types = {type(value) for value in arguments}
    if not types <= {int, float}:
        return "not numbers: use choice"
    if kind == "integer" and types != {int}:
        return "not whole numbers: use uniform"
    if kind != "integer" and types != {float}:
        return "whole numbers: use integer"
    if len(arguments) != 2 or arguments[0] >= arguments[1]:
        return "give two numbers, the lowest and the highest"
    if kind == "log_uniform" and arguments[0] <= 0:
        return "the lowest must be above 0; use uniform, or raise it"
    return ""


def _read_value(field: FieldInfo, value: Any, source: str) -> Any:
    """Convert a value as the schema does, into plain containers."""
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[field.annotation, field],  # pyright: ignore[reportInvalidTypeForm, reportArgumentType]
        config=ConfigDict(allow_inf_nan=False, coerce_numbers_to_str=True),
    )
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json")
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(f"sweep.space: {source}={value!r}: {message[0].lower()}{message[1:]}") from None
