"""From clips to a folder of shards: splits, progress, what was skipped, and a build that can be killed.

A build marks its folder first and writes the manifest last. Until then no reader accepts the folder, and
the same command, run again, clears what the first attempt left and starts over.
"""

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from filelock import FileLock, Timeout

from langpose_dist import __version__
from langpose_dist.config import UserError
from langpose_dist.data.labels import normalise_label
from langpose_dist.data.manifest import FORMAT, MANIFEST, Manifest, Skipped, StatisticsAccumulator
from langpose_dist.data.sample import DataError, Sample
from langpose_dist.data.shards import PARTIAL, ShardWriter, write_manifest

TRAIN = "train"
"""Split of clips that no rule matches."""

MARKER = ".langpose-build"
"""Lies in a folder from the first byte of a build to its last."""

LOCK = MARKER + ".lock"
"""Held by the process that builds."""

_OURS = re.compile(
    rf"[a-z][a-z0-9_-]*-[0-9]{{6}}[.]tar({re.escape(PARTIAL)})?|{re.escape(MANIFEST + PARTIAL)}"
)
_RULE = re.compile(r"(?P<split>[a-z][a-z0-9_-]*):(?P<field>\w+)=(?P<values>.+)")


@runtime_checkable
class Clip(Protocol):
    """A clip that was found and can be read.

    A frozen dataclass of plain values, which travels to other processes: whatever is large is read by
    ``load``.
    """

    @property
    def key(self) -> str:
        """Key of the sample that it becomes."""
        ...

    @property
    def source(self) -> str:
        """Its file, relative to the input folder."""
        ...

    @property
    def path(self) -> Path:
        """The file that it is read from."""
        ...

    @property
    def split(self) -> str | None:
        """The split that the data set itself puts it into: train, validation or test; ``None`` where it
        has no say."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """What is known before reading, as words: action, style and so on."""
        ...

    def load(self) -> Sample:
        """Read it; a ``UserError`` is the reason why it is skipped."""
        ...


AnyClip = TypeVar("AnyClip", bound=Clip)


@dataclass(frozen=True)
class Found:
    """What a source's folder or file holds."""

    clips: tuple[Clip, ...]
    """In a fixed order, keys unique."""
    skipped: tuple[Skipped, ...] = ()
    """Sources given up before reading, each with its reason."""
    num_ignored: int = 0
    """Files of other kinds that were seen."""


