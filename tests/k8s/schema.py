"""Manifests against the schemas of an API server and of the operators, CEL rules included."""

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from celpy import Environment
from celpy.adapter import json_to_cel
from jsonschema import Draft202012Validator

from tests.k8s.manifests import Manifest, kind_of, name_of, templates

_SCHEMAS = json.loads(gzip.decompress(Path(__file__).with_name("schemas.json.gz").read_bytes()))
_REFERENCE = "#/components/schemas/"


def find_problems(manifest: Manifest) -> Iterator[str]:
    """Everything about a manifest that its schema does not allow, pod templates within it included."""
    kind = kind_of(manifest)
    if kind in _SCHEMAS["custom"]:
        schema = _SCHEMAS["custom"][kind]["schema"]
        filled = fill_defaults(manifest, schema)
        yield from _say(_custom_validator(kind), filled, kind)
        yield from broken_rules(filled, schema, kind)
        for place, template in templates(manifest):
            yield from _say(_core_validator("io.k8s.api.core.v1.PodTemplateSpec"), template, place)
            yield from duplicates(
                template, {"$ref": f"{_REFERENCE}io.k8s.api.core.v1.PodTemplateSpec"}, place
            )
    elif kind in _SCHEMAS["core"]["kinds"]:
        name = _SCHEMAS["core"]["kinds"][kind]
        yield from _say(_core_validator(name), manifest, kind)
        yield from duplicates(manifest, {"$ref": f"{_REFERENCE}{name}"}, kind)
    else:
        yield f"{kind}: no schema for this kind"
    is_cluster_wide = kind in ("v1/Namespace", "scheduling.k8s.io/v1/PriorityClass") or (
        _SCHEMAS["custom"].get(kind, {}).get("scope") == "Cluster"
    )
    if is_cluster_wide == ("namespace" in manifest["metadata"]):
        yield f"{name_of(manifest)}: {'has a' if is_cluster_wide else 'lacks its'} namespace"


def _say(validator: Draft202012Validator, value: Any, place: str) -> Iterator[str]:
    for error in validator.iter_errors(value):
        yield f"{place}{error.json_path[1:]}: {error.message[:200]}"


@cache
def _core_validator(name: str) -> Draft202012Validator:
    schemas = {key: strict(value) for key, value in _SCHEMAS["core"]["schemas"].items()}
    return Draft202012Validator({"$ref": f"{_REFERENCE}{name}", "components": {"schemas": schemas}})


@cache
def _custom_validator(kind: str) -> Draft202012Validator:
    schema = strict(_SCHEMAS["custom"][kind]["schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return Draft202012Validator(schema)


def strict(schema: Any) -> Any:
    """The schema as JSON Schema: unknown fields are errors, and Kubernetes' own words are put into JSON's."""
    if isinstance(schema, list):
        return [strict(value) for value in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {key: strict(value) for key, value in schema.items() if key not in ("properties", "default")}
    if "properties" in schema:
        made["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        made["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def fill_defaults(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value with the defaults of its schema, as the server stores it."""
    if isinstance(value, list):
        return [fill_defaults(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    filled = {name: row["default"] for name, row in properties.items() if "default" in row} | value
    return {name: fill_defaults(item, properties.get(name, {})) for name, item in filled.items()}


def broken_rules(value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """CEL rules that do not hold; those about a change of an object are left out."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"]:
            held = _program(rule["rule"]).evaluate({"self": json_to_cel(value)})
            if not held:
                yield f"{place}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        for name, item in value.items():
            if name in schema.get("properties", {}):
                yield from broken_rules(item, schema["properties"][name], f"{place}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from broken_rules(item, schema.get("items", {}), f"{place}[{number}]")


@cache
def _program(rule: str) -> Any:
    environment = Environment()
    return environment.program(environment.compile(rule))


def duplicates(value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """Two items of a list with the same key, such as two containers of one name."""
    schema = _resolve(schema)
    if isinstance(value, dict):
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name)
            if inner is not None:
                yield from duplicates(item, inner, f"{place}.{name}")
    elif isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        seen: set[tuple[Any, ...]] = set()
        for number, item in enumerate(value):
            yield from duplicates(item, schema.get("items", {}), f"{place}[{number}]")
            found = tuple(item.get(key) for key in keys) if keys and isinstance(item, dict) else ()
            if found and found in seen:
                yield f"{place}[{number}]: {dict(zip(keys, found, strict=True))} is there twice"
            seen.add(found)


def _resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that a reference, alone or in ``allOf``, means."""
    parts = [schema, *schema.get("allOf", ())]
    for part in parts:
        if "$ref" in part:
            target = _SCHEMAS["core"]["schemas"][part["$ref"].removeprefix(_REFERENCE)]
            return {**schema, **_resolve(target)}
    return schema
