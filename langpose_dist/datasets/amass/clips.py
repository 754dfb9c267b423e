"""AMASS: motions of the SMPL+H body as keypoints on the common skeleton, with BABEL's labels."""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample, Span, make_key
from langpose_dist.datasets.amass.babel import Annotation, LabelField, load_annotations
from langpose_dist.datasets.amass.file import read_recording
from langpose_dist.datasets.amass.names import Motion
from langpose_dist.datasets.clip import FileClip, Found, SharedFileError, one_per_key
from langpose_dist.datasets.files import list_input, to_text, version_of
from langpose_dist.datasets.smplh import (
    REMEDY,
    KeypointBody,
    check_joint_order,
    find_body_models,
    load_body_model,
    load_regressor,
)
from langpose_dist.datasets.splits import to_words
from langpose_dist.datasets.timing import frame_places, to_frames

Gender = Literal["file", "neutral", "male", "female"]
"""Whose body a motion is given: that of its own file, or one for all."""

NUM_BETAS = 16
"""Shape parameters of AMASS's people."""

DURATION_TOLERANCE = 0.5
"""Seconds. The official files agree with BABEL within 0.25 s (public code that reads all of them asserts
it), so a file that differs by more is another motion, and the labels would stand at wrong times."""

_SHAPE = re.compile(r"(shape|.*stagei)[.]npz", re.IGNORECASE)


@dataclass(frozen=True)
class BodyFiles:
    """Files that a body is made from."""

    model: Path
    regressor: Path
    state: tuple[int, ...]
    """Sizes and times: other content is another body."""

    @classmethod
    def find(cls, model: Path, regressor: Path) -> "BodyFiles":
        """Take note of the files as they are now.

        Raises:
            DataError: If one is missing.
        """
        return cls(model, regressor, (*version_of(model)[1:], *version_of(regressor)[1:]))


@dataclass(frozen=True, kw_only=True)
class AmassClip(FileClip):
    """A motion file."""

    motion: Motion
    annotation: Annotation | None
    bodies: Mapping[str, BodyFiles]
    """By gender."""
    gender: Gender
    dataset: str

    def read(self) -> Sample:
        """Read the file and move a body by it.

        Raises:
            DataError: If the file is damaged or is no SMPL+H motion, there is no body for its gender, it
                lasts less than two frames, or BABEL's labels are not of this file.
        """
        recording = read_recording(self.path)
        gender = recording.gender if self.gender == "file" else self.gender
        if gender not in self.bodies:
            raise DataError(
                f"no body model: for gender {gender or 'unknown'}; there are {', '.join(self.bodies)}"
            )
        duration = len(recording.poses) / recording.fps
        places = frame_places(len(recording.poses), recording.fps, self.fps)
        num_frames = len(places.before)
        if num_frames < 2:
            raise DataError(f"too short: {duration:.3g} s is {num_frames} frame at {self.fps:g} Hz")
        spans, left_out = self._spans(duration, num_frames)
        used = places.used()
        with np.errstate(over="ignore", invalid="ignore"):  # absurd values are refused below
            keypoints = load_body(self.bodies[gender]).keypoints(
                recording.poses[used], recording.trans[used], recording.betas
            )
            poses_3d = places.among(used).interpolate(keypoints).astype(np.float32)
        if not np.isfinite(poses_3d).all():
            raise DataError("NaN or infinity: positions beyond float32")
        meta: dict[str, Any] = {
            "dataset": self.dataset,
            "subset": self.motion.subset,
            "subject": self.motion.subject,
            "source": self.source,
            "fps": self.fps,
            "original_fps": round(recording.fps, 3),
            "gender": gender,
        }
        if self.annotation is not None:
            meta |= {
                "babel": self.annotation.file,
                "babel_sid": self.annotation.sid,
                "annotation": self.annotation.kind,
            }
        return Sample(self.key, poses_3d, spans, meta, left_out=left_out)

    def _spans(self, duration: float, num_frames: int) -> tuple[tuple[Span, ...], tuple[str, ...]]:
        """Labels in frames, and reasons why others are left out."""
        if self.annotation is None:
            return (), ()
        annotated = self.annotation.duration
        if annotated is not None and abs(duration - annotated) > DURATION_TOLERANCE:
            raise DataError(
                f"not the annotated motion: it lasts {duration:.2f} s, "
                f"and {annotated:.2f} s in {self.annotation.source}"
            )
        left_out: list[str] = []
        # Two labels may round to the same frames: one span then, with the categories of both.
        spans: dict[tuple[str, int, int], dict[str, None]] = {}
        for label in self.annotation.labels:
            if label.start is None or label.end is None:
                frames = (0, num_frames)
            else:
                frames = to_frames(label.start, label.end, self.fps, num_frames)
            if frames is None:
                left_out.append(
                    f"label beyond the clip: {label.text!r} from {label.start:g} s to {label.end:g} s"
                )
            else:
                spans.setdefault((label.text, frames[0], frames[1]), {}).update(dict.fromkeys(label.act_cat))
        return tuple(Span(*place, tuple(names)) for place, names in spans.items()), tuple(left_out)


@functools.lru_cache(maxsize=3)
def load_body(files: BodyFiles) -> KeypointBody:
    """A body, made once per process.

    Raises:
        SharedFileError: If a file is not what it should be.
    """
    try:
        model, regressor = load_body_model(files.model), load_regressor(files.regressor)
    except DataError as error:
        raise SharedFileError(str(error)) from None
    try:
        check_joint_order(model, regressor)
    except DataError as error:
        raise SharedFileError(f"{files.regressor} is no regressor of Human3.6M's joints: {error}") from None
    return KeypointBody(model, regressor)


