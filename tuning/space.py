"""What a sweep varies: points drawn beforehand, or suggested one by one; no Ray, no files."""

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, Self, get_args

import numpy as np

from langpose_dist.config import ConfigError, suggest

Kind = Literal["choice", "uniform", "log_uniform", "integer", "grid"]
DISCRETE: tuple[Kind, ...] = ("choice", "grid")
"""Kinds whose arguments are their values; those of the others are the lowest and the highest."""

DEFAULT_SPACE: dict[str, Any] = {
    "loss.lambda_con": {"log_uniform": [0.05, 5.0]},
    "loss.lambda_3d": {"log_uniform": [0.1, 10.0]},
    "loss.lambda_v": {"log_uniform": [2.0, 200.0]},
    "loss.temperature": {"log_uniform": [0.02, 0.5]},
}
"""A factor of ten to each side of the paper's weights, and the temperatures that are in use elsewhere."""

_WANT = "such as {log_uniform: [0.05, 5.0]}"
_PATIENCE = 1000
"""Samples in a row with nothing new, after which a finite space counts as exhausted."""


class Suggester(Protocol):
    """What of ``optuna.trial.Trial`` is needed."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number between two."""
        ...

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number between two, both included."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[int]) -> int:
        """One of several."""
        ...


@dataclass(frozen=True)
class Dimension:
    """One key of the configuration and the values that it may have."""

    key: str
    kind: Kind
    arguments: tuple[Any, ...]
    """Every value of ``choice`` and ``grid``; else the lowest and the highest, both included."""
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Other keys and the values that they must have for this one to be varied at all."""

    def __post_init__(self) -> None:
        if self.kind in DISCRETE:
            self._check_choices()
        else:
            self._check_range()

    @classmethod
    def from_entry(cls, key: str, entry: Any) -> Self:
        """Read what YAML says of a key.

        Raises:
            ConfigError: If that is no kind with its arguments.
        """
        if not isinstance(entry, Mapping):
            raise ConfigError(f"sweep.space: {key}={entry!r} must be a kind with its values, {_WANT}")
        kinds = [name for name in entry if name != "when"]
        for name in kinds:
            if name not in get_args(Kind):
                known = ", ".join(get_args(Kind))
                hint = suggest(str(name), [*get_args(Kind), "when"])
                raise ConfigError(f"sweep.space: {key}: unknown kind {name!r}, it can be {known}{hint}")
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            raise ConfigError(f"sweep.space: {key} must have one kind, {_WANT}, not {found}")
        (kind,) = kinds
        arguments = entry[kind]
        if not isinstance(arguments, list | tuple):
            raise ConfigError(f"sweep.space: {key}: {kind}={arguments!r} must be a list")
        if kind not in DISCRETE:
            arguments = [_number(key, value, whole=kind == "integer") for value in arguments]
        return cls(key, kind, tuple(arguments), _conditions(key, entry.get("when", {})))

    def to_entry(self) -> dict[str, Any]:
        """As in YAML."""
        entry: dict[str, Any] = {self.kind: list(self.arguments)}
        if self.when:
            entry["when"] = {
                key: values[0] if len(values) == 1 and not isinstance(values[0], list) else list(values)
                for key, values in self.when.items()
            }
        return entry

    def draw(self, seed: int, number: int) -> Any:
        """The value of a sample; it depends on nothing but seed, number and the key's name.

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
        if self.kind in DISCRETE:
            return self.arguments[int(rng.integers(len(self.arguments)))]
        low, high = self.arguments
        if self.kind == "integer":
            return int(rng.integers(low, high, endpoint=True))
        if self.kind == "uniform":
            return float(rng.uniform(low, high))
        return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)

    def suggest(self, trial: Suggester) -> Any:
        """The value that Optuna suggests."""
        if self.kind in DISCRETE:
            # By number: Optuna takes no lists.
            return self.arguments[trial.suggest_categorical(self.key, range(len(self.arguments)))]
        low, high = self.arguments
        if self.kind == "integer":
            return trial.suggest_int(self.key, low, high)
        return trial.suggest_float(self.key, low, high, log=self.kind == "log_uniform")

    def _check_choices(self) -> None:
        if not self.arguments:
            raise ConfigError(f"sweep.space: {self.key}: {self.kind}=[] must name at least one value")
        for number, value in enumerate(self.arguments):
            if value in self.arguments[:number]:
                raise ConfigError(f"sweep.space: {self.key}: {self.kind} names {value!r} twice")

    def _check_range(self) -> None:
        said = f"sweep.space: {self.key}: {self.kind}={list(self.arguments)}"
        if len(self.arguments) != 2:
            raise ConfigError(f"{said} must be two numbers, the lowest and the highest")
        low, high = self.arguments
        if low >= high:
            raise ConfigError(f"{said}: the lowest must be below the highest")
        if self.kind == "log_uniform" and low <= 0:
            raise ConfigError(f"{said}: the lowest must be above 0; use uniform, or raise it")


