"""BABEL: action labels for the motions of AMASS, as its json files have them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langpose_dist.data.labels import normalise_label
from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError

LabelField = Literal["proc_label", "raw_label", "act_cat"]
"""Which of a label's texts is used: the cleaned words, the annotator's own words, or BABEL's categories."""

FILES = {
    "train": "train",
    "val": "validation",
    "test": "test",
    "extra_train": "train",
    "extra_val": "validation",
}
"""Name of a json file -> split. The first three label each motion in full; the extra ones hold what other
annotators said, also of the same motions."""

MAX_LABELS = 10_000
"""Labels of one annotator of a motion; longer lists are damage."""

_TRANSITION = "transition"


@dataclass(frozen=True)
class Label:
    """Activity from one time to another."""

    text: str
    """Normalised."""
    start: float | None
    """Seconds; ``None``, as ``end``, where the label describes the whole motion."""
    end: float | None
    act_cat: tuple[str, ...] = ()
    """BABEL's categories of it."""


@dataclass(frozen=True)
class Annotation:
    """The labels of one motion."""

    file: str
    """A key of ``FILES``."""
    sid: str
    """BABEL's number of the motion."""
    path: str
    """Its file in AMASS, ``feat_p``: the first folder is the one of the download."""
    duration: float | None
    """Seconds."""
    kind: Literal["frame", "sequence", "none"]
    """Extent of the labels: segments, or the whole motion."""
    labels: tuple[Label, ...]
    """Each once, in the order of their times."""

    @property
    def source(self) -> str:
        """File and number, as they are named in lists of what was skipped."""
        return f"{self.file}.json#{self.sid}"

    @property
    def split(self) -> str:
        """The split that BABEL puts the motion into."""
        return FILES[self.file]


class _Record(BaseModel):
    # Other fields (addresses of videos, annotators) are left alone; numbers may be written as strings.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Label(_Record):
    raw_label: str | None = None
    proc_label: str | None = None
    act_cat: list[str | None] | None = None
    start_t: float | None = None
    end_t: float | None = None


class _Labels(_Record):
    labels: Annotated[list[_Label], Field(max_length=MAX_LABELS)] | None = None


class _Motion(_Record):
    feat_p: str
    dur: float | None = None
    # One annotator's in the first three files, lists of several annotators' in the extra ones.
    seq_ann: _Labels | None = None
    frame_ann: _Labels | None = None
    seq_anns: list[_Labels] | None = None
    frame_anns: list[_Labels] | None = None

    def labels(self, kind: Literal["seq", "frame"]) -> Iterator[_Label]:
        one, several = (self.seq_ann, self.seq_anns) if kind == "seq" else (self.frame_ann, self.frame_anns)
        for annotator in [*([one] if one else []), *(several or [])]:
            yield from annotator.labels or []


def load_annotations(folder: Path, field: LabelField) -> tuple[tuple[Annotation, ...], tuple[Skipped, ...]]:
    """Read the json files of a BABEL release.

    Frame labels are taken where there are any; else the sequence labels, which then describe the whole
    motion, as BABEL's authors do. Transitions are left out, and labels without a text in the field: where
    BABEL gives no category, ``act_cat`` does not fall back to other words, which would mix two vocabularies.
    A label of several categories becomes one label for each.

    Args:
        folder: Holds some of the files of ``FILES``.
        field: Where the text of a label comes from.

    Returns:
        Annotations in the order of ``FILES`` and, within a file, of the numbers; and what cannot be used,
        each with its reason: malformed entries, whose motions keep their split but get no labels; labels
        whose times are missing, not in order or beyond the motion.

    Raises:
        DataError: If there is no such file, or one is not a json object.
    """
    paths = [path for path in (folder / f"{name}.json" for name in FILES) if path.is_file()]
    if not paths:
        names = ", ".join(f"{name}.json" for name in FILES)
        raise DataError(f"BABEL folder {folder} has none of {names}; unpack the BABEL release there")
    annotations: list[Annotation] = []
    skipped: list[Skipped] = []
    for path in paths:
        for sid, content in sorted(_read(path).items(), key=lambda item: (len(item[0]), item[0])):
            source = f"{path.name}#{sid}"
            try:
                motion = _Motion.model_validate(content)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "motion"
                reason = f"malformed annotation: {where}: {first['msg']}"
                skipped.append(Skipped(source=source, reason=reason))
                motion = _without_labels(content)
                if motion is None:
                    continue
            annotation, untimed = _to_annotation(path.stem, sid, motion, field)
            annotations.append(annotation)
            skipped += [
                Skipped(source=source, reason=f"label without usable times: {text}") for text in untimed
            ]
    return tuple(annotations), tuple(skipped)


def _without_labels(content: object) -> _Motion | None:
    """The motion of a malformed annotation, whose split it keeps: it may be held out."""
    path = content.get("feat_p") if isinstance(content, dict) else None
    return _Motion(feat_p=path) if isinstance(path, str) else None


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise DataError(f"{path} is not JSON; unpack the BABEL release again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} does not hold an object of motions by number; is it BABEL's?")
    return content


def _to_annotation(file: str, sid: str, motion: _Motion, field: LabelField) -> tuple[Annotation, list[str]]:
    """The annotation, and the texts of labels whose times cannot be used."""
    timed = _LabelSet()
    untimed: list[str] = []
    for segment in motion.labels("frame"):
        for text, categories in _texts(segment, field).items():
            start, end = segment.start_t, segment.end_t
            last = end if motion.dur is None else motion.dur
            if start is None or end is None or last is None or not start < min(end, last):
                untimed.append(f"{text} from {start} to {end} s")
            else:
                timed.add(text, start, end, categories)
    if labels := sorted(timed.labels(), key=lambda label: (label.start, label.end, label.text)):
        return Annotation(file, sid, motion.feat_p, motion.dur, "frame", tuple(labels)), untimed
    whole = _LabelSet()
    for segment in motion.labels("seq"):
        for text, categories in _texts(segment, field).items():
            whole.add(text, None, None, categories)
    kind = "sequence" if whole.labels() else "none"
    return Annotation(file, sid, motion.feat_p, motion.dur, kind, tuple(whole.labels())), untimed


class _LabelSet:
    """Labels by text and times; those that annotators give twice have the categories of both."""

    def __init__(self) -> None:
        self._categories: dict[tuple[str, float | None, float | None], dict[str, None]] = {}

    def add(self, text: str, start: float | None, end: float | None, categories: list[str]) -> None:
        self._categories.setdefault((text, start, end), {}).update(dict.fromkeys(categories))

    def labels(self) -> list[Label]:
        return [Label(*place, tuple(categories)) for place, categories in self._categories.items()]


def _texts(label: _Label, field: LabelField) -> dict[str, list[str]]:
    """Texts of a label, each with its categories."""
    categories = [normalise_label(category) for category in label.act_cat or [] if category]
    if normalise_label(label.proc_label or "") == _TRANSITION or categories == [_TRANSITION]:
        return {}
    categories = [category for category in categories if category not in ("", _TRANSITION)]
    if field == "act_cat":
        return {category: [category] for category in categories}
    text = normalise_label(getattr(label, field) or "")
    return {text: categories} if text else {}
