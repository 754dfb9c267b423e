"""Writes a corpus of procedural motion, and a body for it, in the layouts of AMASS, BABEL and SMPL+H.

``amass/<Subset>/<subject>/<name>_poses.npz``, ``babel/{train,val,test,extra_train,extra_val}.json``,
``smplh/<gender>/model.npz`` and the regressor: what reads the licensed data sets reads this one without
knowing. An interrupted run continues: files are written under another name and renamed when whole.
"""

import contextlib
import functools
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float64

from langpose_dist import __version__
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.amass.synthetic import RECORD
from langpose_dist.datasets.files import code_revision
from langpose_dist.datasets.smplh import BodyModel, find_body_models, load_body_model
from langpose_dist.synthesis.body import REGRESSOR, write_body_models, write_regressor
from langpose_dist.synthesis.recordings import FILES, Recording, RestJoints, check_request, recordings

AMASS, BABEL, SMPLH = "amass", "babel", "smplh"
"""Folders of the motions, of the annotations and of the body models."""

LOCK = ".synthesis.lock"
"""Held by the process that writes."""

_PARTIAL = ".partial"


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
        on_seconds: Told of progress, in seconds of motion.

    Returns:
        What ``synthesis.json`` holds: seed, hours, tool version, the numbers of recordings, frames and
        annotations.

    Raises:
        DataError: If the folder holds something else, or the hours or seed make no sense.
    """
    check_request(hours, seed)
    record: dict[str, Any] = {
        "seed": seed,
        "hours": hours,
        "tool_version": __version__,
        "code_revision": code_revision(),
        "complete": False,
    }
    with _locked(out):
        return _write(out, record, on_seconds)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; choose a folder")
    lock = FileLock(out / LOCK, timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with lock:
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


def _write(out: Path, record: dict[str, Any], on_seconds: Callable[[float], Any]) -> dict[str, Any]:
    hours, seed = record["hours"], record["seed"]
    _claim(out, record)
    for left in out.rglob("*" + _PARTIAL):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    _write_bodies(out)
    rest = rest_joints_of(out / SMPLH)
    annotations: dict[str, dict[str, Any]] = {name: {} for name in FILES}
    num_recordings, num_frames, seconds = 0, 0, 0.0
    for recording in recordings(hours, seed, rest):
        write_sequence(out / AMASS, recording)
        on_seconds(recording.duration)
        num_recordings += 1
        num_frames += recording.num_frames
        seconds += recording.duration
        if recording.babel is not None:
            name, entry = recording.babel
            annotations[name][str(entry["babel_sid"])] = entry
    for name, entries in annotations.items():
        _write_json(out / BABEL / f"{name}.json", entries)
    record |= {
        "complete": True,
        "num_recordings": num_recordings,
        "num_frames": num_frames,
        "num_seconds": round(seconds, 3),
        "num_annotated": {name: len(entries) for name, entries in annotations.items()},
    }
    _write_json(out / RECORD, record)
    return record


def rest_joints_of(smplh: Path) -> RestJoints:
    """Rest joints by gender and shape of the bodies in a folder, so that the feet of all meet the floor."""
    bodies = {gender: load_body_model(path) for gender, path in find_body_models(smplh).items()}
    return functools.partial(_rest_joints, bodies)


def _write_bodies(out: Path) -> None:
    """The body models, and the regressor beside them."""
    if not (out / SMPLH).exists():
        partial = out / (SMPLH + _PARTIAL)
        write_body_models(partial)
        (partial / SMPLH).replace(out / SMPLH)
        partial.rmdir()
    if not (out / REGRESSOR).exists():
        partial = out / (SMPLH + _PARTIAL)
        partial.mkdir()
        write_regressor(partial / REGRESSOR)
        (partial / REGRESSOR).replace(out / REGRESSOR)
        partial.rmdir()


def _rest_joints(
    bodies: dict[str, BodyModel], gender: str, betas: Float64[np.ndarray, "16"]
) -> Float64[np.ndarray, "52 3"]:
    return _joint_directions(bodies[gender]) @ np.append(betas, 1.0)


@functools.lru_cache(maxsize=3)
def _joint_directions(body: BodyModel) -> Float64[np.ndarray, "52 3 17"]:
    vertices = np.concatenate((body.shape_directions, body.template[..., None]), axis=-1)
    return np.einsum("jv,vcb->jcb", body.joint_regressor, vertices, optimize=True)


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
    elif out.is_dir() and any(item.name not in (LOCK, RECORD + _PARTIAL) for item in out.iterdir()):
        raise DataError(f"{out} is not empty and holds no {RECORD}; choose a new folder")
    _write_json(path, record)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)
