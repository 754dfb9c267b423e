"""Ray Tune's state of a stage, kept so that whatever ends the driver leaves a whole one to go on from.

Tune writes its files one by one and over the older ones. A full disk or a kill in that moment leaves half of
one, or files of different moments; and Tune, when it cannot read them, starts over without a word.
"""

import re
import shutil
from pathlib import Path

_PATTERNS = ("*.json", "*.pkl")
"""Trials, searcher and callbacks, as Tune names their files."""
_TUNER = "tuner.pkl"
"""Written once, in front of all others."""
_SESSION = re.compile(r"-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(?=\.)")
"""In a file's name: when the driver was started, in its local time."""


class KeptState:
    """Whole copies of Tune's state beside it, of which the newest counts.

    Args:
        folder: Of Tune's experiment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept = folder.with_name(f"{folder.name}-state")
        self._seen: int | None = None

    def exists(self) -> bool:
        """Whether there is a whole copy."""
        return bool(self._copies())

    def bring_back(self) -> bool:
        """Make the newest copy Tune's state again; whether there is one.

        Without one no trial has begun yet, and what Tune has written so far is removed.
        """
        copies = self._copies()
        if not copies:
            shutil.rmtree(self.folder, ignore_errors=True)
            return False
        for path in _files(self.folder):
            if path.name != _TUNER:
                path.unlink()
        for path in _files(copies[-1]):
            shutil.copyfile(path, self.folder / path.name)
        return True

    def keep(self, staging: Path) -> None:
        """Copy a state that Tune has written since the last time.

        Args:
            staging: Where it does, in its loop. What it sends to the experiment's folder from there arrives
                in its own time.
        """
        written = max(
            (path.stat().st_mtime_ns for path in staging.glob("experiment_state-*.json")), default=None
        )
        if written in (None, self._seen):
            return
        partial = self._kept / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        # Tune reads the file with the highest name, and a clock or a time zone may have gone back since.
        newest = {
            _SESSION.sub("", path.name): path
            for path in sorted(_files(staging), key=lambda path: path.stat().st_mtime_ns)
        }
        for path in newest.values():
            shutil.copyfile(path, partial / path.name)
        before = self._copies()
        number = int(before[-1].name) + 1 if before else 0
        partial.rename(self._kept / f"{number:09d}")
        for path in before:
            shutil.rmtree(path, ignore_errors=True)
        self._seen = written

    def _copies(self) -> list[Path]:
        """Oldest first; each came to its name when it was whole."""
        return sorted(path for path in self._kept.glob("*") if path.name.isdigit())


def _files(folder: Path) -> list[Path]:
    return [path for pattern in _PATTERNS for path in folder.glob(pattern) if not path.name.startswith(".")]
