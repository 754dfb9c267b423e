"""YAML files and ``key.sub=value`` overrides, checked against the schema.

Every mistake raises ``ConfigError`` with one line that names the key, the value and the remedy.
"""

import copy
import json
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError, create_model

from langpose_dist.config.affects import fields_of
from langpose_dist.config.core_yaml import read_yaml
from langpose_dist.config.errors import ConfigError, suggest
from langpose_dist.config.schema import RunConfig
from langpose_dist.config.tasks import section_of

Schema = TypeVar("Schema", bound=BaseModel)
_NULL = ("", "null")
_WORD = re.compile(r"[\w.+-]+")
_OPENED_BY = {"[": list, "{": dict, "'": str, '"': str}
_REMEDIES = {
    "bool_type": ": true or false",
    "int_type": ", in digits alone, such as 3",
    "float_type": ", such as 0.5 or 1e-3, without quotes",
    "string_type": "; put it in quotes if it is one",
}
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200
_SHOWN.maxlevel = 2


def load_config(files: Path | str | Sequence[Path | str] | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read YAML files, apply ``key.sub=value`` overrides and check the result.

    Args:
        files: One YAML file, or several of which a later one overrides the earlier; ``None``: defaults.
        overrides: ``key.sub=value``; a value that is no number, ``true``, ``null``, ``[list]`` or
            ``{key: value}`` is a text, with or without quotes.

    Raises:
        ConfigError: With one line that says what is wrong and what would be right.
    """
    return build_config(read_content(files, overrides))


def read_content(
    files: Path | str | Sequence[Path | str] | None, overrides: Iterable[str] = ()
) -> dict[str, Any]:
    """As ``load_config``, but what it says is not checked: plain containers.

    Raises:
        ConfigError: If a file cannot be read, or an override has no key or no place.
    """
    content: dict[str, Any] = {}
    for file in [files] if isinstance(files, Path | str) else files or ():
        content = _merge(content, _read_yaml(Path(file)))
    return with_overrides(content, overrides)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key, values replaced."""
    merged = dict(below)
    for key, value in above.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = _merge(before, value) if both else value  # pyright: ignore[reportArgumentType]
    return merged


def with_overrides(content: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of plain containers with ``key.sub=value`` overrides.

    Raises:
        ConfigError: If an override has no key or no place.
    """
    changed = copy.deepcopy(dict(content))
    for override in overrides:
        _apply_override(changed, override)
    return changed


def build_config(content: Mapping[str, Any]) -> RunConfig:
    """Check plain containers against the schema.

    Raises:
        ConfigError: With one line that says what is wrong and what would be right.
    """
    return check(schema_of(content), content)


def schema_of(content: Mapping[str, Any]) -> type[RunConfig]:
    """Schema of a configuration: a task that another package adds brings its own section.

    Raises:
        ConfigError: If no task has the name.
    """
    section = section_of(content.get("task", "pretrain"))
    if section is None:
        return RunConfig
    own: dict[str, Any] = {content["task"]: (section, section())}
    return create_model("RunConfig", __base__=RunConfig, **own)


def check(schema: type[Schema], content: Mapping[str, Any]) -> Schema:
    """Check plain containers against a schema that may hold more than a run's.

    Raises:
        ConfigError: With one line that says what is wrong and what would be right.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        names = [*schema.model_fields, *(key for key, _ in fields_of(schema))]
        raise ConfigError("; ".join(_explain(item, names) for item in error.errors())) from None


def with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of plain containers in which dotted keys have other values."""
    changed = copy.deepcopy(dict(content))
    for key, value in values.items():
        _set(changed, key, value, f"{key}={value!r}")
    return changed


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = suggest(str(path), [str(found) for found in path.parent.glob("*.yaml")])
        raise ConfigError(f"configuration file {path} does not exist{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"configuration file {path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"configuration file {path} must hold keys and values, not a {type(content).__name__}"
        )
    return content


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} must have the form key.sub=value")
    _set(content, key, _read_value(text.strip()), f"override {override!r}")


def _read_value(text: str) -> Any:
    """A number, boolean, null, quoted text, list or mapping; anything else is a text as typed."""
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        return text
    # Of a path nothing is syntax: neither the # in "my data #2", nor a lone ~, nor the & in "&a b".
    is_word = _WORD.fullmatch(text) is not None
    is_read = text in _NULL or isinstance(value, int | float if is_word else _OPENED_BY.get(text[:1], ()))
    return value if is_read else text


def _set(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: {section} is a value, not a section")
    content[last] = value


def _explain(error: Mapping[str, Any], names: Sequence[str]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        if key == "sweep":
            return "section 'sweep' is for python -m tuning.sweep"
        return f"unknown key {key!r}{suggest(key, names)}"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
    shown = _SHOWN.repr(error["input"])
    if error["type"] == "model_type":
        return f"{key}={shown}: a section holds keys with their values; leave it out for the defaults"
    return f"{key}={shown}: {error['msg'][0].lower()}{error['msg'][1:]}{_REMEDIES.get(error['type'], '')}"


def describe_keys(section: type[BaseModel] = RunConfig, prefix: str = "") -> list[tuple[str, str, str]]:
    """(key, default, description) of every value of the schema, for ``--help``."""
    return [
        (key, json.dumps(field.default), " ".join((field.description or "").split()))
        for key, field in fields_of(section, prefix)
    ]
