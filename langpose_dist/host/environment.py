"""Versions, machine and commit of a run."""

import getpass
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from langpose_dist import __version__

_PACKAGES = ("torch", "deepspeed", "mlflow", "ray", "transformers", "webdataset", "numpy", "safetensors")


def describe_environment(
    *, devices: Sequence[str] = (), nodes: Sequence[str] = (), world_size: int = 1
) -> dict[str, str]:
    """Versions, machine and commit, for the record of a run.

    Nothing heavy is imported and no environment variable is read.

    Args:
        devices: Names of the training devices; the caller knows them. Default: the processor.
        nodes: Name of each rank's node; default: this one's.
        world_size: Processes that train together.

    Returns:
        Name -> value. ``git_commit`` and ``git_dirty`` are ``"unknown"`` outside a checkout.
    """
    commit, dirty = _describe_checkout(Path(__file__).parent)
    return {
        "langpose_dist": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "devices": ", ".join(devices) or _processor(),
        "nodes": ", ".join(nodes) or platform.node(),
        "cpu_count": str(os.cpu_count() or "unknown"),
        "world_size": str(world_size),
        "git_commit": commit,
        "git_dirty": dirty,
    }


def installed_packages() -> str:
    """Exact versions of all that is installed here, as constraints for pip."""
    found = {
        (distribution.metadata["Name"] or "").lower().replace("_", "-"): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)


def user_name() -> str:
    """Who runs this process; ``"unknown"`` where the system has no name, as for some users of containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def _describe_checkout(folder: Path) -> tuple[str, str]:
    # An installed copy may lie inside a checkout of something else: only a tracked file counts.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return "unknown", "unknown"
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit or "unknown", "unknown" if changes is None else str(bool(changes)).lower()


def _git(folder: Path, *arguments: str) -> str | None:
    # GIT_DIR and its like, set inside a git hook, would point to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        return subprocess.run(
            ("git", "-C", str(folder), *arguments),
            capture_output=True,
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
