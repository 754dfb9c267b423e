"""Writes a corpus of procedural motion in the layouts of AMASS and BABEL.

``amass/<Subset>/<subject>/<name>_poses.npz`` and ``babel/{train,val,test,extra_train,extra_val}.json``: what
reads the licensed data sets reads this one without knowing. An interrupted run continues: files are written
under another name and renamed when whole.
"""

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist import __version__
from langpose_dist.data.sample import DataError
from langpose_dist.data.synthesis.recordings import FILES, Recording, RestJoints, recordings, unshaped

RECORD = "synthesis.json"
"""Lies in the folder from the beginning: what is made there, and whether it is complete."""

AMASS, BABEL = "amass", "babel"
"""Folders of the motions and of the annotations."""

_PARTIAL = ".partial"


def synthesize(
    out: Path,
    *,
    hours: float,
    seed: int,
    rest: RestJoints = unshaped,
    progress: Callable[[Sequence[Recording]], Iterable[Recording]] = iter,
) -> dict[str, Any]:
    """Write a corpus, or what is missing of it.

    Args:
        out: New, empty, or from the same seed and hours.
        hours: At least so much motion.
        seed: The same seed gives the same bytes.
        rest: Joints at rest by gender and betas: those of the body models that will read the corpus. The
            same in a run that continues.
        progress: Wraps the recordings, to show how far it is.

    Returns:
        What ``synthesis.json`` holds: seed, hours, tool version, the numbers of recordings, frames and
        annotations.

    Raises:
        DataError: If the folder holds something else, or the hours or seed make no sense.
    """
    planned = tuple(recordings(hours, seed, rest))
    record: dict[str, Any] = {"seed": seed, "hours": hours, "tool_version": __version__, "complete": False}
    _claim(out, record)
    for left in out.rglob("*" + _PARTIAL):
        left.unlink()
    annotations: dict[str, dict[str, Any]] = {name: {} for name in FILES}
    num_frames, seconds = 0, 0.0
    for recording in progress(planned):
        write_sequence(out / AMASS, recording)
        num_frames += recording.num_frames
        seconds += recording.duration
        if recording.babel is not None:
            name, entry = recording.babel
            annotations[name][str(entry["babel_sid"])] = entry
    for name, entries in annotations.items():
        _write_json(out / BABEL / f"{name}.json", entries)
    record |= {
        "complete": True,
        "num_recordings": len(planned),
        "num_frames": num_frames,
        "num_seconds": round(seconds, 3),
        "num_annotated": {name: len(entries) for name, entries in annotations.items()},
    }
    _write_json(out / RECORD, record)
    return record


def write_sequence(folder: Path, recording: Recording) -> Path:
    """Write a recording's motion file as AMASS has it, unless a whole one is there.

    Args:
        folder: Of all subsets.
        recording: What to write.
    """
    path = folder / recording.path
    if path.is_file() and zipfile.is_zipfile(path):
        return path
    poses, trans = recording.sequence.sample(recording.fps)
    arrays: dict[str, Any] = {
        "trans": trans,
        "gender": np.array(recording.gender),
        "mocap_framerate": np.array(recording.fps),
        "betas": recording.betas,
        "poses": poses,
    }
    if recording.has_dmpls:
        arrays["dmpls"] = np.zeros((len(poses), 8))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + _PARTIAL)
    with partial.open("wb") as file:
        np.savez(file, **arrays)  # its archives carry a fixed date: equal arrays give equal bytes
    os.replace(partial, path)
    return path


def _claim(out: Path, record: dict[str, Any]) -> None:
    """Mark the folder as this corpus, or refuse it."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; choose a folder")
    path = out / RECORD
    if path.is_file():
        try:
            found = json.loads(path.read_bytes())
            same = all(found[key] == record[key] for key in ("seed", "hours", "tool_version"))
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is damaged; delete the folder or choose another") from None
        if not same:
            raise DataError(
                f"{out} holds a corpus of seed {found['seed']}, {found['hours']} hours, version "
                f"{found['tool_version']}; choose another folder, or delete it"
            )
    elif out.is_dir() and any(item.name != RECORD + _PARTIAL for item in out.iterdir()):
        raise DataError(f"{out} is not empty and holds no {RECORD}; choose a new folder")
    _write_json(path, record)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)
