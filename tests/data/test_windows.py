from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langpose_dist.data.manifest import DataError, SampleEntry
from langpose_dist.data.sample import Sample, Span
from langpose_dist.data.windows import (
    Window,
    cut_windows,
    labels_beside,
    spans_within,
    stretched_frames,
    window_starts,
)
from tests.corpus import build_corpus
from tests.made import write_dataset


@given(st.integers(1, 400), st.integers(1, 60), st.data())
def test_windows_cover_every_frame_and_none_is_needless(
    clip: int, num_frames: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, num_frames))
    starts = list(window_starts(clip, num_frames, stride))
    covered = {frame for start in starts for frame in range(start, min(start + num_frames, clip))}
    assert covered == set(range(clip))
    without_last = {frame for start in starts[:-1] for frame in range(start, min(start + num_frames, clip))}
    assert len(starts) == 1 or without_last != covered


@given(st.integers(1, 400), st.integers(1, 60))
def test_a_stride_of_one_window_sees_every_frame_once(clip: int, num_frames: int) -> None:
    frames = [
        frame
        for start in window_starts(clip, num_frames, num_frames)
        for frame in range(start, min(start + num_frames, clip))
    ]
    assert frames == list(range(clip))


def test_spans_are_cut_to_the_window() -> None:
    spans = [Span("walk", 0, 100), Span("turn", 45, 60), Span("jump", 99, 120)]
    assert spans_within(spans, 40, 100, min_span_frames=8) == (
        (Span("walk", 0, 60), Span("turn", 5, 20)),
        (Span("jump", 59, 60),),
    )


def test_a_span_that_is_short_by_itself_is_kept_whole_but_not_cut() -> None:
    short = [Span("blink", 10, 13)]
    assert spans_within(short, 0, 50, min_span_frames=8) == ((Span("blink", 10, 13),), ())
    assert spans_within(short, 12, 50, min_span_frames=8) == ((), (Span("blink", 0, 1),))


def test_labels_that_share_a_frame_with_the_drawn_one_are_true_beside_it() -> None:
    walk, turn, jump = Span("walk", 0, 5), Span("turn", 4, 9), Span("jump", 5, 9)
    entry = SampleEntry(key="clip", num_frames=9, spans=(), members={"poses_3d.npy": (0, 2000)})
    window = Window(0, 0, entry, 0, 9, (walk, turn), (jump,))
    assert labels_beside(window, walk) == ["turn"]
    assert labels_beside(window, turn) == ["walk", "jump"]


def test_a_span_whose_label_cannot_be_seen_is_no_label(tmp_path: Path, samples: list[Sample]) -> None:
    spans = (Span("\u200b", 0, 5), Span("walk", 1, 4))
    manifest = write_dataset(tmp_path, [replace(sample, spans=spans) for sample in samples])
    windows = cut_windows(manifest, "train", num_frames=20, stride=20)
    assert [window.spans for window in windows] == [(Span("walk", 1, 4),)] * 6


def test_an_unknown_split_names_the_known_ones(tmp_path: Path) -> None:
    manifest = build_corpus(tmp_path)
    with pytest.raises(DataError, match="split 'test' has no clips; the manifest has train, validation"):
        cut_windows(manifest, "test", num_frames=9, stride=4)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (3, [(0, 3, True)]),
        (4, [(0, 4, False)]),
        (7, [(0, 4, False), (2, 6, False)]),  # frame 6 is in no window
        (8, [(0, 4, False), (2, 6, False), (4, 8, False)]),
    ],
)
def test_whole_windows_end_with_the_clip_and_short_clips_are_stretched(
    tmp_path: Path, length: int, expected: list[tuple[int, int, bool]]
) -> None:
    sample = Sample("clip", np.zeros((length, 17, 3), np.float32), ())
    manifest = write_dataset(tmp_path, [sample, *(replace(sample, key=f"clip{n}") for n in range(6))])
    found = cut_windows(manifest, "train", num_frames=4, stride=2, clip_rule="whole_windows")
    windows = [window for window in found if window.key == "clip"]
    assert [(one.start, one.stop, one.is_stretched) for one in windows] == expected


def test_stretched_frames_repeat_evenly() -> None:
    assert stretched_frames(3, 8).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert stretched_frames(4, 4).tolist() == [0, 1, 2, 3]
