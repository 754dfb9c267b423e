"""How well a motion finds its own label among all labels of the vocabulary.

Ranks of single windows are independent of the batch, so they can be computed batch by batch and joined.
"""

from jaxtyping import Float, Int
from torch import Tensor

TIE = 1e-6
"""Cosine similarities closer than this are equal: float32 features carry no more."""


def label_ranks(
    motion_features: Float[Tensor, "N D"], text_features: Float[Tensor, "V D"], label_ids: Int[Tensor, "N"]
) -> Int[Tensor, "N"]:
    """Rank of each motion's own label among all V labels by similarity; 1 is best.

    Ties count against the motion: its label comes after every label that is no clearly less similar. So
    features that are constant, or not finite, give the last rank and not the first.

    Args:
        motion_features: Unit length.
        text_features: Unit length; row v belongs to label v.
        label_ids: Row of each motion's own label, in 0..V-1. Motions without a label (-1) have no rank;
            leave them out.

    Raises:
        ValueError: If a label id is not in 0..V-1.
    """
    num_labels = len(text_features)
    outside = (label_ids < 0) | (label_ids >= num_labels)
    if outside.any():
        raise ValueError(
            f"label id {int(label_ids[outside][0])} is not in 0..{num_labels - 1}; "
            "leave out windows without a label and use the vocabulary's own features"
        )
    similarity = motion_features.double() @ text_features.double().T
    own = similarity.gather(1, label_ids.long()[:, None])
    return num_labels - (similarity < own - TIE).sum(dim=1)


def chance_recall(num_labels: int, k: int) -> float:
    """Share of ranks up to ``k`` of a uniform guess among ``num_labels`` labels."""
    return min(k, num_labels) / num_labels


def chance_median_rank(num_labels: int) -> float:
    """Median rank of a uniform guess among ``num_labels`` labels."""
    return (num_labels + 1) / 2