@dataclass(frozen=True)
class Space:
    """All that a sweep varies."""

    dimensions: tuple[Dimension, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Values of the keys that conditions refer to and that are not varied."""

    @classmethod
    def from_dict(cls, content: Any, base: Mapping[str, Any]) -> Self:
        """Read what YAML says.

        Args:
            content: Key -> kind and arguments, and possibly conditions.
            base: Dotted key -> value of the configuration without the sweep.

        Raises:
            ConfigError: With one line that names the key, the value and the remedy.
        """
        if not isinstance(content, Mapping) or not content:
            raise ConfigError(
                f"sweep.space={content!r} must name at least one key, such as "
                "{loss.temperature: {log_uniform: [0.02, 0.5]}}"
            )
        dimensions = tuple(Dimension.from_entry(str(key), entry) for key, entry in content.items())
        keys = {dimension.key for dimension in dimensions}
        constants: dict[str, Any] = {}
        for dimension in dimensions:
            for other in dimension.when.keys() - keys:
                if other not in base:
                    hint = suggest(other, list(base))
                    raise ConfigError(f"sweep.space: {dimension.key}: when: unknown key {other!r}{hint}")
                constants[other] = base[other]
        return cls(_sorted(dimensions), constants)

    def to_dict(self) -> dict[str, Any]:
        """As in YAML."""
        return {dimension.key: dimension.to_entry() for dimension in self.dimensions}

    @property
    def keys(self) -> tuple[str, ...]:
        """What is varied, a key behind those that it depends on."""
        return tuple(self._by_key)

    def get(self, key: str) -> Dimension | None:
        """The values of a key, ``None`` if it is not varied."""
        return self._by_key.get(key)

    def points(self, searcher: str, num_trials: int, seed: int) -> list[dict[str, Any]]:
        """Different points that are fixed beforehand; a key whose conditions do not hold is left out.

        Args:
            searcher: ``random``, or ``grid``: every combination of all values.
            num_trials: Random: number of samples. Each is crossed with all grids, which share its draws. A
                finite space may have fewer.
            seed: Of the draws.
        """
        if searcher == "grid":
            return list(_by_name(self._expand(0, seed, DISCRETE)).values())
        points: dict[str, dict[str, Any]] = {}
        samples, tries = 0, 0
        for number in itertools.count():
            if samples == num_trials or tries == _PATIENCE:
                break
            before = len(points)
            points |= _by_name(self._expand(number, seed, ("grid",)))
            samples, tries = (samples + 1, 0) if len(points) > before else (samples, tries + 1)
        return list(points.values())

    def suggest(self, trial: Suggester) -> dict[str, Any]:
        """A point that Optuna suggests, key by key, without those whose conditions do not hold.

        Args:
            trial: An ``optuna.trial.Trial``, or Ray's wrapper of one: ``OptunaSearch(space.suggest)``.
        """
        point: dict[str, Any] = {}
        for dimension in self.dimensions:
            if self._is_active(dimension, point):
                point[dimension.key] = dimension.suggest(trial)
        return point

    def encode(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """What Optuna knows of a point that it suggested."""
        found: dict[str, Any] = {}
        for key, value in point.items():
            dimension = self._by_key[key]
            is_numbered = dimension.kind in DISCRETE
            found[key] = dimension.arguments.index(value) if is_numbered else value
        return found

    def num_combinations(self, searcher: str) -> int:
        """Of the values that ``points`` crosses, conditions aside."""
        crossed = DISCRETE if searcher == "grid" else ("grid",)
        return math.prod(len(item.arguments) for item in self.dimensions if item.kind in crossed)

    @cached_property
    def _by_key(self) -> dict[str, Dimension]:
        return {dimension.key: dimension for dimension in self.dimensions}

    def _expand(self, number: int, seed: int, crossed: Sequence[Kind]) -> list[dict[str, Any]]:
        points: list[dict[str, Any]] = [{}]
        for dimension in self.dimensions:
            extended: list[dict[str, Any]] = []
            for point in points:
                if not self._is_active(dimension, point):
                    extended.append(point)
                elif dimension.kind in crossed:
                    extended += [{**point, dimension.key: value} for value in dimension.arguments]
                else:
                    extended.append({**point, dimension.key: dimension.draw(seed, number)})
            points = extended
        return points

    def _is_active(self, dimension: Dimension, point: Mapping[str, Any]) -> bool:
        """What depends on a key that is itself left out is left out too."""
        known = {**self.constants, **point}
        return all(key in known and known[key] in values for key, values in dimension.when.items())


def _number(key: str, value: Any, *, whole: bool) -> float | int:
    try:
        # YAML 1.1 reads 1e-3 as a string.
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (whole and not (number.is_integer() and abs(number) < 2**53)):
        raise ConfigError(f"sweep.space: {key}: {value!r} must be a {'whole ' if whole else ''}number")
    return int(number) if whole else number


def _conditions(key: str, when: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, Mapping):
        raise ConfigError(
            f"sweep.space: {key}: when={when!r} must be keys with their values, such as "
            "{loss.contrastive: modified}"
        )
    conditions = {
        str(other): tuple(values) if isinstance(values, list | tuple) else (values,)
        for other, values in when.items()
    }
    for other, values in conditions.items():
        if not values:
            raise ConfigError(f"sweep.space: {key}: when: {other}=[] must name at least one value")
    return conditions


def _sorted(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Each behind those that its conditions refer to; otherwise in the order given."""
    waiting = list(dimensions)
    ordered: list[Dimension] = []
    while waiting:
        open_keys = {dimension.key for dimension in waiting}
        ready = next((item for item in waiting if not item.when.keys() & open_keys), None)
        if ready is None:
            raise ConfigError(f"sweep.space: when: {_circle(waiting)}")
        waiting.remove(ready)
        ordered.append(ready)
    return tuple(ordered)


def _circle(dimensions: Sequence[Dimension]) -> str:
    """Of dimensions that all wait for another, those that wait for themselves in the end."""
    waits = {item.key: item.when.keys() & {other.key for other in dimensions} for item in dimensions}
    path = [dimensions[0].key]
    while path[-1] not in path[:-1]:
        path.append(min(waits[path[-1]]))
    circle = path[path.index(path[-1]) : -1]
    return (
        f"{circle[0]} depends on itself"
        if len(circle) == 1
        else f"{' and '.join(circle)} depend on each other"
    )


def _by_name(points: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {json.dumps(point, sort_keys=True): point for point in points}
