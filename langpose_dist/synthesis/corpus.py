"""Writes a corpus of procedural motion, and a body for it, in the layouts of AMASS, BABEL and SMPL+H.

``amass/<Subset>/<subject>/<name>_poses.npz``, ``babel/{train,val,test,extra_train,extra_val}.json``,
``smplh/<gender>/model.npz`` and the regressor: code that reads the licensed data sets reads this one without
knowing.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.host.atomic import write_text
from langpose_dist.synthesis.body import GENDERS, body_model, keypoint_regressor
from langpose_dist.synthesis.folder import new_folder, write_description
from langpose_dist.synthesis.recordings import FILES, Recording, recordings

AMASS, BABEL, SMPLH = "amass", "babel", "smplh"
"""Folders of the motions, of the annotations and of the body models."""

REGRESSOR = "J_regressor_h36m_correct.npy"
"""The usual name of the regressor's file."""


def synthesize(
    out: Path,
    *,
    hours: float,
    seed: int,
    on_seconds: Callable[[float], Any] = lambda seconds: None,
) -> dict[str, Any]:
    """Write a corpus; the same seed gives the same bytes.

    Args:
        out: New or empty.
        hours: At least so much motion.
        seed: At least 0.
        on_seconds: Called with seconds of motion as they are written.

    Returns:
        Content of ``synthesis.json``: layout, seed, hours, the numbers of recordings, frames and annotations,
        tool version.

    Raises:
        DataError: If the folder holds something or cannot be written.
    """
    with new_folder(out):
        _write_body(out)
        numbers = _write_motions(out, recordings(hours, seed), on_seconds)
        return write_description(out, {"layout": "amass", "seed": seed, "hours": hours, **numbers})


def _write_body(out: Path) -> None:
    """Write the body models, and the regressor beside them."""
    for gender in GENDERS:
        path = out / SMPLH / gender / "model.npz"
        path.parent.mkdir(parents=True)
        np.savez_compressed(path, allow_pickle=False, **body_model(gender))
    np.save(out / REGRESSOR, keypoint_regressor())


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
    (out / BABEL).mkdir()
    for name, entries in annotations.items():
        write_text(out / BABEL / f"{name}.json", json.dumps(entries))
    return {
        "num_recordings": num_recordings,
        "num_frames": num_frames,
        "num_seconds": round(seconds, 3),
        "num_annotated": {name: len(entries) for name, entries in annotations.items()},
    }


def write_sequence(folder: Path, recording: Recording) -> Path:
    """Write a recording's motion file in AMASS's layout into the folder of all subsets."""
    path = folder / recording.path
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
    np.savez(path, **arrays)  # its archives carry a fixed date: equal arrays give equal bytes
    return path
