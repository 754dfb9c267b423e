"""A person's 2D joints to 3D poses: the model's rate, its windows, the size of the person, and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from langpose_dist.detections.track import Track, Tracks
from langpose_dist.inference.assumptions import assumptions
from langpose_dist.inference.labels import LabelReader
from langpose_dist.inference.model import LiftingModel
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.person import Person, choose_person
from langpose_dist.inference.picture import normalise, ray_rotations
from langpose_dist.inference.rate import Rates
from langpose_dist.inference.result import LiftedClip
from langpose_dist.inference.root import estimate_root
from langpose_dist.inference.smoothing import smooth
from langpose_dist.inference.windows import Clip, blend, default_stride
from langpose_dist.models.lifting import lift_in_batches
from langpose_dist.spaces import scale_to_person

_FILLED_CONFIDENCE = 0.5
"""Of a joint that was not seen for a moment, and stands between where it was before and after."""


def lift_tracks(
    model: LiftingModel, tracks: Tracks, options: LiftOptions, reader: LabelReader | None = None
) -> list[LiftedClip]:
    """Lift everybody who was chosen, together.

    Args:
        model: The model.
        tracks: People of a video.
        options: What the user chose.
        reader: Labels whose probabilities are wanted, and the model that knows them.

    Raises:
        UserError: If rate or size of the video are needed and nobody says them, or the size is wrong.
    """
    options = options.completed(tracks)
    assert options.fps is not None
    rates = Rates(options.fps, model.fps)
    person = choose_person(model.space, model.limb_total, options.height)
    clips = [Clip(*rates.to_model(used_keypoints(track), track.first_frame)) for track in tracks.people]
    lifter = WindowLifter(model, options, person)
    lifted = blend(lifter, clips, model.num_frames, default_stride(model.num_frames))
    found = []
    for track, clip, values in zip(tracks.people, clips, lifted, strict=True):
        poses = rates.to_video(values, clip.start, track.first_frame, len(track.keypoints))
        keypoints = used_keypoints(track)
        facts = assumptions(model, track, keypoints, tracks, options, person)
        found.append(_finish(track, keypoints, poses, options, reader, facts))
    return found


def used_keypoints(track: Track) -> Float[np.ndarray, "T 17 3"]:
    """Keypoints of a track, with some confidence in those that fill a gap.

    Better than confidence 0, and than leaving such joints out; docs/inference.md has the numbers.
    """
    keypoints = track.keypoints.astype(np.float32)
    is_filled = ~track.seen & (keypoints[..., :2] != 0).any(axis=-1)
    keypoints[is_filled, 2] = _FILLED_CONFIDENCE
    return keypoints


@dataclass(frozen=True)
class WindowLifter:
    """Function from windows in pixels to poses in metres."""

    model: LiftingModel
    options: LiftOptions
    person: Person

    def __call__(self, windows: Float[np.ndarray, "N T 17 3"]) -> Float[np.ndarray, "N T 17 3"]:
        """Poses in camera axes, pelvis at 0; each window scaled by itself, so people may come nearer."""
        size = self.options.size
        inputs, centre = normalise(windows, self.options.normalisation, size, self.model.units_per_metre)
        poses = lift_in_batches(
            self.model.model,
            torch.from_numpy(inputs),
            flip_averaging=self.options.flip_averaging,
            autocast=self.model.autocast,
        )
        poses = poses - poses[:, :, :1]
        if self.person.limb_total is not None:
            poses = scale_to_person(poses, self.person.limb_total)
        focal_length = self.options.focal_length
        if self.options.normalisation == "image" or size is None or focal_length is None:
            return poses.numpy()
        rotations = ray_rotations(centre, size, focal_length).astype(np.float32)
        return np.einsum("nij,ntkj->ntki", rotations, poses.numpy())


def _finish(
    track: Track,
    keypoints: Float[np.ndarray, "T 17 3"],
    poses: Float[np.ndarray, "T 17 3"],
    options: LiftOptions,
    reader: LabelReader | None,
    facts: Mapping[str, Any],
) -> LiftedClip:
    assert options.fps is not None
    root = None
    if options.focal_length is not None and options.size is not None:
        root = estimate_root(poses, keypoints, options.size, options.focal_length)
    smoothed = smooth(poses, root, options.fps, options.smoothing)
    labels = {} if reader is None else reader.probabilities(keypoints, track.first_frame, options)
    return LiftedClip(
        person=track.person,
        first_frame=track.first_frame,
        fps=options.fps,
        poses_3d=smoothed.poses_3d,
        keypoints_2d=keypoints,
        seen=track.seen,
        root=smoothed.root,
        size=options.size or _extent(keypoints),
        labels=labels,
        facts={
            **facts,
            "smoothing": smoothed.effect,
            **({} if reader is None else {"labels": reader.describe()}),
        },
    )


def _extent(keypoints: Float[np.ndarray, "T 17 3"]) -> tuple[int, int]:
    """A picture that just holds all joints."""
    width, height = np.ceil(keypoints[..., :2].max(axis=(0, 1))).clip(1)
    return int(width), int(height)
