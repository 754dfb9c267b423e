"""Clips from BVH files: which files, what their names say, and their poses on the common skeleton."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import yaml
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from langpose_dist.config.core_yaml import read_yaml
from langpose_dist.data.sample import DataError, Sample, Span, make_key
from langpose_dist.datasets.bvh.parse import BvhError, joint_positions, read_bvh
from langpose_dist.datasets.clip import FileClip, Found, make_clips
from langpose_dist.datasets.files import list_input, to_text
from langpose_dist.datasets.person import SIZES
from langpose_dist.datasets.splits import to_words
from langpose_dist.datasets.timing import resample
from langpose_dist.skeleton import BANDAI_NAMCO, H36M17

RATE_TOLERANCE = 1.000001e-3
"""A rate this close to the target is the target: 0.0333333 s and 0.0333 s mean 30 Hz."""

ROUNDING = 1e-4
"""A rate this close to a whole number is that number: 0.0083333 s means 120 Hz."""

MAX_SKELETON_BYTES = 100_000
"""Size of a skeleton file; the largest preset has 2,000."""

_FIELD = re.compile(r"\{(\w+)\}")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Point(_Record):
    """A point that moves with a joint, for what the file has no joint for."""

    joint: str
    offset: tuple[float, float, float]
    """In the joint's own axes, in the file's unit."""


class BvhSkeleton(_Record):
    """Names, joints, unit and axes of the BVH files of one data set."""

    dataset: str
    """Name of the data set."""
    pattern: str
    """Regular expression for the whole file name without its ending; its named groups are the fields."""
    unit_scale: Annotated[float, Field(gt=0)]
    """Metres per unit of the files."""
    up: Literal["y", "z"] = "y"
    """The files' vertical axis."""
    sizes: tuple[float, float] = SIZES
    """Least and largest size of the people, metres from the ankles to the crown."""
    points: dict[str, Point] = {}
    """Extra points, by a name that ``joints`` can use."""
    joints: dict[str, dict[str, float]]
    """Joint of the common skeleton -> {joint of the file, its End Site ``NAME End``, or point: weight}."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if missing := [joint for joint in H36M17.joints if joint not in self.joints]:
            raise ValueError(f"joints lacks {', '.join(missing)}")
        if unknown := sorted(set(self.joints) - set(H36M17.joints)):
            raise ValueError(f"joints has unknown {', '.join(unknown)}; there are {', '.join(H36M17.joints)}")
        for joint, weights in self.joints.items():
            if abs(sum(weights.values()) - 1) > 1e-6:
                raise ValueError(f"the weights of {joint} sum to {sum(weights.values()):g}, not 1")
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(f"pattern is not a regular expression: {error}") from None
        if not groups:
            raise ValueError("pattern needs a named group such as (?P<action>[a-z-]+)")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the pattern's groups."""
        return tuple(re.compile(self.pattern).groupindex)


PRESETS = {
    "bandai-namco": BvhSkeleton(
        dataset="bandai-namco",
        pattern=r"(?P<set>dataset-\d+)_(?P<action>[^_]+)_(?P<style>[^_]+)_(?P<number>\d+)",
        unit_scale=0.01,
        up="y",
        # The head's axes are x up, y forward, z left. Its End Site has no length, so nose and crown are
        # placed as far above the neck's base as in Human3.6M (0.12 m and 0.24 m).
        points={
            "Nose": Point(joint="Head", offset=(5.0, 5.0, 0.0)),
            "Head Top": Point(joint="Head", offset=(17.5, 0.0, 0.0)),
        },
        joints={joint: dict(weights) for joint, weights in BANDAI_NAMCO.items()},
    )
}
"""Known data sets, by name."""


