"""Features of every label of a vocabulary, and what the text encoder makes of the labels."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Bool, Float, Int
from torch import Tensor

from langpose_dist.config import TextConfig
from langpose_dist.host.atomic import PARTIAL, fsync_path
from langpose_dist.host.console import say
from langpose_dist.models.text import TextEncoder, pool_tokens
from langpose_dist.models.tokens import LabelTokenizer, LabelTokens

CACHED_FROM = 1000
"""Labels of a vocabulary whose features are kept on disk; fewer take no longer than reading them."""
_MAX_EXAMPLES = 2


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
    def compute(
        cls, encoder: TextEncoder, labels: Sequence[str], *, frozen: bool, cache: Path | None = None
    ) -> Self:
        """Encode a vocabulary once; of a frozen encoder the token features are worth keeping too.

        ``cache`` is a folder for the features of a large vocabulary, which the next start reads.
        """
        tokens = encoder.tokenize(labels)
        found = None
        if cache is not None and frozen and len(labels) >= CACHED_FROM:
            found = _cached_features(encoder, tokens, cache)
        sentences, features = found or _encode(encoder, tokens, frozen=frozen)
        return cls(tokens.ids, tokens.mask, sentences, features)


def _encode(
    encoder: TextEncoder, tokens: LabelTokens, *, frozen: bool = True
) -> tuple[Float[Tensor, "V E"], Float[Tensor, "V L E"] | None]:
    features = torch.zeros(*tokens.ids.shape, encoder.dim) if frozen else None
    sentences = torch.zeros(len(tokens.ids), encoder.dim)
    for rows, batch in encoder.batches(tokens):
        sentences[rows] = pool_tokens(batch, tokens.mask[rows]).cpu()
        if features is not None:
            features[rows, : batch.shape[1]] = batch.cpu()
    return sentences, features


def _cached_features(
    encoder: TextEncoder, tokens: LabelTokens, cache: Path
) -> tuple[Float[Tensor, "V E"], Float[Tensor, "V L E"]] | None:
    """Features from the cache, computed first where it lacks them; a map of the files, not a copy.

    ``None`` where the folder cannot be written, its disk is full, or its file system has no locks.

    The cache holds one folder per content, named by the hash of tokens and weights; the file that is written
    last says that it is whole.
    """
    digest = hashlib.sha256(tokens.ids.numpy().tobytes() + tokens.mask.numpy().tobytes())
    for parameter in encoder.backbone.parameters():
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    folder = cache / digest.hexdigest()[:16]
    places = [folder / name for name in ("tokens.npy", "sentences.npy")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):  # the first rank computes, the others read
            if not places[-1].exists():
                sentences, features = _encode(encoder, tokens)
                assert features is not None
                for place, values in zip(places, (features, sentences), strict=True):
                    partial = place.with_suffix(PARTIAL)
                    with partial.open("wb") as file:
                        np.save(file, values)
                    fsync_path(partial)
                    partial.replace(place)
    except (OSError, NotImplementedError) as error:  # no room, no right, or a file system without locks
        say(f"text features are not kept in {cache}: {error}")
        return None
    features, sentences = (torch.from_numpy(np.load(place, mmap_mode="c")) for place in places)
    return sentences, features


def describe_labels(labels: Sequence[str], tokenizer: LabelTokenizer, config: TextConfig) -> Iterator[str]:
    """Lines about labels, in normal form, that the text encoder cuts, cannot tell apart, or does not know."""
    keys = tokenizer.keys(labels)
    cut = [
        label for label, n in zip(labels, tokenizer.lengths(labels), strict=True) if n > tokenizer.max_tokens
    ]
    if cut:
        yield (
            f"{len(cut)} of {len(labels)} labels are longer than text.max_tokens={tokenizer.max_tokens} and "
            f"are cut: {examples(cut)}; raise text.max_tokens"
        )
    groups: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for label, key in zip(labels, keys, strict=True):
        groups[key].append(label)
    same = [" = ".join(map(_short, group[:2])) for group in groups.values() if len(group) > 1]
    if same:
        joined = sum(len(group) for group in groups.values() if len(group) > 1)
        shown = "; ".join(same[:_MAX_EXAMPLES])
        yield (
            f"{joined} of {len(labels)} labels cannot be told apart by text.encoder={config.encoder}, and "
            f"count as {len(same)}: {shown}"
        )
    unknown = [label for label, key in zip(labels, keys, strict=True) if tokenizer.is_unknown(key)]
    if unknown:
        yield (
            f"{len(unknown)} of {len(labels)} labels hold no word that text.encoder={config.encoder} knows: "
            f"{examples(unknown)}; choose an encoder for their language"
        )


def examples(labels: Sequence[str]) -> str:
    """The first labels of many, for a message."""
    return ", ".join(map(_short, labels[:_MAX_EXAMPLES])) + (", ..." if len(labels) > _MAX_EXAMPLES else "")


def _short(label: str) -> str:
    return repr(label if len(label) <= 60 else f"{label[:28]}...{label[-28:]}")
