"""Clips of HumanML3D and KIT-ML: ``new_joints/*.npy``, ``texts/*.txt`` and lists of ids per split."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from langpose_dist.data.labels import normalise_label
from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample, Span, make_key
from langpose_dist.datasets.clip import FileClip, Found, make_clips
from langpose_dist.datasets.files import list_files, to_text
from langpose_dist.datasets.humanml3d.motion import (
    LAYOUTS,
    read_joints,
    right_handed,
    to_poses,
)
from langpose_dist.datasets.source import name_of
from langpose_dist.datasets.splits import RECORDING
from langpose_dist.datasets.timing import resample, to_frames

VOTERS = 9
"""Clips that decide on the skeleton and the handedness of a data set."""

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split -> name of its list of ids."""

MAX_CAPTIONS = 1000
"""Lines of a file of captions; they have three to five."""

OTHER_LISTS = ("train_val", "all")


@dataclass(frozen=True, kw_only=True)
class Humanml3dClip(FileClip):
    """One motion and the file of its captions."""

    dataset: str
    layout: str
    """One of ``LAYOUTS``."""
    left_handed: bool
    """Handedness of the data set's axes."""
    captions: Path
    captions_as_labels: bool = False
    """Captions are action labels besides."""

    def read(self) -> Sample:
        """Read motion and captions.

        Raises:
            DataError: With the reason why the clip is skipped.
            OSError: If a file cannot be read.
        """
        layout = LAYOUTS[self.layout]
        joints = read_joints(self.path, len(layout.joints))
        swapped = right_handed(joints, layout) == self.left_handed
        if 2 * swapped.sum() > len(swapped):
            raise DataError(
                "left and right look swapped: feet and hips contradict the data set's other clips in "
                f"{swapped.sum()} of {len(swapped)} frames"
            )
        poses = to_poses(joints, layout, left_handed=self.left_handed)
        poses_3d = resample(poses, layout.fps, self.fps).astype(np.float32)
        captions, problems = read_captions(self.captions, self.fps, len(poses_3d))
        meta = {
            **self.fields,
            "dataset": self.dataset,
            "source": self.source,
            "fps": self.fps,
            "original_fps": layout.fps,
            "original_fps_is": layout.fps_is,
            "original_axes": f"y up, {'left' if self.left_handed else 'right'}-handed",
        }
        labels = [replace(caption, words="") for caption in captions] if self.captions_as_labels else []
        return Sample(
            key=self.key,
            poses_3d=poses_3d,
            spans=tuple(dict.fromkeys(labels)),
            meta=meta,
            captions=captions,
            left_out=tuple(f"caption left out: {problem}" for problem in problems),
        )


def find_clips(
    folder: Path,
    *,
    fps: float,
    dataset: str,
    mirrored: Literal["keep", "drop"] = "keep",
    captions_as_labels: bool = False,
) -> Found[Humanml3dClip]:
    """Motions of a data set, in the order of their names.

    Splits are those of ``train.txt``, ``val.txt`` and ``test.txt``; a clip that none of them names is left
    out, and without the lists all clips are of no split. The field ``mirrored`` says whether the data set
    made a clip from another one. Only as many files are opened as it takes to know the axes.

    Args:
        folder: Holds ``new_joints``, ``texts`` and the lists.
        fps: Frame rate that the clips will have.
        dataset: One of ``LAYOUTS``.
        mirrored: Whether to use the mirrored clips, whose names begin with M. Captions are mirrored, too.
        captions_as_labels: Make captions action labels besides.

    Returns:
        Clips, those left out and listed motions without a file, and the number of other files in
        ``new_joints``.

    Raises:
        DataError: If there are no motions, only some of the lists are there or one cannot be read, or the
            motions are not the data set's.
    """
    if not (motions := folder / "new_joints").is_dir():
        raise DataError(
            f"input folder {folder} has no folder new_joints; give the one that holds it and texts"
        )
    files, num_system, broken = list_files(motions, deep=False)
    paths = [path for path in files if path.suffix == ".npy"]
    if not paths:
        raise DataError(f"{motions} has no .npy file ({len(files)} files of other endings)")
    left_handed = is_left_handed(paths, dataset)
    lists = read_lists(folder)
    missing = [f"{file}.txt" for file in SPLITS.values() if file not in lists]
    if 0 < len(missing) < len(SPLITS):
        raise DataError(
            f"input folder {folder} has no {missing[0]}, whose clips would become part of training; copy it "
            "from the data set"
        )

    def make(path: Path, source: str) -> Humanml3dClip:
        name = to_text(path.stem)
        key = make_key(name)
        is_mirrored = name.startswith("M")
        if is_mirrored and mirrored == "drop":
            raise DataError("mirrored clip: left out by option")
        return Humanml3dClip(
            path=path,
            source=source,
            key=key,
            fields={"mirrored": "yes" if is_mirrored else "no", RECORDING: name.removeprefix("M")},
            split=_split_of(name, lists),
            dataset=name_of(dataset, folder),
            layout=dataset,
            left_handed=left_handed,
            captions=folder / "texts" / f"{path.stem}.txt",
            captions_as_labels=captions_as_labels,
            fps=fps,
        )

    clips, skipped = make_clips(paths, folder, make)
    broken = [Skipped(source=f"new_joints/{item.source}", reason=item.reason) for item in broken]
    skipped = sorted([*broken, *skipped], key=lambda item: item.source)
    skipped += _without_motion(lists, {path.stem for path in paths})
    return Found(tuple(clips), tuple(skipped), num_system + len(files) - len(paths))


