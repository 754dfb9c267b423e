"""Features of every label of a vocabulary."""

from dataclasses import dataclass
from typing import Self

from jaxtyping import Bool, Float, Int
from torch import Tensor

from langpose_dist.models.text import TextEncoder


@dataclass(frozen=True)
class LabelTable:
    """Tokens and features of V labels, in the vocabulary's order."""

    token_ids: Int[Tensor, "V L"]
    token_mask: Bool[Tensor, "V L"]
    sentence_features: Float[Tensor, "V E"]
    """Unit length; from the untrained encoder."""
    token_features: Float[Tensor, "V L E"] | None
    """``None`` where the encoder is trained along."""

    @classmethod
    def compute(cls, encoder: TextEncoder, labels: tuple[str, ...], *, frozen: bool) -> Self:
        """Encode a vocabulary once."""
        tokens = encoder.tokenize(labels)
        return cls(
            token_ids=tokens.ids,
            token_mask=tokens.mask,
            sentence_features=encoder.sentence_features(labels),
            token_features=encoder.token_features(labels) if frozen else None,
        )
