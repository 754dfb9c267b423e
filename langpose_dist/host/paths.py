"""Places as a user writes them: the home folder, and why a folder cannot be made."""

import errno
import os
import re
from pathlib import Path

_BEFORE_HOME = re.compile(r"(sqlite:///|file:(//)?)?(?=~)")


def expand_home(place: str) -> str:
    """Put the home folder in place of a leading ``~`` or ``~USER``, also of the file in a URI.

    Raises:
        ValueError: If the user has no home folder here.
    """
    found = _BEFORE_HOME.match(place)
    if found is None:
        return place
    path = place[found.end() :]
    expanded = os.path.expanduser(path)
    if expanded == path:
        raise ValueError(
            f"{path.partition('/')[0]} has no home folder here; write ./{path} for a folder of that name"
        )
    return place[: found.end()] + expanded


def cache_folder(kind: str) -> Path:
    """Folder for copies of remote files, in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "langpose" / kind


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        OSError: If that cannot be; its message says what stands there instead.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OSError(errno.ENOTDIR, name_obstacle(path), str(path)) from None


def name_obstacle(path: Path) -> str:
    """Name what stands where a folder was to be made."""
    places = [place for place in (path, *path.parents) if os.path.lexists(place) and not place.is_dir()]
    if not places:
        return "the folder exists already"
    is_lost = places[0].is_symlink() and not places[0].exists()
    what = f"a link to {places[0].readlink()}, which does not exist" if is_lost else "not a folder"
    return f"{places[0]} is {what}"
