"""Everything that was assumed: as fields of the result, and as sentences for a person."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

import langpose_dist
from langpose_dist.detections.track import Track, Tracks
from langpose_dist.inference.model import LiftingModel
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.person import Person
from langpose_dist.inference.picture import share_outside
from langpose_dist.inference.rate import Rates
from langpose_dist.inference.result import LiftedClip
from langpose_dist.inference.windows import default_stride
from langpose_dist.skeleton import H36M17

_RARELY_SEEN = 0.5
"""Share of the frames below which a joint is named as a guess of the model."""
_NAMED_JOINTS = 6
_TOLD_OUTSIDE = 0.01
"""Share of the joints outside of the picture from which on its size is doubted."""
_LAYOUT_BY = {
    "given": "as asked for",
    "names": "told by the names of its keypoints",
    "format": "the only one of this kind of file",
    "number": "told by the number of keypoints, and by faces where several have as many",
}
_CHOSEN_BY = {
    "largest": "the largest was chosen, by height times frames",
    "all": "seen in too few frames, and left out",
}


def assumptions(
    model: LiftingModel,
    track: Track,
    keypoints: Float[np.ndarray, "T 17 3"],
    tracks: Tracks,
    options: LiftOptions,
    person: Person,
) -> dict[str, Any]:
    """Fields of a result that say where it comes from.

    Args:
        model: The model.
        track: The person.
        keypoints: As they were used.
        tracks: The file that it is of.
        options: With rate and size of the video.
        person: Size of the figure.
    """
    assert options.fps is not None
    seen = dict(zip(H36M17.joints, map(float, track.seen.mean(axis=0)), strict=True))
    return {
        "langpose_dist": langpose_dist.__version__,
        "model": model.name,
        "weights": dict(model.facts),
        "device": model.device.type,
        "precision": "float32" if model.autocast is None else "bfloat16",
        "space": model.space,
        "skeleton": H36M17.name,
        "axes": "camera: x right, y down, z forward; pelvis at 0 in every frame",
        "unit": "metre",
        "scale_source": person.source,
        "height_m": options.height,
        "normalisation": options.normalisation,
        "focal_length_px": options.focal_length,
        "fps": options.fps,
        "model_fps": model.fps,
        "is_resampled": not Rates(options.fps, model.fps).are_same,
        "window_frames": model.num_frames,
        "window_stride": default_stride(model.num_frames),
        "flip_averaging": options.flip_averaging,
        "root": None
        if options.focal_length is None
        else {"is_estimate": True, "from": "2D joints", "focal_length_px": options.focal_length},
        "seen_share": {joint: round(share, 3) for joint, share in seen.items()},
        "guessed_joints": [joint for joint, share in seen.items() if share < _RARELY_SEEN],
        "filled_share": round(float((~track.seen & (keypoints[..., 2] > 0)).mean()), 4),
        **reading_facts(tracks, options.size),
    }


def reading_facts(tracks: Tracks, size: tuple[int, int] | None) -> dict[str, Any]:
    """Fields that say how a file was read.

    Args:
        tracks: The file's.
        size: Width and height of the picture, if they are known.
    """
    points = tracks.seen_points
    return {
        "detector": tracks.detector,
        "layout": tracks.layout,
        "size": None if size is None else list(size),
        "outside": None
        if size is None
        else {
            "share": round(share_outside(points, size), 4),
            "share_if_swapped": round(share_outside(points, (size[1], size[0])), 4),
        },
        "detections": dict(tracks.facts),
    }


def reading_sentences(facts: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a person about how a file was read.

    Args:
        facts: With those of ``reading_facts``.
    """
    found = facts["detections"]
    if by := _LAYOUT_BY.get(found.get("layout_by")):
        yield f"layout {facts['layout']}: {by}"
    if others := len(found.get("people", ())) - len(found.get("chosen", ())):
        chosen_by = _CHOSEN_BY.get(found["person"], f"person {found['person']} was asked for")
        yield f"other people in the file: {others}; {chosen_by}"
    if dropped := found.get("share_dropped"):
        yield f"{dropped:.1%} of the keypoints are below confidence {found['threshold']:g}: missing"
    for name, what in (
        ("filled_frames", "frames without the person, filled from those around"),
        (
            "split_gaps",
            f"gaps of more than {found.get('max_gap')} frames, at which a person is cut into parts",
        ),
        ("merged_bodies", "bodies that the detector gave in two halves, joined"),
    ):
        if number := found.get(name):
            yield f"{what}: {number}"
    outside = facts["outside"]
    if outside is not None and outside["share"] >= _TOLD_OUTSIDE:
        width, height = facts["size"]
        other = f"{height}x{width}" if outside["share_if_swapped"] < outside["share"] else "another size"
        yield f"{outside['share']:.0%} of the joints lie outside of {width}x{height}: is it {other}?"


def sentences(clip: LiftedClip) -> list[str]:
    """Lines for a person about a result."""
    facts = clip.facts
    last = clip.first_frame + len(clip.poses_3d) - 1
    found = [
        f"person {clip.person}, frames {clip.first_frame} to {last}, {clip.fps:g} a second, from "
        f"{facts['detector']} ({facts['layout']}): metres in camera axes, pelvis at 0; size: "
        f"{facts['scale_source']}"
    ]
    if facts["weights"].get("fps_source", "").startswith("assumed"):
        found.append(
            f"the model's file does not say its rate: {facts['model_fps']:g} frames a second are assumed, "
            "as of Human3.6M"
        )
    if facts["is_resampled"]:
        found.append(f"lifted at {facts['model_fps']:g} frames a second, the model's rate, and brought back")
    if facts["normalisation"] == "box":
        focal_length = facts["focal_length_px"]
        found.append(
            "2D by the person's box; without --focal-length whoever stands aside is seen as if in the middle"
            if focal_length is None
            else f"2D by the person's box, turned to where it stands by a focal length of {focal_length:g} px"
        )
    else:
        found.append(f"2D by the width of the picture, {clip.size[0]}x{clip.size[1]}")
    found += reading_sentences(facts)
    if filled := facts["filled_share"]:
        found.append(f"{filled:.1%} of the joints are filled over short gaps, with confidence 0.5")
    if guessed := facts["guessed_joints"]:
        places = "their places are" if len(guessed) > 1 else "its place is"
        found.append(f"{_name(guessed)} seen in less than half of the frames: {places} the model's guess")
    if clip.root is not None:
        found.append("the path of the pelvis is an estimate, as right as focal length and size are")
    found.append(_describe_smoothing(facts["smoothing"]))
    return found


def _name(joints: Sequence[str]) -> str:
    rest = len(joints) - _NAMED_JOINTS
    named = ", ".join(joints[:_NAMED_JOINTS])
    return (
        f"{named} and {rest} more joints are" if rest > 0 else f"{named} {'are' if len(joints) > 1 else 'is'}"
    )


def _describe_smoothing(effect: Mapping[str, Any]) -> str:
    if "mean_change_mm" not in effect:
        return f"smoothing: {effect['method']}"
    return (
        f"smoothed over {effect['frames']} frames: joints moved by {effect['mean_change_mm']:g} mm, mean "
        f"acceleration {effect['acceleration_m_s2_before']:g} -> {effect['acceleration_m_s2']:g} m/s^2"
    )
