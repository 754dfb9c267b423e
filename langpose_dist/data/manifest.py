"""``manifest.json``: the index of a folder of shards, with hashes.

It is written last, so a folder without one holds nothing that a reader accepts. It is JSON with a checksum
over its own content: a manifest that was edited by hand is refused.

Version 2 lists for each clip the fields that evaluation groups by. Version 1, which lacks them and the
checksum, is still read.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from langpose_dist.data.labels import normalise_label
from langpose_dist.data.remote import is_url, join, read_url
from langpose_dist.data.sample import KEYPOINTS, POSES, DataError, Span
from langpose_dist.skeleton import H36M17

MANIFEST = "manifest.json"
FORMAT = "langpose-shards"
VERSION = 2

FRAME_BYTES = H36M17.num_joints * 3 * 4
"""Bytes of a frame of poses."""

GROUPS = ("subject", "action", "subaction", "camera", "source_split", "valid_frames", "remark", "mirrored")
"""Fields of ``SampleEntry`` that version 2 added; a clip lacks those that its data set does not have."""

GroupField = Literal["subject", "action", "subaction", "camera", "source_split", "remark", "mirrored"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Row = tuple[float, float, float]
FrameRange = tuple[Count, Count]
"""First frame, and one past the last."""


class Record(BaseModel):
    """Immutable record with strictly checked fields, stored as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SampleEntry(Record):
    """One clip: its length, labels, groups, and where its members are."""

    key: str
    num_frames: Annotated[int, Field(ge=1)]
    spans: tuple[Span, ...]
    """Labels, which make up the vocabulary."""
    members: dict[str, tuple[Count, Count]]
    """Member name -> (offset in the shard, size), both in bytes."""
    subject: str | None = None
    """Person, such as ``s9``."""
    action: str | None = None
    """Action that the data set files the clip under, such as ``walking``."""
    subaction: str | None = None
    """One of a subject's recordings of an action, as its source names it, such as ``walking 1``."""
    camera: str | None = None
    """Name of the camera that recorded the clip."""
    source_split: str | None = None
    """Split that the data set itself puts the clip into."""
    valid_frames: tuple[FrameRange, ...] | None = None
    """Frames that the data set's protocol counts, where it does not count all of them."""
    remark: str | None = None
    """Known fault of the recording, such as ``drifting``, for which some protocols leave it out."""
    mirrored: str | None = None
    """``yes`` where the data set made the clip from another one, in mirror image; ``no`` where it says so."""
    captions: tuple[Span, ...] = ()
    """Sentences about the motion; no labels, and in no vocabulary of them."""

    @property
    def poses(self) -> tuple[int, int]:
        """(offset, size) of ``poses_3d.npy`` in the shard, in bytes."""
        return self.members[POSES]

    @property
    def has_keypoints(self) -> bool:
        """True if the clip has the 2D joints of its own recording."""
        return KEYPOINTS in self.members

    @property
    def groups(self) -> dict[str, Any]:
        """Field -> value of the fields in ``GROUPS`` that the clip has."""
        found = {name: getattr(self, name) for name in GROUPS}
        return {name: value for name, value in found.items() if value is not None}

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, serialise: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        content = {name: value for name, value in serialise(self).items() if value is not None}
        for name in ("spans", "captions"):
            content[name] = [_without_empty(span) for span in content[name]]
        if not self.captions:
            del content["captions"]
        return content

    @model_validator(mode="after")
    def _check(self) -> Self:
        if POSES not in self.members:
            raise ValueError(f"{self.key}: no {POSES}")
        if self.poses[1] < self.num_frames * FRAME_BYTES:
            raise ValueError(f"{self.key}: {self.poses[1]} bytes are too few for {self.num_frames} frames")
        for span in (*self.spans, *self.captions):
            if not span.label or not 0 <= span.start < span.end <= self.num_frames:
                raise ValueError(f"{self.key}: span {span.start}..{span.end} is outside 0..{self.num_frames}")
        for start, end in self.valid_frames or ():
            if not start < end <= self.num_frames:
                raise ValueError(f"{self.key}: valid frames {start}..{end} are outside 0..{self.num_frames}")
        return self


def _without_empty(span: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in span.items() if name not in ("act_cat", "words") or value}


