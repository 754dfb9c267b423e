"""Embeddings of the labelled spans of a split by any encoder, and of labels by a model's text side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from langpose_dist.analysis.clips import Clip, recording_of
from langpose_dist.batch import MotionBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation
from langpose_dist.data.draws import EVALUATION_EPOCH, Draw, draw_camera, generator
from langpose_dist.data.labels import normalise_label
from langpose_dist.data.windows import Window
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.recordings import stored_2d
from langpose_dist.geometry import observe
from langpose_dist.host.bars import tracked
from langpose_dist.inference.labels import embed_labels
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.pooling import unit_length

Pooling = Literal["own", "mean"]
"""The model's own, trained to meet labels, or the mean of the representation over frames and joints."""
_AT_ONCE = 16
"""Windows in memory together."""


class LabelledSpan(NamedTuple):
    """Frames of a clip that a label describes, or a part of them."""

    clip: Clip
    label: str
    """In normal form."""
    categories: tuple[str, ...]
    """BABEL's ``act_cat``; empty where the data have none."""
    start: int
    """First frame within the clip."""
    stop: int
    """One past the last."""
    view: int
    """Number of the draw of its virtual camera."""

    @property
    def recording(self) -> str:
        """Unit that a bootstrap draws: the clip, whichever of several cameras saw it."""
        return " ".join(map(str, recording_of(self.clip.entry)))


