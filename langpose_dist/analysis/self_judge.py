"""R-precision by a pretrained encoder's own embeddings: a diagnostic, no score.

A captioner whose encoder began with the same weights is judged right wherever both take a motion for the
same other one, so the number may be compared neither with R-precision by a separate evaluator nor between
captioners of different encoders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from langpose_dist.analysis.clips import Clip
from langpose_dist.analysis.embeddings import (
    LabelledSpan,
    SpanSet,
    check_encoder,
    embed_spans,
    label_features,
    open_motion,
)
from langpose_dist.config import RunConfig
from langpose_dist.evaluation.caption_evaluator import CaptionedClip
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.metrics.retrieval import recall_in_batches


class SelfJudge:
    """A pretrained model as an evaluator of captions.

    Args:
        model: With a text side.
        config: Its ``data`` and ``camera`` sections say what the model sees.

    Raises:
        UserError: If the data cannot be opened, or the model has no text side or was trained at another rate.
    """

    metric: ClassVar[str] = "self_r_precision"

    def __init__(self, model: Contender, config: RunConfig) -> None:
        self.model = model
        split = config.data.validation_split
        self.motion = SpanSet(open_motion(config, split), split, ())
        check_encoder(model, self.motion)
        clips = [
            Clip(shard, sample, entry)
            for shard, content in self.motion.corpus.manifest.shards_of(split)
            for sample, entry in enumerate(content.samples)
        ]
        self.clips = {clip.entry.key: (clip, view) for view, clip in enumerate(clips)}
        self.seen: dict[tuple[str, tuple[int, int]], Tensor] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """Origin of the weights."""
        return self.model.facts

    @property
    def sha256(self) -> str:
        """Hash of the weights."""
        return self.model.facts["weights_sha256"]

    @property
    def origin(self) -> str:
        """For a line of the report."""
        return f"{self.model.name}, its own text and pose side: a diagnostic"

    def hits(self, clips: Sequence[CaptionedClip], captions: Sequence[str], top: int = 3) -> Tensor:
        """As the evaluators' own."""
        texts = label_features(self.model, captions)
        return recall_in_batches(self.embed_motions(clips), torch.from_numpy(texts), top=top)

    def embed_motions(self, clips: Sequence[CaptionedClip]) -> Float[Tensor, "N D"]:
        """Features of the described frames; they are kept, as every row of a report asks for them."""
        places = [(clip.key, clip.frames) for clip in clips]
        if missing := [place for place in dict.fromkeys(places) if place not in self.seen]:
            spans = []
            for key, frames in missing:
                clip, view = self.clips[key]
                spans.append(LabelledSpan(clip, "", (), *frames, view))
            features = embed_spans(self.model, replace(self.motion, spans=tuple(spans)))
            self.seen.update(zip(missing, torch.from_numpy(features), strict=True))
        return torch.stack([self.seen[place] for place in places])
