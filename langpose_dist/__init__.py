"""LangPose: 2D-to-3D human pose lifting aligned with language; its training and its use.

``langpose_dist.load(reference)`` opens a trained model, a ``langpose_dist.LangPose``.
"""

from pkgutil import resolve_name
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "LangPose": "langpose_dist.export.model:LangPose",
    "load": "langpose_dist.library:load",
}
"""Names of the library, imported at their first use: torch and MLflow take seconds."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_PUBLIC[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
