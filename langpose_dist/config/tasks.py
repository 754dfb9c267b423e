"""Tasks by name: those of this package, and those that installed packages add.

A package adds one by an entry point of the group ``langpose_dist.tasks``, whose name is the task's and whose
value is its class, such as ``speed = "my_package.speed:SpeedTask"``.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from langpose_dist.config.errors import ConfigError, suggest_or_list

if TYPE_CHECKING:
    from langpose_dist.config.schema import Section

GROUP = "langpose_dist.tasks"
TASKS: Mapping[str, str] = {
    "pretrain": "langpose_dist.tasks.pretrain:PretrainTask",
    "finetune": "langpose_dist.tasks.finetune:FinetuneTask",
    "caption": "langpose_dist.tasks.caption:CaptionTask",
}
"""Classes of this package's tasks, whose configuration sections are part of the schema."""


def section_of(name: Any) -> "type[Section] | None":
    """Configuration section of a task that another package adds; ``None`` where it has none.

    Raises:
        ConfigError: If no task has the name, or its package cannot be imported.
    """
    if not isinstance(name, str) or name in TASKS:
        return None  # a name of the wrong type is refused by the schema
    return load_task_class(name).section


def load_task_class(name: str) -> Any:
    """Import the class of a task.

    Raises:
        ConfigError: If no task has the name, or its package cannot be imported.
    """
    added = {point.name: point.value for point in entry_points(group=GROUP)}
    places = {**added, **TASKS}
    if name not in places:
        raise ConfigError(f"task={name!r} is not a task{suggest_or_list(name, places)}")
    try:
        return resolve_name(places[name])
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"task={name}: {places[name]} cannot be loaded: {error}") from None