@dataclass(frozen=True)
class SpanSet:
    """Labelled spans of a split, in the manifest's order, with the data that they are read from."""

    corpus: Corpus
    split: str
    spans: tuple[LabelledSpan, ...]

    @classmethod
    def open(cls, config: RunConfig, split: str) -> Self:
        """Find the spans of a split.

        Args:
            config: Its ``data``, ``camera`` and ``noise`` sections say what models see.
            split: Name of the split.

        Raises:
            UserError: If the split does not exist, has no label, or lacks the configured 2D input.
        """
        corpus = open_motion(config, split)
        found = (
            (Clip(shard_index, sample_index, entry), label, span.act_cat, span.start, span.end)
            for shard_index, shard in corpus.manifest.shards_of(split)
            for sample_index, entry in enumerate(shard.samples)
            for span in entry.spans
            if (label := normalise_label(span.label))
        )
        spans = tuple(LabelledSpan(*place, view) for view, place in enumerate(found))
        if not spans:
            raise UserError(f"{config.data.path}: no clip of split {split!r} has a label")
        return cls(corpus, split, spans)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of each span."""
        return tuple(span.label for span in self.spans)

    def describe(self) -> dict[str, Any]:
        """Identity of the data and source of the 2D input, for a report."""
        config, manifest = self.corpus.config, self.corpus.manifest
        is_stored = config.data.observation == "stored"
        return {
            "dataset": manifest.dataset,
            "split": self.split,
            "fps": manifest.fps,
            "fingerprint": manifest.fingerprint,
            "num_spans": len(self.spans),
            "num_clips": len({span.recording for span in self.spans}),
            "source_2d": stored_2d(manifest, self.corpus.reader, self.split)
            if is_stored
            else "synthetic: ground-truth 3D through virtual cameras, without noise",
            "camera": None if is_stored else config.camera.model_dump(mode="json"),
        }


def open_motion(config: RunConfig, split: str) -> Corpus:
    """Open data whose windows need nothing for a target: its space may ask for a camera's lens.

    Raises:
        UserError: If the folder holds no complete build, or the split lacks the configured 2D input.
    """
    target = config.target.model_copy(update={"space": "camera"})
    corpus = Corpus.open(config.model_copy(update={"target": target}), has_labels=False)
    if config.data.observation == "stored":
        corpus.check_observation(split)
    return corpus


def embed_spans(
    contender: Contender, spans: SpanSet, *, pooling: Pooling = "own", isolated: bool = False
) -> Float32[np.ndarray, "N D"]:
    """One feature of unit length for each span.

    A span is seen in the model's window around it and pooled over its own frames alone, so the frames beside
    it still have a say through attention. A span that is longer than a window is cut into equal parts; their
    features are averaged, each weighing as its frames.

    The virtual camera belongs to the span: every model sees a span through the same one.

    Args:
        contender: A LangPose with its poolings, or for ``pooling="mean"`` any encoder: MotionBERT's weights,
            a fine-tuned model, ``untrained``.
        spans: From ``SpanSet.open``.
        pooling: ``own``, in the space of the labels; ``mean``, the mean of the representation over frames and
            joints, which every encoder has.
        isolated: Show the model the span alone, the window's rest filled with its last frame.

    Raises:
        UserError: If the model has no trained pooling, was trained at another rate, or the data cannot be
            read.
    """
    check_encoder(contender, spans, pooling)
    windows, parts = _windows(spans, contender.num_frames, isolated=isolated)
    batches = [parts[first : first + _AT_ONCE] for first in range(0, len(parts), _AT_ONCE)]
    total: np.ndarray | None = None
    for batch in tracked(batches, f"embed with {contender.name}", "batch"):
        features = _embed(contender, spans, windows, batch, pooling)
        total = np.zeros((len(spans.spans), features.shape[1])) if total is None else total
        weights = np.array([part.stop - part.start for part in batch])
        np.add.at(total, [part.span for part in batch], features * weights[:, None])
    assert total is not None
    return unit_length(torch.from_numpy(total)).numpy().astype(np.float32)


def check_encoder(contender: Contender, spans: SpanSet, pooling: Pooling = "own") -> None:
    """Check that a model can embed spans, before it takes its time.

    Raises:
        UserError: If it has no trained pooling for ``own``, or was trained at another rate.
    """
    fps = spans.corpus.manifest.fps
    if contender.fps is not None and contender.fps != fps:
        raise UserError(
            f"{contender.name} was trained at {contender.fps:g} frames per second, the data have {fps:g}"
        )
    if pooling == "own" and not has_text(contender):
        raise UserError(
            f"{contender.name} has no trained pooling: MotionBERT has none, fine-tuning drops it, and "
            "loss.contrastive=none never trains it; give a pretrained model that was trained with labels"
        )


def has_text(contender: Contender) -> bool:
    """True if its pooling and text side were trained to meet."""
    config = contender.config
    return config is not None and config.loss.is_contrastive and isinstance(contender.model, LangPose)


def label_features(contender: Contender, labels: Sequence[str]) -> Float32[np.ndarray, "L D"]:
    """Features of labels of unit length, in the space of ``embed_spans`` with the model's own pooling.

    Raises:
        UserError: If the model has no text side, or its text encoder cannot be loaded.
    """
    return embed_labels(contender.name, contender.model, contender.config, labels).cpu().numpy()


def untrained(contender: Contender, seed: int = 0) -> Contender:
    """A model of the same shape with random weights, as a row to compare with."""
    model = contender.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, LangPose) and contender.config is not None:
            fresh: Any = LangPose(contender.config, model.text_dim)
        else:
            encoder = _encoder(model)
            fresh = DSTformer(encoder.config, num_frames=encoder.num_frames, num_joints=encoder.num_joints)
    facts = {"trained_by": "nobody", "shape_of": contender.name, "seed": seed}
    fresh = fresh.to(next(model.parameters()).device).eval()
    return replace(contender, name="random encoder", model=fresh, facts=facts)


class _Part(NamedTuple):
    """Frames of a span that one window holds."""

    span: int
    window: int
    start: int
    """First frame within the window."""
    stop: int


def _windows(spans: SpanSet, num_frames: int, *, isolated: bool) -> tuple[list[Window], list[_Part]]:
    windows, parts = [], []
    for number, (clip, _, _, start, stop, _) in enumerate(spans.spans):
        length, num_parts = clip.entry.num_frames, -(-(stop - start) // num_frames)
        borders = [start + (stop - start) * place // num_parts for place in range(num_parts + 1)]
        for first, end in pairwise(borders):
            begin = first if isolated else max(min((first + end - num_frames) // 2, length - num_frames), 0)
            last = end if isolated else min(begin + num_frames, length)
            parts.append(_Part(number, len(windows), first - begin, end - begin))
            windows.append(Window(clip.shard_index, clip.sample_index, clip.entry, begin, last, ()))
    return windows, parts


@torch.inference_mode()
def _embed(
    contender: Contender, spans: SpanSet, windows: list[Window], parts: list[_Part], pooling: Pooling
) -> Float[np.ndarray, "B D"]:
    shown = [windows[part.window] for part in parts]
    seen = see_windows(
        spans.corpus, shown, [spans.spans[part.span].view for part in parts], contender.num_frames
    )
    mask = torch.zeros_like(seen.frame_mask)
    for row, part in enumerate(parts):
        mask[row, part.start : part.stop] = True
    device = next(contender.model.parameters()).device
    representation = _encoder(contender.model)(seen.keypoints_2d.to(device))
    return _pool(contender.model, representation, mask.to(device), pooling)


def see_windows(
    corpus: Corpus, windows: Sequence[Window], views: Sequence[int], num_frames: int
) -> MotionBatch:
    """Windows as models see them, without noise, filled up to so many frames.

    Args:
        corpus: From ``open_motion``.
        windows: Any of its windows.
        views: Number of the draw of each one's virtual camera.
        num_frames: Frames per window (T).

    Raises:
        UserError: If they cannot be read.
    """
    config = corpus.config
    window = config.window.model_copy(update={"num_frames": num_frames})
    dataset = replace(corpus, config=config.model_copy(update={"window": window})).dataset(
        windows, Augmentation.evaluation("clean")
    )
    batch = dataset[[(EVALUATION_EPOCH, number) for number in range(len(windows))]]
    if isinstance(batch, UserError):
        raise batch
    draws = (generator(0, EVALUATION_EPOCH, view, Draw.CAMERA) for view in views)
    cameras = torch.from_numpy(np.stack([draw_camera(draw, config.camera) for draw in draws]))
    return observe(replace(batch, camera=cameras), config.camera, config.noise)


def _pool(
    model: Any, representation: Float[Tensor, "B T J R"], mask: Bool[Tensor, "B T"], pooling: Pooling
) -> Float[np.ndarray, "B D"]:
    if pooling == "own":
        return unit_length(model.pose_pooling(representation, mask)).cpu().numpy()
    frames = representation.mean(dim=2) * mask[..., None]
    return (frames.sum(dim=1) / mask.sum(dim=1, keepdim=True)).cpu().numpy()


def _encoder(model: Any) -> Any:
    """The encoder that a model predicts with: of a fine-tuned one that of its averaged weights, if any."""
    if isinstance(model, DSTformer):
        return model
    average = getattr(model, "average", None)
    return model.encoder if average is None else average