def groups_of(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``SampleEntry`` that a sample's ``meta.json`` gives; what it does not have is left out."""
    subject, action, recording = (_text(meta.get(name)) for name in ("subject", "action", "recording"))
    camera = meta.get("camera")
    found = {
        "subject": subject,
        "action": action,
        # A recording is named by its subject and what it shows: "s9 walking 1".
        "subaction": recording.removeprefix(f"{subject} ") if recording and subject and action else None,
        "camera": _text(camera.get("name") if isinstance(camera, Mapping) else camera),
        "valid_frames": _ranges(meta.get("valid_frames")),
        "remark": _text(meta.get("remark")),
        "mirrored": _text(meta.get("mirrored")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _ranges(value: Any) -> tuple[FrameRange, ...] | None:
    try:
        return tuple((int(start), int(end)) for start, end in value)
    except (TypeError, ValueError):
        return None


class ShardEntry(Record):
    """One tar file."""

    # A plain name: a manifest from elsewhere must not reach outside its folder.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.tar$")]
    split: str
    sha256: Sha256
    num_bytes: Count
    samples: tuple[SampleEntry, ...]

    @property
    def num_samples(self) -> int:
        """Clips in the shard."""
        return len(self.samples)

    @property
    def num_frames(self) -> int:
        """Frames of all its clips."""
        return sum(sample.num_frames for sample in self.samples)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for sample in self.samples:
            if any(offset + size > self.num_bytes for offset, size in sample.members.values()):
                raise ValueError(f"{self.name}: {sample.key} lies beyond the shard's end")
        return self


class SplitEntry(Record):
    """Totals of one split."""

    num_samples: Count
    num_frames: Count
    label_counts: dict[str, Count]
    """Label -> spans that carry it."""


class Statistics(Record):
    """Per joint and axis over all frames of the training split, relative to the pelvis, in metres."""

    num_frames: Count
    mean: tuple[Row, ...]
    std: tuple[Row, ...]
    min: tuple[Row, ...]
    max: tuple[Row, ...]


class Skipped(Record):
    """A source, or a part of one, that is not in the shards, and the reason."""

    source: str
    reason: str


class Manifest(Record):
    """Index of a folder of shards."""

    format: Literal["langpose-shards"] = FORMAT
    version: Literal[1, 2] = VERSION
    tool_version: str
    dataset: str
    source: str
    """Kind of the source files."""
    fps: Annotated[float, Field(gt=0)]
    unit: Literal["metre"] = "metre"
    axes: Literal["right-handed, z up"] = "right-handed, z up"
    skeleton: Literal["h36m17"] = "h36m17"
    splits: dict[str, SplitEntry]
    statistics: Statistics | None
    """``None`` where there is no training split."""
    shards: tuple[ShardEntry, ...]
    build: dict[str, Any]
    """Options of the build."""
    skipped: tuple[Skipped, ...]
    num_ignored: Count = 0
    """Files in the input folder that the source does not read."""
    fingerprint: Sha256

    @classmethod
    def create(cls, **content: Any) -> Self:
        """Create a manifest: count its splits and compute its fingerprint.

        Args:
            **content: All fields but ``splits`` and ``fingerprint``.
        """
        shards: tuple[ShardEntry, ...] = content["shards"]
        draft = cls(**content, splits=count_splits(shards), fingerprint="0" * 64)
        return draft.model_copy(update={"fingerprint": draft.compute_fingerprint()})

    @classmethod
    def load(cls, root: Path | str) -> Self:
        """Read and check the manifest of a folder or URL.

        Raises:
            DataError: If it is missing, damaged, edited, of another package or of a newer version.
        """
        place = join(str(root), MANIFEST)
        try:
            content = read_url(place) if is_url(place) else Path(place).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"{place} does not exist: not a data folder, or a build that did not finish; "
                "run `langpose data build` (again)"
            ) from None
        except OSError as error:
            raise DataError(f"{place} cannot be read: {error.strerror or error}") from None
        return cls.parse(content, place)

    @classmethod
    def parse(cls, content: bytes, place: str) -> Self:
        """Decode and check a manifest; ``place`` is named in messages.

        Raises:
            DataError: As ``load``.
        """
        remedy = "build the data again or fetch a whole copy"
        try:
            raw = json.loads(content)
        except (ValueError, RecursionError):
            raise DataError(f"{place} is not JSON; {remedy}") from None
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise DataError(f"{place} is not a manifest of this package: no format {FORMAT!r}; {remedy}")
        if isinstance(version := raw.get("version"), int) and version > VERSION:
            raise DataError(
                f"{place} has version {version}, this package reads up to {VERSION}; upgrade langpose-dist"
            )
        checksum = raw.pop("checksum", None)
        try:
            manifest = cls.model_validate_json(json.dumps(raw))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            message = first["msg"].removeprefix("Value error, ")
            raise DataError(f"{place} is damaged at {where}: {message}; {remedy}") from None
        if manifest.fingerprint != manifest.compute_fingerprint():
            raise DataError(f"{place} was changed after it was written: its fingerprint differs; {remedy}")
        if manifest.version > 1 and checksum != _sha256(raw):
            raise DataError(f"{place} was changed after it was written: its checksum differs; {remedy}")
        return manifest

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind, names in (
            ("shard", [shard.name for shard in self.shards]),
            ("clip", [sample.key for shard in self.shards for sample in shard.samples]),
        ):
            if len(set(names)) != len(names):
                twice = next(name for name, count in Counter(names).items() if count > 1)
                raise ValueError(f"{kind} {twice!r} is listed twice")
        if self.splits != count_splits(self.shards):
            raise ValueError("the counts per split are not those of the shards")
        if self.version == 1 and any(sample.groups for shard in self.shards for sample in shard.samples):
            raise ValueError("version 1 has no fields to group by")
        rows = self.statistics and (
            self.statistics.mean,
            self.statistics.std,
            self.statistics.min,
            self.statistics.max,
        )
        if rows and any(len(row) != H36M17.num_joints for row in rows):
            raise ValueError(f"statistics must have {H36M17.num_joints} rows")
        return self

    def compute_fingerprint(self) -> str:
        """Compute the SHA-256 of the data: shards, index, labels, statistics, rate, unit, axes and skeleton.

        How they were made (tool version, options, what was skipped) is left out, and so are the fields to
        group by, which come from ``meta.json`` in the shards: equal data have equal fingerprints, also across
        versions of the manifest.
        """
        exclude = {"fingerprint", "tool_version", "build", "skipped", "num_ignored"}
        content = self.model_dump(mode="json", exclude=exclude)
        content["version"] = 1
        for shard in content["shards"]:
            for sample in shard["samples"]:
                for name in GROUPS:
                    sample.pop(name, None)
                for span in sample["spans"]:
                    span.pop("act_cat", None)
        return _sha256(content)

    def to_json(self) -> bytes:
        """Encode the manifest; equal manifests give equal bytes."""
        content = self.model_dump(mode="json")
        if self.version > 1:
            content["checksum"] = _sha256(content)
        # One line per field: readable, and the index of many clips stays small.
        lines = (
            f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()
        )
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    def shards_of(self, split: str) -> tuple[tuple[int, ShardEntry], ...]:
        """(shard index, shard) of every shard of a split; ``ShardReader`` takes the index.

        Raises:
            DataError: If there is no such split.
        """
        self._require(split)
        return tuple((index, shard) for index, shard in enumerate(self.shards) if shard.split == split)

    def label_counts(self, split: str) -> dict[str, int]:
        """Label in normal form -> spans of the split that carry it.

        Raises:
            DataError: If there is no such split.
        """
        self._require(split)
        counts: Counter[str] = Counter()
        for label, count in self.splits[split].label_counts.items():
            counts[normalise_label(label)] += count
        counts.pop("", None)
        return dict(sorted(counts.items()))

    def num_captions(self, split: str) -> int:
        """Captions of a split, those of mirrored clips included.

        Raises:
            DataError: If there is no such split.
        """
        return sum(len(sample.captions) for _, shard in self.shards_of(split) for sample in shard.samples)

    def group_counts(self, split: str, field: GroupField) -> dict[str, int]:
        """Value of a field -> clips of the split that have it; empty where no clip has the field.

        Raises:
            DataError: If there is no such split.
        """
        values = (getattr(sample, field) for _, shard in self.shards_of(split) for sample in shard.samples)
        return dict(sorted(Counter(value for value in values if value is not None).items()))

    def _require(self, split: str) -> None:
        if split not in self.splits:
            raise DataError(f"{self.dataset}: no split {split!r}; there are {', '.join(self.splits)}")


def _sha256(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def count_splits(shards: Iterable[ShardEntry]) -> dict[str, SplitEntry]:
    """Totals per split, in the order of the shards."""
    clips: dict[str, list[SampleEntry]] = {}
    for shard in shards:
        clips.setdefault(shard.split, []).extend(shard.samples)
    return {
        split: SplitEntry(
            num_samples=len(samples),
            num_frames=sum(sample.num_frames for sample in samples),
            label_counts=dict(sorted(Counter(span.label for s in samples for span in s.spans).items())),
        )
        for split, samples in clips.items()
    }
