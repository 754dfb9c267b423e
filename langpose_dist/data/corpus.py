"""Data of one run: manifest, reader, vocabulary and windows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from langpose_dist.config import RunConfig, suggest
from langpose_dist.data.captions import Captioned
from langpose_dist.data.dataset import Augmentation, WindowDataset
from langpose_dist.data.labels import Tokens, Vocabulary, held_out_labels, normalise_label
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.data.shards import ShardReader
from langpose_dist.data.windows import Window, cut_windows

MAX_NAMES = 3
"""Clips that a message names."""


def _place_of(key: str) -> float:
    """Place of a clip in 0..1, drawn from its key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class Corpus:
    """A folder of shards as one configuration uses it."""

    config: RunConfig
    manifest: Manifest
    reader: ShardReader
    vocabulary: Vocabulary
    """Empty where labels are not used."""
    has_labels: bool = True
    has_captions: bool = False
    """Windows are whole captioned motions, instead of cuts of a clip."""
    held_out: frozenset[str] = frozenset()
    """Labels that training does not see; see ``data.held_out_categories``."""

    @classmethod
    def open(
        cls,
        config: RunConfig,
        tokens: Tokens | None = None,
        *,
        has_labels: bool = True,
        has_captions: bool = False,
    ) -> Self:
        """Open the folder or URL that the configuration names.

        Args:
            config: The configuration.
            tokens: Labels that it maps to equal values are one candidate; default: each is its own.
            has_labels: Use the labels; otherwise windows come without them.
            has_captions: Use the captions, a window for each captioned motion.

        Raises:
            UserError: If it holds no complete build.
        """
        manifest = Manifest.load(config.data.path)
        splits = manifest.splits if has_labels else {}
        train = splits.get(config.data.train_split)
        others = [label for split in splits.values() for label in split.label_counts]
        held_out = _held_out(manifest, config.data.held_out_categories if has_labels else (), tokens)
        train_counts = train.label_counts if train else {}
        return cls(
            config=config,
            manifest=manifest,
            reader=ShardReader(manifest, config.data.path, config.data.cache_dir),
            vocabulary=Vocabulary.build(
                {
                    label: count
                    for label, count in train_counts.items()
                    if normalise_label(label) not in held_out
                },
                others,
                config.data.flip_probability,
                tokens,
            ),
            has_labels=has_labels,
            has_captions=has_captions,
            held_out=held_out,
        )

    def windows(self, split: str, *, stride: int) -> list[Window]:
        """Windows of a split.

        Raises:
            DataError: If the split does not exist, has no clip, counts only some of its frames, or lacks the
                configured 2D input; or if motions with captions are too long or not there.
        """
        if self.config.data.observation == "stored":
            self.check_observation(split)
        window = self.config.window
        if self.has_captions:
            return self.captioned(split).windows()
        windows = cut_windows(
            self.manifest,
            split,
            num_frames=window.num_frames,
            stride=stride,
            min_span_frames=window.min_span_frames,
            clip_rule=window.clip_rule,
            held_out_camera=self.config.data.held_out_camera,
        )
        if any(window.entry.valid_frames for window in windows):
            raise DataError(
                f"{self.config.data.path}: only some frames of split {split!r} count, which windows do not "
                "distinguish; evaluate it by a protocol (langpose evaluate MODEL --protocol mpi_3dhp), or "
                "choose another split"
            )
        return windows if self.has_labels else [replace(one, spans=(), brief_spans=()) for one in windows]

    def captioned(self, split: str) -> Captioned:
        """Motions of a split with their captions, and those that cannot be used.

        Raises:
            DataError: If the split does not exist.
        """
        return Captioned.find(self.manifest, split, self.config.caption, self.config.window.num_frames)

    def check_observation(self, split: str) -> None:
        """Check that every clip of a split has stored 2D joints and the camera that recorded them.

        Raises:
            DataError: With the first clips that lack them, and the remedy.
        """
        place = f"{self.config.data.path}: data.observation=stored"
        if self.manifest.version == 1:
            raise DataError(
                f"{place} needs a manifest of version 2, which lists each clip's camera; "
                "build the data again with this version"
            )
        entries = [entry for _, shard in self.manifest.shards_of(split) for entry in shard.samples]
        blind = [entry.key for entry in entries if not entry.has_keypoints or entry.camera is None]
        if blind:
            names = ", ".join(blind[:MAX_NAMES]) + (", ..." if len(blind) > MAX_NAMES else "")
            raise DataError(
                f"{place} needs each clip's own 2D joints and camera, which {len(blind)} of {len(entries)} "
                f"clips of split {split!r} lack ({names}); set data.observation=camera, or build data that "
                "have them"
            )

    def dataset(self, windows: Sequence[Window], augmentation: Augmentation) -> WindowDataset:
        """Windows with their draws."""
        return WindowDataset(windows, self.reader, self.vocabulary, self.config, augmentation)

    @cached_property
    def training_set(self) -> WindowDataset:
        """Windows of the training split, augmented as configured."""
        data = self.config.data
        windows = self.windows(data.train_split, stride=self.config.window.stride)
        chosen = [window for window in windows if _place_of(window.key) < data.train_share]
        if not chosen:
            raise DataError(
                f"data.train_share={data.train_share} leaves no clip of split {data.train_split!r}"
            )
        seen = [_without(window, self.held_out) for window in chosen] if self.held_out else chosen
        return self.dataset(seen, Augmentation.training(self.config))


def _held_out(manifest: Manifest, names: Sequence[str], tokens: Tokens | None) -> frozenset[str]:
    entries = [entry for shard in manifest.shards for entry in shard.samples]
    labels = [(span.label, span.act_cat) for entry in entries for span in entry.spans] if names else []
    known = {normalise_label(name) for label, categories in labels for name in (label, *categories)}
    if unknown := [name for name in names if normalise_label(name) not in known]:
        raise DataError(
            f"data.held_out_categories: {unknown[0]!r} is no label or category of the data"
            + (suggest(normalise_label(unknown[0]), known) or "; leave it out")
        )
    return held_out_labels(labels, names, tokens)


def _without(window: Window, labels: frozenset[str]) -> Window:
    spans, brief_spans = (
        tuple(span for span in some if normalise_label(span.label) not in labels)
        for some in (window.spans, window.brief_spans)
    )
    return replace(window, spans=spans, brief_spans=brief_spans)