def find_clips(
    folder: Path,
    *,
    fps: float,
    dataset: str = "amass",
    babel: Path | None,
    smplh: Path,
    regressor: Path,
    label: LabelField = "proc_label",
    gender: Gender = "file",
) -> Found[AmassClip]:
    """Motion files below a folder, in the order of their paths; none is opened.

    Args:
        folder: Searched to any depth for ``SUBSET/SUBJECT/NAME_poses.npz`` or ``..._stageii.npz``. The files
            of body shapes beside them are ignored.
        fps: Frame rate that the clips will have.
        dataset: Name of the data set in each clip.
        babel: Folder of BABEL's json files; ``None`` for motions without labels.
        smplh: Folder of the SMPL+H body models.
        regressor: 17 x 6890 matrix from vertices to the common skeleton.
        label: Where BABEL's labels come from.
        gender: Whose body all motions are given.

    Returns:
        Clips; files and annotations that cannot be used, each with its reason, annotations without a file
        among them; and the number of other files.

    Raises:
        DataError: If the folder has no motion file, or a body model, the regressor or BABEL is missing or
            not what it should be.
    """
    motions, skipped, num_ignored = _list_motions(folder)
    annotations: dict[Motion, Annotation] = {}
    if babel is not None:
        entries, unusable = load_annotations(babel, label)
        annotations, unmatched = _match((motion for _, _, motion, _ in motions), entries)
        skipped += [*unusable, *unmatched]
    bodies = _find_bodies(smplh, regressor, gender)
    clips: list[AmassClip] = []
    for path, source, motion, key in motions:
        annotation = annotations.get(motion)
        fields = {"subset": motion.subset, "subject": motion.subject}
        if annotation is not None:
            fields["babel"] = annotation.file
        clips.append(
            AmassClip(
                path=path,
                source=source,
                key=key,
                fields={name: to_words(value) for name, value in fields.items()},
                split=annotation.split if annotation else None,
                motion=motion,
                annotation=annotation,
                bodies=bodies,
                gender=gender,
                fps=fps,
                dataset=dataset,
            )
        )
    clips, duplicates = one_per_key(clips)
    clips.sort(key=lambda clip: clip.source)
    return Found(tuple(clips), (*skipped, *duplicates), num_ignored)


def _list_motions(folder: Path) -> tuple[list[tuple[Path, str, Motion, str]], list[Skipped], int]:
    """Path, source, name and key of each motion file; files of no use; number of others."""
    files, num_system, skipped = list_input(folder)
    paths = [path for path in files if path.suffix.lower() == ".npz" and not _SHAPE.fullmatch(path.name)]
    if not paths:
        raise DataError(f"input folder {folder} has no motion (.npz) file; unpack AMASS's SMPL+H G there")
    motions: list[tuple[Path, str, Motion, str]] = []
    # Of two releases of a motion the first to come is kept, and the later release is mostly SMPL-X.
    for path in sorted(paths, key=lambda path: (path.stem.lower().endswith("_stageii"), path)):
        source = to_text(path.relative_to(folder))
        motion = Motion.of(PurePosixPath(to_text(path.absolute())))
        if motion is None:
            reason = "name is not AMASS's: not SUBSET/SUBJECT/NAME_poses.npz or NAME_stageii.npz"
            skipped.append(Skipped(source=source, reason=reason))
            continue
        try:
            key = make_key(f"{motion.subset}/{motion.subject}/{motion.name}")
        except DataError as error:
            skipped.append(Skipped(source=source, reason=str(error)))
            continue
        motions.append((path, source, motion, key))
    return motions, skipped, num_system + len(files) - len(paths)


def _match(
    motions: Iterable[Motion], entries: Iterable[Annotation]
) -> tuple[dict[Motion, Annotation], list[Skipped]]:
    """The annotation of each motion that has one, and the annotations that are of no use."""
    skipped: list[Skipped] = []
    annotations: dict[Motion, Annotation] = {}
    for entry in entries:
        motion = Motion.of(PurePosixPath(entry.path))
        if motion is None:
            reason = f"malformed annotation: feat_p is no AMASS path: {entry.path}"
            skipped.append(Skipped(source=entry.source, reason=reason))
        elif motion in annotations:
            # What the first files say is complete; the extra ones add single annotators' views.
            reason = f"annotated twice: {annotations[motion].source} is taken"
            skipped.append(Skipped(source=entry.source, reason=reason))
        else:
            annotations[motion] = entry
    found = {motion: annotations.pop(motion) for motion in motions if motion in annotations}
    for entry in annotations.values():
        reason = f"annotation without a motion file: {entry.path}"
        skipped.append(Skipped(source=entry.source, reason=reason))
    return found, skipped


def _find_bodies(smplh: Path, regressor: Path, gender: Gender) -> dict[str, BodyFiles]:
    """Files by gender, tried out: a wrong one would otherwise be the reason to skip every clip."""
    models = find_body_models(smplh)
    for needed in ("male", "female") if gender == "file" else (gender,):
        if needed not in models:
            raise DataError(
                f"no SMPL+H body model for gender {needed} in {smplh}; put it at smplh/{needed}/model.npz "
                "there, or choose another gender for all motions"
            )
    bodies = {
        name: BodyFiles.find(path, regressor)
        for name, path in sorted(models.items())
        if gender in ("file", name)
    }
    for files in bodies.values():
        if (found := load_body(files).num_betas) < NUM_BETAS:
            raise DataError(
                f"{files.model} has {found} shape directions, AMASS's motions are made for {NUM_BETAS}; "
                f"{REMEDY}"
            )
    return bodies
