"""Parameters and floating point operations of each part of the model, counted without allocating it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from langpose_dist.config import RunConfig, UserError
from langpose_dist.models.captioner import Captioner
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.text import TextBackbone, outline_text_backbone
from langpose_dist.models.words import WordTokenizer
from langpose_dist.skeleton import H36M17

_UNKNOWN_TEXT_DIM = 384  # all-MiniLM-L6-v2; for the poolings' size where the text encoder is not at hand


@dataclass(frozen=True)
class PartSummary:
    """One row of the summary."""

    name: str
    parameters: int
    """All of them."""
    trainable: int
    """Those that training changes."""
    flops_forward: int
    """Floating point operations of matrix products in a forward pass; a multiply-add counts as two."""
    flops_step: int
    """The same in forward and backward together."""


@dataclass(frozen=True)
class ModelSummary:
    """Parts, their total, and what the numbers assume."""

    batch_size: int
    num_frames: int
    parts: tuple[PartSummary, ...]
    notes: tuple[str, ...]

    @property
    def total(self) -> PartSummary:
        """The sum of the parts."""
        return PartSummary(
            "total",
            sum(part.parameters for part in self.parts),
            sum(part.trainable for part in self.parts),
            sum(part.flops_forward for part in self.parts),
            sum(part.flops_step for part in self.parts),
        )


def summarize(config: RunConfig, batch_size: int = 1) -> ModelSummary:
    """Count one training step's forward and backward on ``batch_size`` windows.

    Attention counts as the two products it consists of, backward as the four that their gradients take:
    kernels that compute the first product again in backward do more.

    Raises:
        UserError: If ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise UserError(f"batch size {batch_size} must be at least 1")
    if config.task == "finetune":
        return _summarize_lifting(config, batch_size)
    if config.task == "caption":
        return _summarize_captioner(config, batch_size)
    notes = []
    try:
        backbone = outline_text_backbone(config.text)
        text_dim = backbone.dim
    except UserError as error:
        backbone, text_dim = None, _UNKNOWN_TEXT_DIM
        notes.append(f"text encoder not counted, text width taken as {text_dim}: {error}")
    with torch.device("meta"):
        model = LangPose(config, text_dim)
        parts = _count_parts(model, config, batch_size, backbone)
    num_labels = config.loss.num_negatives + 1
    notes.append(f"text: {num_labels} labels of {config.text.max_tokens} tokens per window")
    if backbone is not None and config.text.frozen:
        notes.append("the frozen text encoder runs once per vocabulary and not in a step")
    return ModelSummary(batch_size, config.window.num_frames, tuple(parts), tuple(notes))


def _summarize_lifting(config: RunConfig, batch_size: int) -> ModelSummary:
    """The encoder and its pose head, without text."""
    with torch.device("meta"):
        encoder = DSTformer(config.model, num_frames=config.window.num_frames)
        parts = _count_encoder(encoder, config, batch_size)
    notes = ("the moving average is a second copy of the weights",) if config.finetune.ema_decay else ()
    return ModelSummary(batch_size, config.window.num_frames, tuple(parts), notes)


def _summarize_captioner(config: RunConfig, batch_size: int) -> ModelSummary:
    """Encoder, frame features and decoder, with the longest captions of as many words as KIT-ML has."""
    window = (batch_size, config.window.num_frames)
    tokenizer = WordTokenizer.outline()
    with torch.device("meta"):
        model = Captioner(config, tokenizer)
        representation = torch.empty(
            *window, H36M17.num_joints, config.model.dim_representation, requires_grad=True
        )
        features = torch.empty(*window, config.model.embed_dim, requires_grad=True)
        mask = torch.ones(window, dtype=torch.bool)
        ids = torch.zeros(batch_size, config.caption.max_words + 2, dtype=torch.int64)
        parts = (
            *_count_encoder(model.encoder, config, batch_size)[:1],
            _part(
                "pose pooling",
                [model.pose_pooling],
                lambda: model.pose_pooling.frame_features(representation),
            ),
            _part(
                "decoder", [model.over_frames, model.decoder], lambda: model.next_words(features, mask, ids)
            ),
        )
    length = config.caption.max_words
    note = f"decoder: captions of {length} words, {len(tokenizer)} known words, which the data decide"
    return ModelSummary(batch_size, config.window.num_frames, parts, (note,))


def _count_encoder(encoder: DSTformer, config: RunConfig, batch_size: int) -> list[PartSummary]:
    shape = (batch_size, config.window.num_frames, H36M17.num_joints)
    keypoints = torch.empty(*shape, 3)
    # Gradients flow on through whatever lies below a part.
    representation = torch.empty(*shape, config.model.dim_representation, requires_grad=True)
    body = [module for name, module in encoder.named_children() if name != "head"]
    embeddings = [encoder.temp_embed, encoder.pos_embed]
    return [
        _part("encoder", [*body, *embeddings], lambda: encoder(keypoints)),
        _part("pose head", [encoder.head], lambda: encoder.lift(representation)),
    ]


def _count_parts(
    model: LangPose, config: RunConfig, batch_size: int, backbone: TextBackbone | None
) -> list[PartSummary]:
    window = (batch_size, config.window.num_frames)
    labels = (batch_size * (config.loss.num_negatives + 1), config.text.max_tokens)
    representation = torch.empty(
        *window, H36M17.num_joints, config.model.dim_representation, requires_grad=True
    )
    is_trained = backbone is not None and not config.text.frozen
    tokens = torch.empty(*labels, model.text_dim, requires_grad=is_trained)
    window_mask = torch.empty(window, dtype=torch.bool)
    label_mask = torch.empty(labels, dtype=torch.bool)

    parts = [
        *_count_encoder(model.encoder, config, batch_size),
        _part("pose pooling", [model.pose_pooling], lambda: model.pose_pooling(representation, window_mask)),
        _part("text pooling", [model.text_pooling], lambda: model.text_pooling(tokens, label_mask)),
    ]
    if backbone is not None:
        ids = torch.zeros(labels, dtype=torch.int64)
        # Without its mask, whose values transformers looks at: here there are none.
        run = (lambda: backbone.model(input_ids=ids).last_hidden_state) if is_trained else None
        parts.append(_part("text encoder", [backbone], run))
    return parts


def _part(name: str, owners: list[nn.Module | Tensor], run: Callable[[], Tensor] | None) -> PartSummary:
    parameters = [
        parameter
        for owner in owners
        for parameter in (owner.parameters() if isinstance(owner, nn.Module) else [owner])
    ]
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    forward = step = 0
    if run is not None:
        # The plain form of attention is two matrix products, which the counter sees on any device.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            output = run()
            forward = counter.get_total_flops()
            output.sum().backward()
            step = counter.get_total_flops()
    return PartSummary(
        name, sum(p.numel() for p in parameters), sum(p.numel() for p in trainable), forward, step
    )