def _split_of(name: str, lists: Mapping[str, frozenset[str]]) -> str | None:
    """The split whose list names a clip; ``None`` if there are no lists of splits."""
    if not any(file in lists for file in SPLITS.values()):
        return None
    splits = [split for split, file in SPLITS.items() if name in lists[file]]
    if not splits:
        raise DataError("in no split: none of the lists names it")
    if len(splits) > 1:
        raise DataError(f"in more than one split: {', '.join(splits)}")
    return splits[0]


def _without_motion(lists: Mapping[str, frozenset[str]], found: Set[str]) -> Iterator[Skipped]:
    """Names in the lists that no motion file has."""
    for name in sorted({name for names in lists.values() for name in names} - found):
        naming = ", ".join(f"{file}.txt" for file, names in lists.items() if name in names)
        yield Skipped(source=f"new_joints/{name}.npy", reason=f"no motion file: listed in {naming}")


def read_lists(folder: Path) -> dict[str, frozenset[str]]:
    """Name of a list -> ids in it; a list without a file is left out.

    Raises:
        DataError: If a list is not text.
    """
    lists: dict[str, frozenset[str]] = {}
    for name in (*SPLITS.values(), *OTHER_LISTS):
        path = folder / f"{name}.txt"
        try:
            lists[name] = frozenset(path.read_text(encoding="utf-8-sig").split())
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as a list of names: {error}") from None
    return lists


def is_left_handed(paths: Sequence[Path], dataset: str) -> bool:
    """True if a data set's axes are left-handed, by the majority of a few clips.

    Raises:
        DataError: If no file is a motion of the data set.
    """
    layout = LAYOUTS[dataset]
    votes: list[bool] = []
    # From all over the folder first, then the rest.
    step = max(len(paths) // VOTERS, 1)
    for path in (*paths[::step], *(path for index, path in enumerate(paths) if index % step)):
        try:
            is_right = right_handed(read_joints(path, len(layout.joints)), layout)
        except (DataError, OSError):
            continue
        votes.append(bool(2 * is_right.sum() < len(is_right)))
        if len(votes) == VOTERS:
            break
    if not votes:
        raise DataError(
            f"{paths[0].parent}: none of the {len(paths)} .npy files is T x {len(layout.joints)} x 3 "
            f"({dataset}); check the folder"
        )
    return 2 * sum(votes) > len(votes)


def read_captions(path: Path, fps: float, num_frames: int) -> tuple[tuple[Span, ...], list[str]]:
    """Captions of a clip, and why others were left out.

    Lines are ``caption#words with their kinds#start#end``, in seconds; 0 or nan as both ends means all of
    the clip.

    Args:
        path: The file; the captions of a clip without one are none.
        fps: Rate of the frames that spans are counted in.
        num_frames: Frames of the clip at that rate.

    Raises:
        OSError: If it exists and cannot be read.
    """
    spans: list[Span] = []
    problems: list[str] = []
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return (), [f"no file texts/{to_text(path.name)}"]
    for number, line in enumerate(lines, 1):
        if number > MAX_CAPTIONS:
            problems.append(f"{len(lines) - MAX_CAPTIONS} lines beyond the first {MAX_CAPTIONS}")
            break
        if not line.strip():
            continue
        try:
            spans.append(_read_caption(line, fps, num_frames))
        except DataError as error:
            problems.append(f"line {number}: {error}")
    return tuple(dict.fromkeys(spans)), problems if spans or problems else ["the file is empty"]


def _read_caption(line: bytes, fps: float, num_frames: int) -> Span:
    try:
        parts = line.decode("utf-8-sig").split("#")
    except UnicodeDecodeError:
        raise DataError("not UTF-8") from None
    if len(parts) < 4:
        raise DataError("not of the form caption#words#start#end")
    try:
        start, end = (float(text) for text in parts[-2:])
    except ValueError:
        raise DataError("start and end are not numbers") from None
    # A caption may have the sign in it, the words with their kinds have not.
    if not (label := normalise_label("#".join(parts[:-3]))):
        raise DataError("empty caption")
    start, end = (0.0 if np.isnan(seconds) else seconds for seconds in (start, end))
    frames = (0, num_frames) if start == end == 0 else to_frames(start, end, fps, num_frames)
    if frames is None:
        raise DataError(f"from {start:g} s to {end:g} s there is nothing of the clip")
    return Span(label, *frames, words=" ".join(parts[-3].split()))
