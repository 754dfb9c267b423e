"""The player: one HTML file with everything in it, which loads nothing and may load nothing."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

import langpose_dist.report.player
from langpose_dist.host.atomic import write_text
from langpose_dist.inference.assumptions import sentences
from langpose_dist.inference.result import LiftedClip
from langpose_dist.skeleton import H36M17

MAX_FRAMES = 20_000
"""Frames of one person in a page, 3 MB of it; of longer clips every second, third, ... frame is shown."""
_UNITS = 10_000
"""2D places are whole numbers of this part of the picture's longer side, whatever its size; 32,767 fit."""


def write_player(path: Path, clips: Sequence[LiftedClip], title: str) -> None:
    """Write a page that plays the figures of some clips beside their 2D input.

    Args:
        path: HTML file.
        clips: At least one; with several the page has a choice.
        title: Of the page.
    """
    folder = files(langpose_dist.report.player)
    script = (folder / "player.js").read_text(encoding="utf-8")
    style = (folder / "player.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string((folder / "player.html").read_text(encoding="utf-8"))
    content = {
        "joints": list(H36M17.joints),
        "bones": [list(bone) for bone in H36M17.bones],
        "clips": [_pack(clip) for clip in clips],
    }
    # Nothing in the data can end its element.
    data = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    page = template.render(title=title, policy=policy, script=script, style=style, data=data)
    write_text(path, page)


def _pack(clip: LiftedClip) -> dict[str, Any]:
    step = -(-len(clip.poses_3d) // MAX_FRAMES)
    unit = max(clip.size) / _UNITS
    points = clip.keypoints_2d[::step] / [unit, unit, 0.01]
    notes = sentences(clip)
    if np.abs(points).max() > np.iinfo("<i2").max:
        notes.append("2D places more than three pictures away are shown nearer; the result files hold them")
    if step > 1:
        notes.append(f"this page shows one of {step} frames; the result files hold all")
    return {
        "name": f"{clip.person}, from frame {clip.first_frame}",
        "first_frame": clip.first_frame,
        "frames": len(points),
        "step": step,
        "video_fps": clip.fps,
        "fps": clip.fps / step,
        "size": list(clip.size),
        "unit": unit,
        "poses": _encode(clip.poses_3d[::step] * 1000, "<i2"),
        "points": _encode(points, "<i2"),
        "seen": _encode(clip.seen[::step], "u1"),
        "root": None if clip.root is None else _encode(clip.root[::step], "<f4"),
        "labels": [
            {"name": name, "values": _encode(values[::step] * 255, "u1")}
            for name, values in clip.labels.items()
        ],
        "captions": clip.facts.get("captions", {}).get("parts", []),
        "sentences": notes,
    }


def _encode(values: np.ndarray, kind: str) -> str:
    """Base64 of an array; whole numbers are rounded, and cut to what their kind can hold."""
    if kind != "<f4":
        limits = np.iinfo(kind)
        values = np.rint(values).clip(limits.min, limits.max)
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