@dataclass(frozen=True, kw_only=True)
class BvhClip(FileClip):
    """A BVH file whose name matches."""

    label: str
    captions: tuple[str, ...] = ()
    skeleton: BvhSkeleton

    @property
    def sizes(self) -> tuple[float, float]:
        """The skeleton's."""
        return self.skeleton.sizes

    def read(self) -> Sample:
        """Read the file.

        Raises:
            BvhError: If it is not a whole BVH motion, or lacks a joint.
            OSError: If it cannot be read.
        """
        bvh = read_bvh(self.path)
        fps = frame_rate(bvh.frame_time)
        points = {name: (point.joint, point.offset) for name, point in self.skeleton.points.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # absurd values are refused below
            wanted = {source for weights in self.skeleton.joints.values() for source in weights}
            poses = map_joints(joint_positions(bvh, points, wanted), self.skeleton)
            poses_3d = resample(poses, fps, self.fps, RATE_TOLERANCE).astype(np.float32)
        if not np.isfinite(poses_3d).all():
            raise BvhError("NaN or infinity: positions beyond float32")
        meta = {
            **self.fields,
            "dataset": self.skeleton.dataset,
            "source": self.source,
            "fps": self.fps,
            "original_fps": round(fps, 3),
        }
        label, *captions = (Span(text, 0, len(poses_3d)) for text in (self.label, *self.captions))
        return Sample(self.key, poses_3d, (label,), meta, captions=tuple(captions))


def load_skeleton(name: str) -> BvhSkeleton:
    """A preset by name, or the content of a YAML file.

    Raises:
        DataError: If there is neither, or the file does not fit.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise DataError(f"skeleton {name!r} is neither a .yaml file nor one of {', '.join(PRESETS)}")
    try:
        if path.stat().st_size > MAX_SKELETON_BYTES:
            raise DataError(f"skeleton file {path} has more than {MAX_SKELETON_BYTES} bytes; it is none")
        return BvhSkeleton.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(f"skeleton file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"skeleton file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise DataError(f"skeleton file {path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(f"skeleton file {path}: {f'{where}: ' if where else ''}{message}") from None


def find_clips(
    folder: Path, skeleton: BvhSkeleton, *, label: str, fps: float, captions: tuple[str, ...] = ()
) -> Found[BvhClip]:
    """BVH files below a folder, in the order of their paths.

    Args:
        folder: Searched to any depth for names that end in .bvh, in upper or lower case.
        skeleton: Gives the name pattern.
        label: A field of the pattern, or a template such as ``{style} {action}``.
        fps: Frame rate that the clips will have.
        captions: Templates of captions.

    Returns:
        Clips, files whose names do not fit, and the number of other files.

    Raises:
        DataError: If the folder is missing or has no such file, or the label names no field.
    """
    templates = [check_label(text, skeleton) for text in (label, *captions)]
    files, num_system, broken = list_input(folder)
    paths = [path for path in files if path.suffix.lower() == ".bvh"]
    if not paths:
        raise DataError(f"input folder {folder} has no .bvh file ({len(files)} files of other endings)")

    def make(path: Path, source: str) -> BvhClip:
        stem = to_text(path.stem)
        fields = parse_name(stem, skeleton)
        key = make_key(stem)
        text, *sentences = (
            to_words(_FIELD.sub(lambda match: fields.get(match[1], ""), template)) for template in templates
        )
        if not text:
            raise DataError(f"no label: the name has no {label}")
        return BvhClip(
            path=path,
            source=source,
            key=key,
            fields=fields,
            split=None,
            fps=fps,
            label=text,
            captions=tuple(sentences),
            skeleton=skeleton,
        )

    clips, skipped = make_clips(paths, folder, make)
    skipped = sorted([*broken, *skipped], key=lambda item: item.source)
    return Found(tuple(clips), tuple(skipped), num_system + len(files) - len(paths))


def check_label(label: str, skeleton: BvhSkeleton) -> str:
    """The label option as a template.

    Raises:
        DataError: If it names no field, or one that the pattern does not have.
    """
    template = label if "{" in label else f"{{{label}}}"
    names = _FIELD.findall(template)
    unknown = [name for name in names if name not in skeleton.fields]
    if unknown or not names:
        wrong = unknown[0] if unknown else label
        raise DataError(
            f"label {wrong!r} is no field of the file names; there are {', '.join(skeleton.fields)}"
        )
    return template


def parse_name(stem: str, skeleton: BvhSkeleton) -> dict[str, str]:
    """Fields of a file name, as words.

    Raises:
        DataError: If the name does not match the pattern.
    """
    match = re.fullmatch(skeleton.pattern, stem)
    if match is None:
        raise DataError(f"name does not match the pattern: {stem}")
    return {field: to_words(value) for field, value in match.groupdict().items() if value is not None}


def find_preset(stem: str) -> str | None:
    """Name of the preset that a file name without its ending belongs to."""
    return next((name for name, skeleton in PRESETS.items() if re.fullmatch(skeleton.pattern, stem)), None)


def map_joints(
    positions: Mapping[str, Float64[np.ndarray, "T 3"]], skeleton: BvhSkeleton
) -> Float64[np.ndarray, "T 17 3"]:
    """The common skeleton in metres, right-handed, z up; a rotation, so left stays left.

    Raises:
        BvhError: If a joint of the map is missing.
    """
    needed = {source for weights in skeleton.joints.values() for source in weights}
    if missing := sorted(needed - set(positions)):
        raise BvhError(f"joint missing from the file: {', '.join(missing)}")
    poses = np.stack(
        [
            sum(
                (weight * positions[source] for source, weight in skeleton.joints[joint].items()), np.zeros(3)
            )
            for joint in H36M17.joints
        ],
        axis=1,
    )
    if skeleton.up == "y":
        poses = np.stack([poses[..., 0], -poses[..., 2], poses[..., 1]], axis=-1)
    return poses * skeleton.unit_scale


def frame_rate(frame_time: float) -> float:
    """Frames per second of a file whose frame time was rounded when it was written."""
    fps = 1 / frame_time
    return float(round(fps)) if abs(fps / round(fps) - 1) <= ROUNDING else fps
