"""The text encoder: any Hugging Face text model by name, by folder, or from the ``offline-text`` extra.

``TextEncoder`` turns label strings into tokens and features. ``TextBackbone`` is the model alone, from token
ids to token features; ``LangPose`` holds one only when the text encoder is trained as well.

transformers is imported inside functions: importing it takes seconds, and most commands need no text.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.config import TextConfig
from langpose_dist.models.hub import explained, load_pretrained, quiet, resolve, verify_offline_weights
from langpose_dist.models.tokens import LabelTokenizer, LabelTokens, load_tokenizer

_BATCH_SIZE = 64
_LOADS_CODE = re.compile(r"implementation|quantization|auto_map|kernel")


class TextBackbone(nn.Module):
    """A Hugging Face text model as a module from token ids to token features."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        # The head above the [CLS] token is not part of the token features; as a parameter without a
        # gradient it would only trouble distributed training.
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        self.model = model
        self.train(model.training)

    @property
    def dim(self) -> int:
        """Width of the token features (E)."""
        return self.model.config.hidden_size

    def forward(self, ids: Int[Tensor, "N L"], mask: Bool[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        """Token features; those outside ``mask`` are meaningless."""
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    def architecture(self) -> str:
        """JSON from which ``from_architecture`` builds the same model without weights."""
        return json.dumps(self.model.config.to_diff_dict(), sort_keys=True)

    @classmethod
    def from_architecture(cls, architecture: str) -> "TextBackbone":
        """A model with random weights, to load a state dict into."""
        from transformers import AutoConfig, AutoModel

        content = json.loads(architecture)
        model_type = content.pop("model_type")
        # Only what describes layers: an entry that names an attention kernel or a quantizer could load code.
        content = {key: value for key, value in content.items() if not _LOADS_CODE.search(key)}
        config = AutoConfig.for_model(model_type, attn_implementation="sdpa", **content)
        with quiet():
            return cls(AutoModel.from_config(config, trust_remote_code=False))


class TextEncoder:
    """A tokenizer and its backbone.

    Args:
        backbone: The model.
        tokenizer: Tokenizer of labels.
    """

    def __init__(self, backbone: TextBackbone, tokenizer: LabelTokenizer) -> None:
        self.backbone = backbone
        self.tokenizer = tokenizer

    @property
    def dim(self) -> int:
        """Width of token and sentence features (E)."""
        return self.backbone.dim

    def tokenize(self, labels: Sequence[str]) -> LabelTokens:
        """Token ids of each label, padded on the right to the tokenizer's ``max_tokens``."""
        return self.tokenizer.tokenize(labels)

    @torch.no_grad()
    def batches(self, tokens: LabelTokens) -> Iterator[tuple[Int[Tensor, "N"], Float[Tensor, "N l E"]]]:
        """Rows and their token features, labels of like length together; without gradient or dropout.

        Yields:
            Row numbers, and features in float32 up to the batch's longest label, zero at padding.
        """
        device = next(self.backbone.parameters()).device
        lengths = tokens.mask.sum(dim=1)
        was_training = self.backbone.training
        self.backbone.eval()
        try:
            for rows in lengths.argsort(stable=True).split(_BATCH_SIZE) if len(lengths) else ():
                length = int(lengths[rows].max())
                mask = tokens.mask[rows, :length].to(device)
                features = self.backbone(tokens.ids[rows, :length].to(device), mask).float()
                yield rows, features * mask[..., None]
        finally:
            self.backbone.train(was_training)

    def token_features(self, labels: Sequence[str]) -> Float[Tensor, "V L E"]:
        """Features of every token in float32, zero at padding."""
        tokens = self.tokenize(labels)
        features = torch.zeros(*tokens.ids.shape, self.dim, device=next(self.backbone.parameters()).device)
        for rows, batch in self.batches(tokens):
            features[rows, : batch.shape[1]] = batch
        return features

    def sentence_features(self, labels: Sequence[str]) -> Float[Tensor, "V E"]:
        """One vector of unit length per label."""
        return pool_tokens(self.token_features(labels), self.tokenize(labels).mask)


def pool_tokens(features: Float[Tensor, "V l E"], mask: Bool[Tensor, "V L"]) -> Float[Tensor, "V E"]:
    """One vector of unit length per label: the mean of its tokens.

    Source:
        Reimers and Gurevych, Sentence-BERT, EMNLP 2019 (mean pooling, as all-MiniLM-L6-v2 uses it).
    """
    mean = features.sum(dim=1) / mask.sum(dim=1, keepdim=True).to(features.device)
    return nn.functional.normalize(mean, dim=-1)


def load_text_encoder(config: TextConfig) -> TextEncoder:
    """The configured text encoder, on CPU, in float32, without gradients where ``config.frozen``.

    Raises:
        UserError: If it is neither installed, nor on disk, nor within reach; the line names the remedy.
    """
    if config.encoder == "offline":
        verify_offline_weights(Path(resolve(config.encoder)[0]) / "model.safetensors")
    tokenizer = load_tokenizer(config)
    backbone = load_pretrained(config.encoder, _load_backbone)
    backbone.requires_grad_(not config.frozen)
    return TextEncoder(backbone, tokenizer)


def outline_text_backbone(config: TextConfig) -> TextBackbone:
    """The configured backbone on the meta device: shapes only, no weights read, no network used.

    Raises:
        UserError: If its configuration is not on this machine.
    """
    source, _ = resolve(config.encoder)
    from transformers import AutoConfig, AutoModel

    with explained(config.encoder), quiet():
        architecture = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            backbone = TextBackbone(AutoModel.from_config(architecture, trust_remote_code=False))
    return backbone.requires_grad_(not config.frozen)


def _load_backbone(source: str, local_files_only: bool) -> TextBackbone:
    from transformers import AutoModel

    with quiet(keep_progress=not local_files_only):
        model, report = AutoModel.from_pretrained(
            source,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=local_files_only,
            trust_remote_code=False,
        )
    # transformers only logs what it did not find and continues with random weights.
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        raise ValueError(f"{len(missing)} weights are missing from its file, the first is {missing[0]}")
    return TextBackbone(model)