@dataclass(frozen=True)
class SplitRule:
    """Which clips belong to a split: those with one of some values in a field, or a share of all."""

    split: str
    field: str
    """Name of the field; empty where ``fraction`` decides."""
    values: tuple[str, ...]
    fraction: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``validation:style=old,sad`` or ``validation:fraction=0.1``.

        Raises:
            DataError: If it has another form.
        """
        match = _RULE.fullmatch(text.strip())
        if match is None:
            raise DataError(
                f"split rule {text!r} must have the form SPLIT:FIELD=VALUE,VALUE or SPLIT:fraction=0.1, "
                "the split in lower-case letters"
            )
        split, field, values = match["split"], match["field"], match["values"]
        if field != "fraction":
            return cls(split, field, tuple(to_words(value) for value in values.split(",")), 0.0)
        try:
            fraction = float(values)
        except ValueError:
            fraction = 0.0
        if not 0 < fraction <= 1:
            raise DataError(f"split rule {text!r}: the fraction must be above 0 and at most 1")
        return cls(split, "", (), fraction)

    def matches(self, clip: Clip) -> bool:
        """Whether a clip belongs to the split by this rule."""
        if self.field:
            return clip.fields.get(self.field) in self.values
        # A clip's share depends on its key alone: more clips do not move those that were there.
        digest = hashlib.sha256(f"{self.split}:{clip.key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.fraction * 2**64


def to_words(text: str) -> str:
    """Words of a file name: dashes and underscores become blanks."""
    return normalise_label(re.sub(r"[-_]+", " ", text))


def assign_splits(clips: Sequence[AnyClip], rules: Sequence[SplitRule]) -> list[tuple[str, AnyClip]]:
    """(split, clip) of every clip: by the first rule that matches, else as the data set says, else training.

    Raises:
        DataError: If a rule names an unknown field, or a value or fraction that matches no clip.
    """
    for rule in rules:
        if rule.field:
            _check_values(rule, clips)
    pairs: list[tuple[str, AnyClip]] = []
    for clip in clips:
        split = next((rule.split for rule in rules if rule.matches(clip)), clip.split or TRAIN)
        pairs.append((split, clip))
    found = {split for split, _ in pairs}
    for rule in rules:
        if rule.split not in found:
            raise DataError(
                f"split {rule.split!r} would hold none of the {len(clips)} clips; widen its rule, "
                "or move it before the rules that take its clips"
            )
    return pairs


def _check_values(rule: SplitRule, clips: Sequence[Clip]) -> None:
    known = {clip.fields[rule.field] for clip in clips if rule.field in clip.fields}
    if not known:
        fields = sorted({field for clip in clips for field in clip.fields})
        raise DataError(f"split rule: no field {rule.field!r}; there are fraction, {', '.join(fields)}")
    for value in rule.values:
        if value not in known:
            raise DataError(
                f"split rule: no clip has {rule.field} {value!r}; there are {', '.join(sorted(known))}"
            )


def build_shards(
    pairs: Sequence[tuple[str, Clip]],
    out: Path,
    *,
    dataset: str,
    source: str,
    fps: float,
    options: Mapping[str, Any],
    shard_size: int,
    overwrite: bool = False,
    skipped: Iterable[Skipped] = (),
    num_ignored: int = 0,
    progress: Callable[[Sequence[tuple[str, Clip]]], Iterable[tuple[str, Clip]]] = iter,
) -> Manifest:
    """Read clips and write them as shards with a manifest.

    Args:
        pairs: (split, clip); they are written in this order.
        out: New, empty, left by an interrupted build, or complete if ``overwrite``.
        dataset: Name of the data set.
        source: Kind of the source files.
        fps: Frame rate of the samples.
        options: Kept in the manifest.
        shard_size: Clips per shard.
        overwrite: Replace a complete data set.
        skipped: Sources that were given up before reading.
        num_ignored: Files of other kinds that were seen.
        progress: Wraps the pairs, to show how far the build is.

    Raises:
        DataError: If the folder must not be written to, or no clip is left.
    """
    check_output(out, overwrite=overwrite)
    left_out = list(skipped)
    statistics = StatisticsAccumulator()
    with contextlib.ExitStack() as stack:
        writer: ShardWriter | None = None
        for split, clip in progress(pairs):
            try:
                sample = clip.load()
            except UserError as error:
                left_out.append(Skipped(source=clip.source, reason=str(error)))
                continue
            except OSError as error:
                left_out.append(Skipped(source=clip.source, reason=f"cannot be read: {error.strerror}"))
                continue
            if writer is None:  # from here on the folder is touched
                stack.enter_context(_building(out, overwrite=overwrite))
                writer = stack.enter_context(ShardWriter(out, shard_size))
            writer.add(split, sample)
            if split == TRAIN:
                statistics.add(sample)
        left_out.sort(key=lambda item: item.source)
        if writer is None:
            raise DataError(
                f"no clip is left of {len(left_out)}: {describe_skipped(left_out)}; "
                f"first {left_out[0].source}: {left_out[0].reason}"
            )
        shards = writer.finish()
        if lost := sorted({split for split, _ in pairs} - {shard.split for shard in shards}):
            raise DataError(f"split {lost[0]!r} lost all its clips: {describe_skipped(left_out)}")
        manifest = Manifest.create(
            tool_version=__version__,
            dataset=dataset,
            source=source,
            fps=fps,
            statistics=statistics.result(),
            shards=shards,
            build=dict(options),
            skipped=tuple(left_out),
            num_ignored=num_ignored,
        )
        write_manifest(manifest, out)
    return manifest


def count_reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Kind of reason (what stands before its colon) -> number of sources, most frequent first."""
    return dict(Counter(item.reason.partition(":")[0] for item in skipped).most_common())


def describe_skipped(skipped: Iterable[Skipped]) -> str:
    """``7 truncated motion, 2 no frames``."""
    return ", ".join(f"{count} {reason}" for reason, count in count_reasons(skipped).items())


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that must not be written to.

    Raises:
        DataError: If it is complete and ``overwrite`` is false, or if it holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out} is a file; choose a folder")
    if (out / MANIFEST).exists():
        if not _is_our_manifest(out / MANIFEST):
            raise DataError(f"{out} holds a {MANIFEST} of something else; choose another folder")
        if not overwrite:
            raise DataError(f"{out} already holds a complete data set; add --overwrite to replace it")
    elif not (out / MARKER).exists() and any(path.name != LOCK for path in out.iterdir()):
        raise DataError(f"{out} is not empty and holds no data of this package; choose another folder")


def _is_our_manifest(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


@contextlib.contextmanager
def _building(out: Path, *, overwrite: bool) -> Iterator[None]:
    lock = FileLock(out / LOCK, timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        check_output(out, overwrite=overwrite)  # again: another build may just have finished
        (out / MARKER).touch()
        # The manifest goes first: what it lists is about to change.
        (out / MANIFEST).unlink(missing_ok=True)
        for path in out.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()
        yield
        (out / MARKER).unlink()
        (out / LOCK).unlink(missing_ok=True)
    except Timeout:
        raise DataError(
            f"{out} is being built by another process; wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror}; make room or choose another") from None
    finally:
        lock.release()
