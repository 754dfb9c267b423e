"""Files below a folder, their names and versions, and the version of the code that reads them."""

import functools
import hashlib
import os
import re
from pathlib import Path, PurePath

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError

_SYSTEM_NAME = re.compile(
    r"[.].*|~[$].*|.*~|#.+#|#recycle|#snapshot|Icon\r|desktop[.]ini|(eh)?thumbs(_vista)?[.]db|__MACOSX|@eaDir|[$]RECYCLE[.]BIN"
    r"|System Volume Information|lost[+]found"
    r"|.*[.]sync-conflict-\d{8}-.*|.* [(].*conflicted copy.*[)].*",
    re.IGNORECASE | re.DOTALL,
)
"""Files and folders that systems, editors and synchronisation leave behind: hidden ones (``._NAME``,
``.DS_Store``, ``.#NAME``, ``.Trash``), caches of thumbnails, backups (``#NAME#``), and copies in conflict."""


def list_files(folder: Path, *, deep: bool = True) -> tuple[list[Path], int, list[Skipped]]:
    """Files below a folder, or in it alone; links to folders are followed, each folder once.

    The one place where input is listed.

    Returns:
        Files in the order of their paths; the number of system files and folders, which are no input; and
        links that lead nowhere.
    """
    found: list[Path] = []
    broken: list[Skipped] = []
    num_system = 0
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(root)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up, or a second way to the same
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        num_system += sum(map(is_system, folders if deep else ())) + sum(map(is_system, names))
        folders[:] = sorted(name for name in folders if deep and not is_system(name))
        for path in (here / name for name in names if not is_system(name)):
            if path.is_file():
                found.append(path)
            elif path.is_symlink() and not path.exists():
                reason = f"broken link: to {to_text(path.readlink())}"
                broken.append(Skipped(source=to_text(path.relative_to(folder)), reason=reason))
    return sorted(found), num_system, sorted(broken, key=lambda item: item.source)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}")


def is_system(name: str) -> bool:
    """True for the name of a file or folder that a system, an editor or a synchronisation left behind."""
    return _SYSTEM_NAME.fullmatch(name) is not None


def list_input(folder: Path, *, deep: bool = True) -> tuple[list[Path], int, list[Skipped]]:
    """``list_files`` of a build's input.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"input folder {folder} does not exist or is not a folder")
    return list_files(folder, deep=deep)


def to_text(path: PurePath | str) -> str:
    """A path with forward slashes as it is written into the manifest; what is not UTF-8 becomes ``?``."""
    return (path if isinstance(path, str) else path.as_posix()).encode(errors="replace").decode()


def version_of(path: Path) -> tuple[Path, int, int]:
    """Path, size and time of a file, by which caches know its content.

    Raises:
        DataError: If there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    return path, status.st_size, status.st_mtime_ns


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
