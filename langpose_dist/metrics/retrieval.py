"""Ranks of what is true among all candidates: of labels for a motion, of motions for a text, of classes.

Ranks of single rows are independent of the batch, so they can be computed batch by batch and joined.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

TIE = 1e-6
"""Cosine similarities closer than this are equal: float32 features carry no more."""


def label_ranks(
    motion_features: Float[Tensor, "N D"], text_features: Float[Tensor, "V D"], true_ids: Int[Tensor, "N M"]
) -> Int[Tensor, "N"]:
    """Rank of each motion's most similar true label among all labels that are not true of it; 1 is best.

    Ties count against the motion: its label comes after every other that is no clearly less similar. So
    features that are constant, or not finite, give the last rank and not the first.

    Args:
        motion_features: Unit length.
        text_features: Unit length; row v belongs to label v.
        true_ids: Rows of the labels that are true of each motion: one or more, then -1. With one column the
            rank is that of a single label among all V.

    Raises:
        ValueError: If the first is not in 0..V-1: motions without a label have no rank; or another is not in
            -1..V-1.
    """
    num_labels = len(text_features)
    outside = (true_ids >= num_labels) | (true_ids < -1)
    outside[:, 0] |= true_ids[:, 0] < 0
    if outside.any():
        raise ValueError(
            f"label id {int(true_ids[outside][0])} is not in 0..{num_labels - 1}; "
            "leave out windows without a label and use the vocabulary's own features"
        )
    is_true = torch.zeros(len(true_ids), num_labels, dtype=torch.bool, device=true_ids.device)
    is_true.scatter_(1, torch.where(true_ids < 0, true_ids[:, :1], true_ids).long(), True)
    return ranks(motion_features.double() @ text_features.double().T, is_true)


def ranks(similarity: Float[Tensor, "N V"], is_true: Bool[Tensor, "N V"]) -> Int[Tensor, "N"]:
    """Rank of each row's most similar true column among all columns that are not true; 1 is best.

    Ties count against the row, as in ``label_ranks``. Each row has a true column.
    """
    best = similarity.masked_fill(~is_true, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + (~(similarity < best - TIE) & ~is_true).sum(dim=1)


def dissimilar(similarity: Float[Tensor, "N N"], count: int) -> Int[Tensor, "K"]:
    """Rows that are little alike, chosen greedily: first the one least like all, then the farthest of each.

    TMR's own subset is a list of 100 texts by another heuristic for the same aim.
    """
    chosen = [int(similarity.mean(dim=1).argmin())]
    nearest = similarity[chosen[0]].clone()
    while len(chosen) < min(count, len(similarity)):
        nearest[chosen[-1]] = torch.inf
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, similarity[chosen[-1]])
    return torch.tensor(chosen)


def recall_in_batches(
    motion_features: Float[Tensor, "N D"],
    text_features: Float[Tensor, "N D"],
    *,
    size: int = 32,
    top: int = 3,
    num_orders: int = 20,
) -> Float[Tensor, "N top"]:
    """Share of random batches in which each motion's own text is among its 1, 2, ... ``top`` most similar.

    Args:
        motion_features: Unit length.
        text_features: Unit length; row n belongs to motion n.
        size: As in ``similarity_recall``, like the rest.
        top: Longest list of texts.
        num_orders: Orders that are averaged.

    Raises:
        ValueError: If there are fewer motions than a batch holds.
    """
    similarity = motion_features.double() @ text_features.double().T
    return similarity_recall(similarity, size=size, top=top, num_orders=num_orders)


def similarity_recall(
    similarity: Float64[Tensor, "N N"], *, size: int = 32, top: int = 3, num_orders: int = 20
) -> Float[Tensor, "N top"]:
    """``recall_in_batches`` by any similarity, such as negative distances.

    R-precision from motion to text. The motions are dealt to batches in ``num_orders`` seeded orders, whose
    last, smaller batch is left out. Ties count against the motion.

    Args:
        similarity: Of each motion, a row, to each text; text n belongs to motion n.
        size: Motions of a batch.
        top: Longest list of texts.
        num_orders: Orders that are averaged.

    Raises:
        ValueError: If there are fewer motions than a batch holds.

    Source:
        Guo et al., CVPR 2022, with one order.
    """
    num_motions = len(similarity)
    if num_motions < size:
        raise ValueError(f"{num_motions} motions do not fill one batch of {size}")
    comes_first = ~(similarity < similarity.diagonal()[:, None] - TIE)
    comes_first.fill_diagonal_(False)
    hits, seen = torch.zeros(num_motions, top), torch.zeros(num_motions, 1)
    for seed in range(num_orders):
        order = torch.randperm(num_motions, generator=torch.Generator().manual_seed(seed))
        for batch in order[: num_motions // size * size].split(size):
            ranks = comes_first[batch[:, None], batch].sum(dim=1)
            hits[batch] += ranks[:, None] < 1 + torch.arange(top)
            seen[batch] += 1
    return hits / seen


def chance_recall(num_labels: int, k: int, num_true: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Probability that one of each motion's true labels is among the first ``k`` of a random order of all."""
    places = torch.arange(min(k, num_labels), device=num_true.device)
    others = (num_labels - num_true.double()[:, None] - places).clamp(min=0)
    return 1 - (others / (num_labels - places)).prod(dim=1)
