"""What lies in a folder that a user names, links and all, and which version of this code read it."""

import functools
import hashlib
import os
from pathlib import Path


def list_files(folder: Path) -> list[Path]:
    """All files below a folder by their paths; links to folders are followed, each folder once."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        here = Path(root)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up, or a second way to the same
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        found += [here / name for name in names if (here / name).is_file()]
    return sorted(found)


@functools.cache
def code_revision() -> str:
    """SHA-256 of the code that turns sources into shards: work that other code has begun is not continued."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    folders = (package / name for name in ("data", "datasets", "synthesis"))
    for path in [
        package / "skeleton.py",
        *sorted(path for folder in folders for path in folder.rglob("*.py")),
    ]:
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
