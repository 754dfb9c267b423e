"""Whether a search space can be searched: its keys, values and combinations, against the run's schema."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from langpose_dist.config import CIRCUMSTANCE, ConfigError, RunConfig, build_config, suggest, with_values
from tuning.space import DISCRETE, Dimension, Space

STEP_KEYS = ("train.global_batch_size", "window.stride", "data.train_split")
"""What the number of steps in an epoch depends on."""
MAX_TRIALS = 10_000

_REFUSED = (
    (re.compile(r"seed"), "give several seeds in sweep.seeds"),
    (
        re.compile(r"train\.(max_steps|epochs|evaluate_every)"),
        "trials are compared at equal steps, so it must be the same in all",
    ),
    (
        re.compile(rf"{CIRCUMSTANCE.pattern}|evaluation\.(batch_size|num_pictures)"),
        "it does not change what is learnt",
    ),
    (
        # Evaluation draws its cameras, errors and masks from the same ranges as training.
        re.compile(
            r"evaluation\..*|data\.validation_split|camera\..*|(noise|masking)\.(?!enabled).*"
            r"|window\.(num_frames|min_span_frames)"
        ),
        "it changes what is measured, so that trials could not be compared",
    ),
)


def checked_space(entries: Any, config: RunConfig) -> Space:
    """The search space, with its values in the types of the schema.

    Args:
        entries: What YAML says.
        config: What it changes.

    Raises:
        ConfigError: With one line that names the key, the value and the remedy.
    """
    if isinstance(entries, Mapping):
        for key in entries:
            _check_key(str(key), entries[key])
    space = Space.from_dict(entries, _flat(config))
    dimensions = tuple(_typed(dimension) for dimension in space.dimensions)
    space = replace(space, dimensions=dimensions)
    conditioned = tuple(_with_typed_conditions(dimension, space) for dimension in dimensions)
    return replace(space, dimensions=conditioned)


def check_points(points: list[dict[str, Any]], content: Mapping[str, Any], workers: int) -> None:
    """Whether values that are allowed one by one go together.

    Args:
        points: Key -> value of each configuration.
        content: Plain containers of the run, without the sweep.
        workers: Ranks of each trial.

    Raises:
        ConfigError: If those of a point do not.
    """
    from langpose_dist.train.engine import count_steps, micro_batch_size

    for point in points:
        try:
            config = build_config(with_values(content, point))
            micro_batch_size(config, workers)
            if config.train.max_steps is not None:
                count_steps(config, 0)
        except ConfigError as error:
            if not point:
                raise
            named = ", ".join(f"{key}={value}" for key, value in point.items())
            problem = "do not go together" if len(point) > 1 else "cannot be trained"
            raise ConfigError(f"sweep.space: {named} {problem}: {error}") from None


def possible_values(space: Space, key: str, config: RunConfig, *, baseline: bool) -> list[Any]:
    """Values of a key in a sweep's configurations; of a range its two ends.

    Args:
        space: The search space.
        key: Dotted key.
        config: The configuration that the space changes.
        baseline: Whether that one is trained too.
    """
    dimension = space.get(key)
    own = _flat(config)[key]
    if dimension is None:
        return [own]
    return [*dimension.arguments, *([own] if baseline or dimension.when else [])]


def _check_key(key: str, entry: Any) -> None:
    fields = _fields()
    if key in RunConfig.model_fields and key not in fields:
        below = next(name for name in fields if name.startswith(f"{key}."))
        inner = [f"{key}.{name}" for name in entry] if isinstance(entry, Mapping) else []
        named = next((name for name in inner if name in fields), below)
        raise ConfigError(f"sweep.space: {key!r} is a section; name its keys in full, such as {named!r}")
    if key not in fields:
        raise ConfigError(f"sweep.space: unknown key {key!r}{suggest(key, list(fields))}")
    for pattern, reason in _REFUSED:
        if pattern.fullmatch(key):
            raise ConfigError(f"sweep.space: {key} cannot be varied: {reason}")


def _typed(dimension: Dimension) -> Dimension:
    key, kind = dimension.key, dimension.kind
    numbers = _number_type(_fields()[key].annotation)
    if kind == "integer" and numbers is not int:
        remedy = "uniform" if numbers is float else "choice"
        raise ConfigError(f"sweep.space: {key} is not a whole number: use {remedy} instead of integer")
    if kind in ("uniform", "log_uniform") and numbers is not float:
        remedy, what = ("integer", "a whole number") if numbers is int else ("choice", "not a number")
        raise ConfigError(f"sweep.space: {key} is {what}: use {remedy} instead of {kind}")
    return replace(dimension, arguments=tuple(_read(key, value, key) for value in dimension.arguments))


def _with_typed_conditions(dimension: Dimension, space: Space) -> Dimension:
    when: dict[str, tuple[Any, ...]] = {}
    for key, values in dimension.when.items():
        source = f"{dimension.key}: when: {key}"
        when[key] = tuple(_read(key, value, source) for value in values)
        other = space.get(key)
        if other is None:
            continue
        if other.kind in ("uniform", "log_uniform"):
            raise ConfigError(
                f"sweep.space: {source} is drawn from a range, of which no value comes twice; a condition "
                "needs a choice, grid or integer"
            )
        for value in when[key]:
            if other.kind in DISCRETE:
                is_possible = value in other.arguments
            else:
                is_possible = other.arguments[0] <= value <= other.arguments[1]
            if not is_possible:
                raise ConfigError(
                    f"sweep.space: {source}={value!r} never comes: "
                    f"{key} is {other.kind} {list(other.arguments)}"
                )
    return replace(dimension, when=when)


def _read(key: str, value: Any, source: str) -> Any:
    """A value as the schema has it, in plain containers."""
    field = _fields()[key]
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[field.annotation, field],  # pyright: ignore[reportInvalidTypeForm, reportArgumentType]
        config=ConfigDict(allow_inf_nan=False, coerce_numbers_to_str=True),
    )
    try:
        return adapter.dump_python(adapter.validate_python(value), mode="json")
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise ConfigError(f"sweep.space: {source}={value!r}: {message[0].lower()}{message[1:]}") from None


def _fields() -> dict[str, FieldInfo]:
    """Dotted key -> what the schema says of it."""
    found: dict[str, FieldInfo] = {}
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{name}.{key}": inner for key, inner in field.annotation.model_fields.items()}
        else:
            found[name] = field
    return found


def _flat(config: RunConfig) -> dict[str, Any]:
    """As ``RunConfig.to_flat``, with URLs as they are."""
    return {
        name if key is None else f"{name}.{key}": value
        for name, section in config.model_dump(mode="json").items()
        for key, value in (section.items() if isinstance(section, dict) else [(None, section)])
    }


def _number_type(annotation: Any) -> type | None:
    """``int`` or ``float`` if a key takes such numbers, possibly besides ``None``."""
    if get_origin(annotation) is Annotated:
        return _number_type(get_args(annotation)[0])
    if annotation in (int, float):
        return annotation
    numbers = [_number_type(part) for part in get_args(annotation) if part is not type(None)]
    is_union = type(None) in get_args(annotation)
    return numbers[0] if is_union and len(numbers) == 1 else None
