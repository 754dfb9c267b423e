"""Writes a corpus of procedural motion, and a body for it, in the layouts of AMASS, BABEL and SMPL+H.

``amass/<Subset>/<subject>/<name>_poses.npz``, ``babel/{train,val,test,extra_train,extra_val}.json``,
``smplh/<gender>/model.npz`` and the regressor: code that reads the licensed data sets reads this one without
knowing. An interrupted run can be resumed: files are written under another name and renamed when whole.
"""

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from langpose_dist import __version__
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.synthetic import RECORD
from langpose_dist.datasets.files import code_revision
from langpose_dist.host.atomic import write_text
from langpose_dist.synthesis.body import GENDERS, body_model, keypoint_regressor
from langpose_dist.synthesis.recordings import FILES, Recording, recordings

AMASS, BABEL, SMPLH = "amass", "babel", "smplh"
"""Folders of the motions, of the annotations and of the body models."""

REGRESSOR = "J_regressor_h36m_correct.npy"
"""The usual name of the regressor's file."""

LOCK = ".synthesis.lock"
"""Held by the process that writes."""


def synthesize(
    out: Path,
    *,
    hours: float,
    seed: int,
    on_seconds: Callable[[float], Any] = lambda seconds: None,
) -> dict[str, Any]:
    """Write a corpus, or what is missing of it.

    Args:
        out: New, empty, or from the same seed and hours.
        hours: At least so much motion.
        seed: The same seed gives the same bytes.
        on_seconds: Called with seconds of motion as they are written.

    Returns:
        Content of ``synthesis.json``: seed, hours, tool version, the numbers of recordings, frames and
        annotations.

    Raises:
        DataError: If the folder holds something else, or the hours or seed make no sense.
    """
    if not 0 < hours < np.inf:
        raise DataError(f"hours {hours:g} must be above 0")
    if seed < 0:
        raise DataError(f"seed {seed} must not be below 0")
    record: dict[str, Any] = {
        "seed": seed,
        "hours": hours,
        "tool_version": __version__,
        "code_revision": code_revision(),
        "complete": False,
    }
    with _locked(out):
        _claim(out, record)
        _write_body(out)
        record |= _write_motions(out, recordings(hours, seed), on_seconds)
        write_text(out / RECORD, json.dumps(record))
    return record


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; choose a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / LOCK, timeout=0):
            try:
                yield
            finally:
                (out / LOCK).unlink(missing_ok=True)
    except Timeout:
        raise DataError(f"{out} is being written by another process; wait for it or choose another") from None
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}; make room or choose another"
        ) from None


def _claim(out: Path, record: dict[str, Any]) -> None:
    """Mark the folder as this corpus, or refuse it."""
    path = out / RECORD
    if path.is_file():
        try:
            found = json.loads(path.read_bytes())
            same = all(found[key] == record[key] for key in ("seed", "hours", "code_revision"))
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is damaged; delete the folder or choose another") from None
        if not same:
            raise DataError(
                f"{out} holds a corpus of seed {found['seed']}, {found['hours']} hours, version "
                f"{found['tool_version']} ({found['code_revision'][:8]}), not of this request and version; "
                "choose another folder, or delete it"
            )
    elif any(item.name not in (LOCK, f"{RECORD}.partial") for item in out.iterdir()):
        raise DataError(f"{out} is not empty and holds no {RECORD}; choose a new folder")
    write_text(path, json.dumps(record))


def _write_body(out: Path) -> None:
    """Write the body models, and the regressor beside them."""
    for gender in GENDERS:
        path = out / SMPLH / gender / "model.npz"
        if not path.is_file():
            with _whole(path) as file:
                np.savez_compressed(file, allow_pickle=False, **body_model(gender))
    if not (out / REGRESSOR).is_file():
        with _whole(out / REGRESSOR) as file:
            np.save(file, keypoint_regressor())


def _write_motions(
    out: Path, items: Iterator[Recording], on_seconds: Callable[[float], Any]
) -> dict[str, Any]:
    """Write the motions and their annotations; returns the corpus' numbers."""
    annotations: dict[str, dict[str, Any]] = {name: {} for name in FILES}
    num_recordings, num_frames, seconds = 0, 0, 0.0
    for recording in items:
        write_sequence(out / AMASS, recording)
        on_seconds(recording.duration)
        num_recordings += 1
        num_frames += recording.num_frames
        seconds += recording.duration
        if recording.babel is not None:
            name, entry = recording.babel
            annotations[name][str(entry["babel_sid"])] = entry
    (out / BABEL).mkdir(exist_ok=True)
    for name, entries in annotations.items():
        write_text(out / BABEL / f"{name}.json", json.dumps(entries))
    return {
        "complete": True,
        "num_recordings": num_recordings,
        "num_frames": num_frames,
        "num_seconds": round(seconds, 3),
        "num_annotated": {name: len(entries) for name, entries in annotations.items()},
    }


def write_sequence(folder: Path, recording: Recording) -> Path:
    """Write a recording's motion file in AMASS's layout, unless a whole one is there.

    Args:
        folder: Folder of all subsets.
        recording: The motion.
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
    with _whole(path) as file:
        np.savez(file, **arrays)  # its archives carry a fixed date: equal arrays give equal bytes
    return path


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        yield file
    partial.replace(path)
