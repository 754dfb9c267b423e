"""``manifest.json``: what the shards of a folder hold, where, and with which hashes.

It is written last, so a folder without one holds nothing that a reader accepts. It is JSON and carries a
fingerprint over its own content: a manifest that was edited by hand is refused.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from langpose_dist.data.remote import is_url, join, read_url
from langpose_dist.data.sample import POSES, DataError, Span
from langpose_dist.skeleton import H36M17

MANIFEST = "manifest.json"
FORMAT = "langpose-shards"
VERSION = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Row = tuple[float, float, float]


class Record(BaseModel):
    """Read from JSON, checked strictly, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class SampleEntry(Record):
    """One clip and where its members lie."""

    key: str
    num_frames: Annotated[int, Field(ge=1)]
    spans: tuple[Span, ...]
    members: dict[str, tuple[Count, Count]]
    """Member name -> (offset in the shard, size), both in bytes."""

    @property
    def poses(self) -> tuple[int, int]:
        """(offset, size) of ``poses_3d.npy`` in the shard, in bytes."""
        return self.members[POSES]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if POSES not in self.members:
            raise ValueError(f"{self.key}: no {POSES}")
        for span in self.spans:
            if not span.label or not 0 <= span.start < span.end <= self.num_frames:
                raise ValueError(f"{self.key}: span {span.start}..{span.end} is outside 0..{self.num_frames}")
        return self


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
    """A source, or a part of one, that is not in the shards."""

    source: str
    reason: str


class Manifest(Record):
    """Everything a reader needs to know about a folder of shards."""

    format: Literal["langpose-shards"] = FORMAT
    version: Literal[1] = VERSION
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
    """Options that the shards were built with."""
    skipped: tuple[Skipped, ...]
    num_ignored: Count = 0
    """Files of other endings in the input folder."""
    fingerprint: Sha256

    @classmethod
    def create(cls, **content: Any) -> Self:
        """A manifest with its splits counted and its fingerprint taken.

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
            DataError: If it is missing, damaged, edited, foreign or of a newer version.
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
        """Check the bytes of a manifest; ``place`` is named in messages.

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
        try:
            manifest = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "content"
            message = first["msg"].removeprefix("Value error, ")
            raise DataError(f"{place} is damaged at {where}: {message}; {remedy}") from None
        if manifest.fingerprint != manifest.compute_fingerprint():
            raise DataError(f"{place} was changed after it was written: its fingerprint differs; {remedy}")
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
        """SHA-256 of what the data are: shards, index, labels, statistics, rate, unit, axes and skeleton.

        How they were made (tool version, options, what was skipped) is left out: equal data have equal
        fingerprints.
        """
        exclude = {"fingerprint", "tool_version", "build", "skipped", "num_ignored"}
        content = self.model_dump(mode="json", exclude=exclude)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> bytes:
        """The content of the file; equal manifests give equal bytes."""
        content = self.model_dump(mode="json")
        # One line per field: readable, and the index of many clips stays small.
        lines = (
            f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()
        )
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()

    def shards_of(self, split: str) -> tuple[tuple[int, ShardEntry], ...]:
        """(shard index, shard) of every shard of a split; the index is what ``ShardReader`` takes.

        Raises:
            DataError: If there is no such split.
        """
        self._require(split)
        return tuple((index, shard) for index, shard in enumerate(self.shards) if shard.split == split)

    def label_counts(self, split: str) -> dict[str, int]:
        """Label -> spans of the split that carry it.

        Raises:
            DataError: If there is no such split.
        """
        self._require(split)
        return dict(self.splits[split].label_counts)

    def _require(self, split: str) -> None:
        if split not in self.splits:
            raise DataError(f"{self.dataset}: no split {split!r}; there are {', '.join(self.splits)}")


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
