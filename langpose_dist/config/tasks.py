"""Tasks by name: those of this package, and those that installed packages add.

A package adds one by an entry point of the group ``langpose_dist.tasks``, whose name is the task's and whose
value is its class, such as ``speed = "my_package.speed:SpeedTask"``.
"""

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from langpose_dist.config.errors import ConfigError

if TYPE_CHECKING:
    from langpose_dist.config.schema import Section

GROUP = "langpose_dist.tasks"
TASKS: Mapping[str, EntryPoint] = {
    "pretrain": EntryPoint("pretrain", "langpose_dist.tasks.pretrain:PretrainTask", GROUP)
}
"""Tasks of this package; their configuration sections are part of the schema."""


def find_task(name: str) -> EntryPoint:
    """Entry point of a task; ``load()`` gives its class.

    Raises:
        ConfigError: If no task has the name.
    """
    if name in TASKS:
        return TASKS[name]
    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        known = [*TASKS, *added]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise ConfigError(f"task={name!r} is not a task; {hint}")
    return added[name]


def section_of(name: Any) -> "type[Section] | None":
    """Configuration section of a task that another package adds; ``None`` where it has none.

    Raises:
        ConfigError: If no task has the name, or its package cannot be imported.
    """
    if not isinstance(name, str) or name in TASKS:
        return None  # a name of the wrong type is refused by the schema
    point = find_task(name)
    try:
        return point.load().section
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"task={name}: {point.value} cannot be loaded: {error}") from None
