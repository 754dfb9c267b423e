"""YAML as configurations use it: the core schema of YAML 1.2, in which only a number is a number.

YAML 1.1, PyYAML's own, takes 2024-01-01 for a date, 1:30 and 010 for other numbers, on and no for booleans,
and 1e-3 for a text.
"""

import re
from typing import Any, ClassVar

import yaml

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$|[-+]?\.inf$|\.nan$", re.I
)
_NULL = re.compile(r"(~|null|Null|NULL|)$")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)$")


class _Written:
    """A number that keeps its spelling, since it may turn out to be a name."""

    text: str

    def __str__(self) -> str:
        return self.text


class _WrittenInt(_Written, int): ...


class _WrittenFloat(_Written, float): ...


class _Loader(yaml.SafeLoader):
    """Loader that reads plain containers, texts, numbers, booleans and null."""

    yaml_implicit_resolvers: ClassVar[Any] = {}

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused when it is to be a key
            if key.value in seen - {"<<"}:
                problem = f"{key.value!r} stands there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_number(self, node: Any) -> Any:
        make = _WrittenInt if _INT.match(node.value) else _WrittenFloat
        value = make(re.sub(r"\.(?=inf|nan)", "", node.value, flags=re.I))
        value.text = node.value
        return value


for _tag, _pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, None)
for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("<<$"), None)


def read_yaml(text: str) -> Any:
    """Read one YAML document.

    Raises:
        yaml.YAMLError: If it is none, or holds a key twice.
    """
    try:
        return yaml.load(text, _Loader)
    except (KeyError, ValueError, RecursionError) as error:  # !!bool x, 5000 digits, endless nesting
        raise yaml.YAMLError(str(error)) from None
