"""Kinds of JSON files: how each is recognised, read and numbered."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from langpose_dist.config import UserError
from langpose_dist.detections.recording import Detection, Detector

Schema = TypeVar("Schema", bound=BaseModel)


def by_position(keys: Sequence[Any]) -> list[int]:
    """Numbers of frames that stand in a list, one after the other."""
    return [*range(len(keys))]


@dataclass(frozen=True)
class Kind:
    """One kind of JSON file; its functions take the content, and the file's name for messages."""

    detector: Detector
    matches: Callable[[Any], bool]
    """Content -> True if it looks like this kind."""
    read: Callable[[Any, str], Iterable[tuple[Any, list[Detection]]]]
    """-> (key of a frame, its people); raises ``UserError``."""
    number: Callable[[Sequence[Any]], list[int]] = by_position
    """Keys of all frames -> their numbers."""
    names_of: Callable[[Any, str], tuple[str, ...] | None] = lambda content, where: None
    """-> names of the keypoints, if there are any."""


def first_record(content: Any) -> Mapping[str, Any]:
    """The first object of a list, or of the lists in it; else an empty one."""
    items = content if isinstance(content, list) else []
    inner = itertools.chain.from_iterable(item if isinstance(item, list) else [item] for item in items)
    return next((item for item in inner if isinstance(item, Mapping)), {})


def validate(schema: type[Schema], value: Any, where: str) -> Schema:
    """A part of a file as its format describes it.

    Raises:
        UserError: If it is something else; the message names the place.
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {place or 'entry'}: {first['msg']}") from None
