"""YAML as configurations use it: the core schema of YAML 1.2, in which only a number is a number.

YAML 1.1, PyYAML's own, takes 2024-01-01 for a date, 1:30 and 010 for other numbers, on and no for booleans,
and 1e-3 for a text.
"""

import re
from typing import Any, ClassVar

import yaml

_MAX_DEPTH = 20
"""A configuration nests four deep; what is nested without end would exhaust the interpreter's stack."""
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
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_DEPTH} levels deep", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            problem = ""
            if not isinstance(key.value, str):
                problem = "a key must be a name"
            elif key.value in seen - {"<<"}:
                problem = f"{key.value!r} stands there twice"
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_number(self, node: Any) -> Any:
        make = _WrittenInt if _INT.match(node.value) else _WrittenFloat
        try:
            value = make(re.sub(r"\.(?=inf|nan)", "", node.value, flags=re.I))
        except ValueError as error:  # more digits than Python reads
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
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
        yaml.YAMLError: If it is none, holds a key twice, or nests too deep.
    """
    try:
        return yaml.load(text, _Loader)
    except (KeyError, ValueError) as error:  # an explicit tag such as !!bool before a value that is none
        raise yaml.YAMLError(f"a tag does not fit its value: {error}") from None
