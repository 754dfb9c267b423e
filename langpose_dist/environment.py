"""What a run ran on, and how to keep credentials out of everything that is written down."""

import getpass
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from langpose_dist import __version__

_PACKAGES = ("torch", "deepspeed", "mlflow", "ray", "transformers", "webdataset", "numpy", "safetensors")
_HIDDEN = "REDACTED"
_SECRET_NAME = re.compile(
    r"(^|[^a-z0-9])(api_?key|auth|authorization|credentials?|key|passphrase|\w*passw(or)?d|pwd|secret|sig|signature"
    r"|token)([^a-z0-9]|$)",
    re.IGNORECASE,
)
# A password may hold any sign, so where there is a colon everything up to the last @ goes.
_USER_INFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^/?#\s:@\"']*:[^\s\"']*|[^/?#\s\"']+)@", re.IGNORECASE
)
_QUERY_VALUE = re.compile(r"(?P<name>[?&;][^=&;#\s]+=)(?P<value>[^&;#\s]+)")


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


def printable(text: str) -> str:
    """The text as one line that says no more to a terminal than what it shows.

    What others wrote may hold control characters, which move the cursor and forge lines. White space becomes
    a space, all else that cannot be seen ``?``.
    """
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in text)


def presentable(text: str) -> str:
    """A message of several lines as a person may see it: printable, without the credentials of any URL."""
    return "\n".join(map(printable, redact(text).split("\n")))


def redact(text: str) -> str:
    """The text without the credentials of any URL in it.

    ``postgresql://user:password@host/db`` loses ``user:password``; a query value whose name looks like a
    credential is hidden too.
    """
    text = _USER_INFO.sub(rf"\g<scheme>{_HIDDEN}@", text)
    return _QUERY_VALUE.sub(
        lambda match: match["name"] + (_HIDDEN if _SECRET_NAME.search(match["name"]) else match["value"]),
        text,
    )


def redact_values(values: Mapping[str, str]) -> dict[str, str]:
    """A copy in which values are hidden whose name looks like a credential, and URLs are redacted."""
    return {name: _HIDDEN if _SECRET_NAME.search(name) else redact(value) for name, value in values.items()}


def is_secret(name: str, value: str) -> bool:
    """Whether the name or the value looks like a credential."""
    return redact_values({name: value}) != {name: value}


def holds_secret(word: str) -> bool:
    """Whether a word of a command line, such as ``name=value``, looks like a credential."""
    name, has_value, value = word.partition("=")
    return redact(word) != word or bool(has_value and is_secret(name, value))


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
