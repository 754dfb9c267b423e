"""The keys of a configuration that a sweep may vary."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from langpose_dist.config import ConfigError, RunConfig, suggest
from langpose_dist.config.affects import EVALUATION, INPUT, LENGTH, RUNTIME, marks

STEP_KEYS = ("train.global_batch_size", "window.stride", "data.train_split")
"""Keys that the number of steps in an epoch depends on."""
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


def check_key(key: str, entry: Any, schema: type[RunConfig]) -> None:
    """Refuse a key that cannot be varied.

    Args:
        key: Dotted key.
        entry: Its kind and values in the space.
        schema: Of the configuration that is varied.

    Raises:
        ConfigError: With the key that was meant, or the reason.
    """
    fields = schema_fields(schema)
    if key in schema.model_fields and key not in fields:
        below = next(name for name in fields if name.startswith(f"{key}."))
        inner = [f"{key}.{name}" for name in entry] if isinstance(entry, Mapping) else []
        named = next((name for name in inner if name in fields), below)
        raise ConfigError(f"sweep.space: {key!r} is a section; name its keys in full, such as {named!r}")
    if key not in fields:
        raise ConfigError(f"sweep.space: unknown key {key!r}{suggest(key, list(fields))}")
    reason = _REFUSED_KEYS.get(key) or _REFUSED.get(dict(marks(schema))[key])
    if reason is not None:
        raise ConfigError(f"sweep.space: {key} cannot be varied: {reason}")


def schema_fields(schema: type[RunConfig]) -> dict[str, FieldInfo]:
    """Dotted key -> field of the schema."""
    found: dict[str, FieldInfo] = {}
    for name, field in schema.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{name}.{key}": inner for key, inner in field.annotation.model_fields.items()}
        else:
            found[name] = field
    return found
