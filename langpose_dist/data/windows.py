"""Cutting clips into windows, from the manifest alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

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

    @property
    def key(self) -> str:
        """The clip's key."""
        return self.entry.key


def window_starts(clip_frames: int, num_frames: int, stride: int) -> range:
    """First frames of the windows that together cover a clip; the last one may reach past its end."""
    return range(0, max(clip_frames - num_frames + stride, 1), stride)


def cut_windows(
    manifest: Manifest, split: str, *, num_frames: int, stride: int, min_span_frames: int = 1
) -> list[Window]:
    """Cut the clips of a split into windows, in the manifest's order.

    Args:
        manifest: Index of the shards.
        split: Name of the split.
        num_frames: Frames per window (T).
        stride: Frames from one window to the next; T gives every frame exactly once.
        min_span_frames: A span that a window cuts down to fewer frames is left out of that window.

    Raises:
        DataError: If the split does not exist or holds no clip.
    """
    windows = [
        Window(
            shard_index,
            sample_index,
            sample,
            start,
            min(start + num_frames, sample.num_frames),
            *spans_within(spans, start, start + num_frames, min_span_frames),
        )
        for shard_index, shard in enumerate(manifest.shards)
        if shard.split == split
        for sample_index, sample in enumerate(shard.samples)
        for spans in [[span for span in sample.spans if normalise_label(span.label)]]
        for start in window_starts(sample.num_frames, num_frames, stride)
    ]
    if not windows:
        splits = sorted({shard.split for shard in manifest.shards})
        raise DataError(f"split {split!r} has no clips; the manifest has {', '.join(splits) or 'none'}")
    return windows


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
