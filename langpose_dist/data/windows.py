"""Cutting clips into windows, from the manifest alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from langpose_dist.config import ClipRule
from langpose_dist.data.labels import normalise_label
from langpose_dist.data.manifest import Manifest, SampleEntry
from langpose_dist.data.sample import DataError, Span


@dataclass(frozen=True)
class Window:
    """T frames of one clip, or fewer at its end."""

    shard: int
    """Index into the manifest's shards."""
    sample: int
    """Index into the shard's samples."""
    entry: SampleEntry
    """The clip in the manifest: its key, subject, action, camera and so on."""
    start: int
    """First frame within the clip."""
    stop: int
    """One past the last frame within the clip; ``stop - start`` is at most T."""
    spans: tuple[Span, ...]
    """Label spans that are long enough to be drawn, in frames of the window."""
    brief_spans: tuple[Span, ...] = ()
    """Spans that the window cuts too short to be drawn: true of their frames all the same."""
    is_stretched: bool = False
    """True if the clip is shorter than a window and fills it with repeated frames."""
    captions: tuple[str, ...] = ()
    """Captions of its frames, for tasks that use captions."""

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.entry.key


def window_starts(
    clip_frames: int, num_frames: int, stride: int, clip_rule: ClipRule = "every_frame"
) -> range:
    """First frames of a clip's windows.

    Those of ``every_frame`` together cover the clip, and the last one may reach past its end; those of
    ``whole_windows`` do not, but for a clip shorter than a window, which is one.
    """
    beyond = stride if clip_rule == "every_frame" else 1
    return range(0, max(clip_frames - num_frames + beyond, 1), stride)


def stretched_frames(clip_frames: int, num_frames: int) -> Int[np.ndarray, "T"]:
    """Frames of a clip that fill a longer window, repeated evenly.

    Source:
        MotionBERT, ``resample`` in lib/utils/utils_data.py, without its random draw.
    """
    return np.arange(num_frames) * clip_frames // num_frames


def cut_windows(
    manifest: Manifest,
    split: str,
    *,
    num_frames: int,
    stride: int,
    min_span_frames: int = 1,
    clip_rule: ClipRule = "every_frame",
    held_out_camera: str | None = None,
) -> list[Window]:
    """Cut the clips of a split into windows, in the manifest's order.

    Args:
        manifest: Index of the shards.
        split: Name of the split.
        num_frames: Frames per window (T).
        stride: Frames from one window to the next; T gives every frame exactly once.
        min_span_frames: A span that a window cuts down to fewer frames is left out of that window.
        clip_rule: Treatment of a clip's last frames, and of clips shorter than a window.
        held_out_camera: Leave out its clips.

    Raises:
        DataError: If the split does not exist or holds no clip, or none of the held-out camera.
    """
    if held_out_camera is not None:
        _check_camera(manifest, split, held_out_camera)
    windows = [
        _cut(shard_index, sample_index, sample, start, num_frames, min_span_frames, clip_rule)
        for shard_index, shard in enumerate(manifest.shards)
        if shard.split == split
        for sample_index, sample in enumerate(shard.samples)
        if held_out_camera is None or sample.camera != held_out_camera
        for start in window_starts(sample.num_frames, num_frames, stride, clip_rule)
    ]
    if not windows:
        splits = sorted({shard.split for shard in manifest.shards})
        raise DataError(f"split {split!r} has no clips; the manifest has {', '.join(splits) or 'none'}")
    return windows


def _cut(
    shard: int,
    sample: int,
    entry: SampleEntry,
    start: int,
    num_frames: int,
    min_span_frames: int,
    clip_rule: ClipRule,
) -> Window:
    stop = min(start + num_frames, entry.num_frames)
    spans = [span for span in entry.spans if normalise_label(span.label)]
    drawn, brief = spans_within(spans, start, start + num_frames, min_span_frames)
    is_stretched = clip_rule == "whole_windows" and entry.num_frames < num_frames
    if is_stretched:
        drawn = tuple(_stretch(span, entry.num_frames, num_frames) for span in drawn)
    return Window(shard, sample, entry, start, stop, drawn, brief, is_stretched)


def _stretch(span: Span, clip_frames: int, num_frames: int) -> Span:
    first, end = (-(-frame * num_frames // clip_frames) for frame in (span.start, span.end))
    return replace(span, start=first, end=end)


def _check_camera(manifest: Manifest, split: str, camera: str) -> None:
    cameras = {entry.camera for _, shard in manifest.shards_of(split) for entry in shard.samples}
    if camera not in cameras:
        known = ", ".join(sorted(name for name in cameras if name)) or "none with a name"
        raise DataError(f"data.held_out_camera={camera} recorded no clip of split {split!r}; it has {known}")


def spans_within(
    spans: Sequence[Span], start: int, stop: int, min_span_frames: int
) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Cut spans to frames ``start`` up to ``stop``, counted from ``start``: drawn ones, brief ones."""
    cut = [(span, max(span.start, start) - start, min(span.end, stop) - start) for span in spans]
    drawn, brief = [], []
    for span, first, last in cut:
        is_brief = last - first < min(min_span_frames, span.end - span.start)
        if last > first:
            (brief if is_brief else drawn).append(replace(span, start=first, end=last))
    return tuple(drawn), tuple(brief)


def labels_beside(window: Window, anchor: Span) -> list[str]:
    """Labels of other spans that share a frame with the anchor: they are true of what it shows."""
    return [
        span.label
        for span in (*window.spans, *window.brief_spans)
        if span is not anchor and span.start < anchor.end and anchor.start < span.end
    ]
