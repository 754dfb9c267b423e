"""Captioned motions: a window for each stretch of a clip that captions describe, from the manifest alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

from langpose_dist.config import CaptionConfig
from langpose_dist.data.manifest import Manifest, SampleEntry
from langpose_dist.data.sample import DataError, Span
from langpose_dist.data.windows import Window
from langpose_dist.metrics.caption import normalise_caption

TextForm = Literal["words", "raw"]


def text_of(caption: Span, form: TextForm) -> str:
    """A caption as written, in lower case, or as its data set's processed words; empty without them."""
    if form == "raw":
        return caption.label
    words = (token.rpartition("/")[0] or token for token in caption.words.split())
    return " ".join(word.lower() for word in words)


@dataclass(frozen=True)
class Captioned:
    """Captioned motions of a split, in the manifest's order.

    A caption with times of its own describes a motion of its own, as in HumanML3D.
    """

    split: str
    num_frames: int
    """Frames of a window (T)."""
    config: CaptionConfig
    motions: tuple[Window, ...]
    """Motions of any length with their captions in the configured form."""
    num_without: int
    """Captions that are empty in this form."""

    @classmethod
    def find(cls, manifest: Manifest, split: str, config: CaptionConfig, num_frames: int) -> Self:
        """Find the captioned motions of a split.

        Raises:
            DataError: If the split does not exist.
        """
        motions: list[Window] = []
        num_captions = 0
        for number, shard in manifest.shards_of(split):
            for place, entry in enumerate(shard.samples):
                num_captions += len(entry.captions)
                motions += [
                    Window(number, place, entry, start, stop, (), captions=texts)
                    for (start, stop), texts in _group(entry, config.text_form).items()
                ]
        num_used = sum(len(motion.captions) for motion in motions)
        return cls(split, num_frames, config, tuple(motions), num_captions - num_used)

    def windows(self) -> list[Window]:
        """Motions that fit, and of longer ones what the configuration says.

        Raises:
            DataError: If there are none, or some are too long and nothing says what to do with them.
        """
        if self.config.too_long == "refuse" and (long := self._of("too long")):
            longest = max(long, key=_length)
            raise DataError(
                f"{len(long)} of {len(self.motions)} motions of split {self.split!r} are longer than "
                f"window.num_frames={self.num_frames} (the longest, {longest.key}, has {_length(longest)}); "
                "set caption.too_long=crop for their first frames or drop to leave them out, or raise "
                "window.num_frames"
            )
        kept = list(self._kept())
        if not kept:
            without_words = "set caption.text_form=raw: its captions have no processed words"
            remedy = without_words if self.num_without else "build data that have some"
            remedy = "lower caption.min_frames" if self.motions else remedy
            raise DataError(
                f"split {self.split!r} has no motion with captions (caption.text_form="
                f"{self.config.text_form}, caption.min_frames={self.config.min_frames}); {remedy}"
            )
        return kept

    def notes(self) -> Iterator[str]:
        """Lines about what is cut or left out, with counts."""
        total = f"of {len(self.motions)} captioned motions of split {self.split!r}"
        if short := self._of("too short"):
            yield f"{len(short)} {total} are left out: below caption.min_frames={self.config.min_frames}"
        if long := self._of("too long"):
            done = "cut to their first frames" if self.config.too_long == "crop" else "left out"
            yield f"{len(long)} {total} are {done}: above window.num_frames={self.num_frames}"
        if self.num_without:
            yield (
                f"{self.num_without} captions of split {self.split!r} are empty with "
                f"caption.text_form={self.config.text_form} and are left out"
            )
        texts = [text for window in self._kept() for text in window.captions]
        # Words as the decoder counts them: a hyphen parts two.
        cut = sum(len(normalise_caption(text).split()) > self.config.max_words for text in texts)
        if cut:
            yield (
                f"{cut} of {len(texts)} captions of split {self.split!r} lose their end in the loss: above "
                f"caption.max_words={self.config.max_words}"
            )

    def _kept(self) -> Iterator[Window]:
        for motion in self.motions:
            kind = self._kind(motion)
            if kind == "fits":
                yield motion
            elif kind == "too long" and self.config.too_long == "crop":
                yield replace(motion, stop=motion.start + self.num_frames)

    def _kind(self, motion: Window) -> Literal["too short", "too long", "fits"]:
        if _length(motion) < self.config.min_frames:
            return "too short"
        return "too long" if _length(motion) > self.num_frames else "fits"

    def _of(self, kind: str) -> list[Window]:
        return [motion for motion in self.motions if self._kind(motion) == kind]


def _length(motion: Window) -> int:
    return motion.stop - motion.start


def _group(entry: SampleEntry, form: TextForm) -> dict[tuple[int, int], tuple[str, ...]]:
    """(first frame, one past the last) -> captions of these frames."""
    groups: dict[tuple[int, int], tuple[str, ...]] = {}
    for caption in entry.captions:
        if text := text_of(caption, form):
            place = (caption.start, caption.end)
            groups[place] = (*groups.get(place, ()), text)
    return groups
