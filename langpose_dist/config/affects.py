"""Marks beside configuration keys that say what a key changes; hash, resume, registry and sweeps ask them.

Every key of the schema carries one of these marks::

    stride: Annotated[Count, DATA] = 81
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Affects:
    """Mark of a key."""

    what: str


MODEL = Affects("model")
"""Shapes of the weights, and which of them learn; exported weights fix it."""
OBJECTIVE = Affects("objective")
"""Computation of a step from its windows, and its update of the weights."""
LENGTH = Affects("length")
"""Length of the run; a resumed run may change it."""
DATA = Affects("data")
"""Which windows training sees, and in what order."""
INPUT = Affects("input")
"""2D input and labels of a window, in training and in evaluation."""
EVALUATION = Affects("evaluation")
"""Which numbers an evaluation gives; a resumed run may change it."""
RUNTIME = Affects("runtime")
"""Where, how fast and how often; no result. A resumed run may change it, and the hash leaves it out."""


def fields_of(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(dotted key, field) of every value of a schema."""
    for name, field in schema.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def marks(schema: type[BaseModel]) -> Iterator[tuple[str, Affects]]:
    """(dotted key, mark) of every value of a schema.

    Raises:
        TypeError: If a key has no mark, or more than one.
    """
    for key, field in fields_of(schema):
        found = [mark for mark in field.metadata if isinstance(mark, Affects)]
        if len(found) != 1:
            raise TypeError(f"{key} must carry one mark of langpose_dist.config.affects, not {found}")
        yield key, found[0]


def keys_that_affect(schema: type[BaseModel], *wanted: Affects) -> frozenset[str]:
    """Dotted keys that carry one of the marks."""
    return frozenset(key for key, mark in marks(schema) if mark in wanted)
