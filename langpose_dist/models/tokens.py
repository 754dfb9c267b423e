"""Labels as a text encoder's tokenizer sees them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from langpose_dist.config import TextConfig
from langpose_dist.models.hub import load_pretrained, quiet


class LabelTokens(NamedTuple):
    """Tokens of V labels, padded to L."""

    ids: Int[Tensor, "V L"]
    mask: Bool[Tensor, "V L"]


class LabelTokenizer:
    """Tokenizer of labels.

    Args:
        tokenizer: Hugging Face tokenizer.
        max_tokens: Tokens per label (L), special tokens included; longer labels are cut.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token

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

    def keys(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of each label without padding: equal for labels that the encoder cannot tell apart."""
        if not labels:
            return []
        encoded = self._tokenizer(list(labels), truncation=True, max_length=self.max_tokens)
        return [tuple(ids) for ids in encoded["input_ids"]]

    def lengths(self, labels: Sequence[str]) -> list[int]:
        """Tokens of each label before it is cut, special tokens included."""
        if not labels:
            return []
        return [len(ids) for ids in self._tokenizer(list(labels), verbose=False)["input_ids"]]

    def is_unknown(self, key: tuple[int, ...]) -> bool:
        """True if a label has no token that the tokenizer knows."""
        special = set(self._tokenizer.all_special_ids)
        return self._tokenizer.unk_token_id in key and special.issuperset(key)


def load_tokenizer(config: TextConfig) -> LabelTokenizer:
    """The configured encoder's tokenizer, without the encoder; loaded once, which takes seconds.

    Raises:
        UserError: If it is neither installed, nor on disk, nor within reach.
    """
    return _load_once(config.encoder, config.max_tokens)


@lru_cache(maxsize=1)
def _load_once(encoder: str, max_tokens: int) -> LabelTokenizer:
    def load(source: str, local_files_only: bool) -> Any:
        from transformers import AutoTokenizer

        with quiet(keep_progress=not local_files_only):
            return AutoTokenizer.from_pretrained(
                source, local_files_only=local_files_only, trust_remote_code=False
            )

    return LabelTokenizer(load_pretrained(encoder, load), max_tokens)
