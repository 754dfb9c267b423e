"""The keys of a configuration that a sweep may vary."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from langpose_dist.config import CIRCUMSTANCE, ConfigError, RunConfig, suggest

STEP_KEYS = ("train.global_batch_size", "window.stride", "data.train_split")
"""What the number of steps in an epoch depends on."""

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


def check_key(key: str, entry: Any) -> None:
    """Refuse a key that cannot be varied.

    Args:
        key: Dotted key.
        entry: What the space says of it.

    Raises:
        ConfigError: With the key that was meant, or the reason.
    """
    fields = schema_fields()
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


def schema_fields() -> dict[str, FieldInfo]:
    """Dotted key -> field of the schema."""
    found: dict[str, FieldInfo] = {}
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{name}.{key}": inner for key, inner in field.annotation.model_fields.items()}
        else:
            found[name] = field
    return found
