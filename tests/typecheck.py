"""The run-time type checker of the tests."""

from collections.abc import Callable
from typing import Any, TypeVar

from beartype import beartype

_Function = TypeVar("_Function", bound=Callable[..., Any])


def check(function: _Function) -> _Function:
    """Beartype, leaving ``Self`` unchecked: it knows it only where it decorates the class, not a method."""
    function.__annotations__ = {
        name: Any if "typing.Self" in repr(hint) else hint for name, hint in function.__annotations__.items()
    }
    return beartype(function)
