"""Result files: npz and JSON with everything, TRC and CSV for other programs."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from langpose_dist.host.atomic import PARTIAL, write_bytes
from langpose_dist.inference.result import LiftedClip
from langpose_dist.skeleton import H36M17

FORMAT = "langpose-poses"
VERSION = 1


def name_of(clip: LiftedClip) -> str:
    """Name of a clip's files, without an ending."""
    person = re.sub(r"[^\w.-]", "_", clip.person)
    return f"person-{person}-frame-{clip.first_frame:06d}"


def write_npz(path: Path, clip: LiftedClip) -> None:
    """Arrays ``poses_3d``, ``keypoints_2d``, ``seen``, ``root``, ``labels`` (T x L) and JSON text, ``meta``.

    Readers need no pickle: ``numpy.load(path)``, ``json.loads(str(file["meta"]))``.
    """
    arrays = {
        "poses_3d": clip.poses_3d,
        "keypoints_2d": clip.keypoints_2d,
        "seen": clip.seen,
        "meta": np.array(json.dumps(_meta(clip))),
    }
    if clip.root is not None:
        arrays["root"] = clip.root
    if clip.labels:
        arrays["labels"] = np.stack(list(clip.labels.values()), axis=1)
    content = BytesIO()
    np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]  (its stub knows one option)
    write_bytes(path, content.getvalue())


def write_json(path: Path, clip: LiftedClip) -> None:
    """One object: what was assumed, and a list of frames, each written as soon as it is made."""

    def write(file: IO[str]) -> None:
        head = json.dumps(_meta(clip), indent=1)
        file.write(head.removesuffix("\n}") + ',\n "frames": [\n')
        for number in range(len(clip.poses_3d)):
            file.write((",\n" if number else "") + json.dumps(_frame(clip, number)))
        file.write("\n]}\n")

    _write_text(path, write)


def write_csv(path: Path, clip: LiftedClip) -> None:
    """A row per frame: frame, time, and x, y, z and seen of each joint; metres in camera axes."""

    def write(file: IO[str]) -> None:
        columns = [f"{joint}_{part}" for joint in H36M17.joints for part in ("x", "y", "z", "seen")]
        root = ["root_x", "root_y", "root_z"] if clip.root is not None else []
        file.write(",".join(["frame", "time_s", *columns, *root]) + "\n")
        for number, pose in enumerate(clip.poses_3d):
            frame = clip.first_frame + number
            cells = [str(frame), f"{frame / clip.fps:.6f}"]
            for place, is_seen in zip(pose, clip.seen[number], strict=True):
                cells += [*(f"{value:.5f}" for value in place), str(int(is_seen))]
            if clip.root is not None:
                cells += [f"{value:.5f}" for value in clip.root[number]]
            file.write(",".join(cells) + "\n")

    _write_text(path, write)


def write_trc(path: Path, clip: LiftedClip) -> None:
    """Markers as OpenSim and others read them: metres, y up; joints that were not seen are left empty.

    From camera axes it is half a turn about x: x right, y up, z to the camera. With a root path markers stand
    in the room, else the pelvis stands at 0.
    """

    def write(file: IO[str]) -> None:
        count, joints = len(clip.poses_3d), H36M17.joints
        rate = f"{clip.fps:g}"
        file.write(f"PathFileType\t4\t(X/Y/Z)\t{path.name}\n")
        file.write(
            "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\t"
            "OrigNumFrames\n"
        )
        first = clip.first_frame + 1
        file.write(f"{rate}\t{rate}\t{count}\t{len(joints)}\tm\t{rate}\t{first}\t{count}\n")
        file.write("Frame#\tTime\t" + "".join(f"{joint}\t\t\t" for joint in joints).rstrip("\t") + "\n")
        axes = "\t".join(f"{axis}{number}" for number in range(1, len(joints) + 1) for axis in "XYZ")
        file.write(f"\t\t{axes}\n\n")
        for number, pose in enumerate(clip.poses_3d):
            place = pose if clip.root is None else pose + clip.root[number]
            cells = [str(first + number), f"{(clip.first_frame + number) / clip.fps:.6f}"]
            for (x, y, z), is_seen in zip(place, clip.seen[number], strict=True):
                cells += [f"{x:.5f}", f"{-y:.5f}", f"{-z:.5f}"] if is_seen else ["", "", ""]
            file.write("\t".join(cells) + "\n")

    _write_text(path, write)


WRITERS: Mapping[str, Callable[[Path, LiftedClip], None]] = {
    "npz": write_npz,
    "json": write_json,
    "trc": write_trc,
    "csv": write_csv,
}
"""Ending of a result file -> function that writes it."""


def write_results(folder: Path, clips: Sequence[LiftedClip], formats: Sequence[str]) -> Iterator[Path]:
    """Write the files of all clips; yields each path.

    Args:
        folder: Exists.
        clips: People, or parts of their time.
        formats: Keys of ``WRITERS``.

    Raises:
        OSError: If one cannot be written.
    """
    for clip in clips:
        for ending in formats:
            path = folder / f"{name_of(clip)}.{ending}"
            WRITERS[ending](path, clip)
            yield path


def _meta(clip: LiftedClip) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "person": clip.person,
        "first_frame": clip.first_frame,
        "num_frames": len(clip.poses_3d),
        "fps": clip.fps,
        "joints": list(H36M17.joints),
        "labels": list(clip.labels),
        "has_root": clip.root is not None,
        "facts": dict(clip.facts),
    }


def _frame(clip: LiftedClip, number: int) -> dict[str, Any]:
    frame = {
        "frame": clip.first_frame + number,
        "poses_3d": np.round(clip.poses_3d[number].astype(float), 5).tolist(),
        "keypoints_2d": np.round(clip.keypoints_2d[number].astype(float), 3).tolist(),
        "seen": clip.seen[number].tolist(),
    }
    if clip.root is not None:
        frame["root"] = np.round(clip.root[number].astype(float), 5).tolist()
    if clip.labels:
        frame["labels"] = [round(float(values[number]), 4) for values in clip.labels.values()]
    return frame


def _write_text(path: Path, write: Callable[[IO[str]], None]) -> None:
    """Write a text file line by line; a reader finds the old content or the whole new one."""
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        write(file)
    partial.replace(path)
