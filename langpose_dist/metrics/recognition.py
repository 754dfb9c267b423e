"""Action recognition from the scores of classes, where a chunk of motion may be of several classes.

BABEL counts such a chunk once for each of its classes, and a hit is that class among the best k: no
classifier can reach 1. MotionCLIP counts it once, and any of its classes among the best k is a hit.

Every share is a mean over groups of hits over counts. The first axis of both tables is the clip, so that a
bootstrap draws clips: ``group_mean(draws @ hits, draws @ counts)``.

Source:
    Punnakkal et al., CVPR 2021; Tevet et al., ECCV 2022.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from langpose_dist.metrics.retrieval import chance_recall, ranks

TOP = (1, 5)


class Hits(NamedTuple):
    """Hits of each rule, or their probabilities."""

    of_class: Float[np.ndarray, "S"]
    """A value for each pair of a chunk and one of its classes, in the order of ``np.nonzero(is_true)``."""
    of_any: Float[np.ndarray, "N"]
    """A value for each chunk."""

    def of_chunks(self, is_true: Bool[np.ndarray, "N C"], chosen: Bool[np.ndarray, "N"]) -> "Hits":
        """Those of some chunks."""
        return Hits(self.of_class[chosen[np.nonzero(is_true)[0]]], self.of_any[chosen])


class Table(NamedTuple):
    """Hits and chances of them, by clip and group."""

    hits: Float[np.ndarray, "K G"]
    counts: Float[np.ndarray, "K G"]


def top_hits(scores: Float[np.ndarray, "N C"], is_true: Bool[np.ndarray, "N C"], k: int) -> Hits:
    """Hits among the best ``k``; ties count against, and each chunk has a true class."""
    rows, classes = np.nonzero(is_true)
    values, true = torch.from_numpy(scores), torch.from_numpy(is_true)
    is_one = torch.nn.functional.one_hot(torch.from_numpy(classes), is_true.shape[1]).bool()
    found = [ranks(values[rows], is_one), ranks(values, true)]
    return Hits(*((one <= k).double().numpy() for one in found))


def chance_hits(is_true: Bool[np.ndarray, "N C"], k: int) -> Hits:
    """Probabilities that a random order of the classes hits."""
    num_true = torch.from_numpy(is_true.sum(axis=1))
    of_any = chance_recall(is_true.shape[1], k, num_true).numpy()
    return Hits(np.full(int(is_true.sum()), min(k / is_true.shape[1], 1.0)), of_any)


def ceiling_hits(is_true: Bool[np.ndarray, "N C"], k: int) -> Hits:
    """Hits of a perfect classifier: each chunk's ``k`` rarest classes come first, which is best for every
    share."""
    by_rarity = np.where(is_true, -is_true.sum(axis=0), -np.inf)
    return top_hits(by_rarity - np.arange(is_true.shape[1]) / is_true.shape[1], is_true, k)


def recognition_tables(
    hits_at: Mapping[int, Hits], is_true: Bool[np.ndarray, "N C"], clips: Int[np.ndarray, "N"]
) -> Mapping[str, Table]:
    """Metric -> its table.

    Args:
        hits_at: k -> hits among the best k, with k of ``TOP``.
        is_true: Classes of each chunk.
        clips: Number of each chunk's clip.
    """
    rows, classes = np.nonzero(is_true)
    num_clips, num_classes = int(clips.max()) + 1, is_true.shape[1]

    def tabulate(values: np.ndarray, some: np.ndarray, groups: np.ndarray, num_groups: int) -> Table:
        hits, counts = np.zeros((2, num_clips, num_groups))
        np.add.at(hits, (clips[some], groups), values)
        np.add.at(counts, (clips[some], groups), 1.0)
        return Table(hits, counts)

    tables: dict[str, Table] = {}
    every, one_group = np.arange(len(is_true)), np.zeros(len(is_true), int)
    for k, hits in hits_at.items():
        by_class = {"": hits.of_class, "any_": hits.of_any[rows]}
        if k == 1:
            for name, values in by_class.items():
                tables[f"{name}top_1_norm"] = tabulate(values, rows, classes, num_classes)
        tables[f"top_{k}"] = tabulate(hits.of_class, rows, np.zeros_like(rows), 1)
        tables[f"any_top_{k}"] = tabulate(hits.of_any, every, one_group, 1)
    return tables


def group_mean(hits: Float[np.ndarray, "*R G"], counts: Float[np.ndarray, "*R G"]) -> Float[np.ndarray, "*R"]:
    """Mean over the groups that have a count of hits over counts; NaN without any."""
    is_counted = counts > 0
    shares = np.divide(hits, counts, out=np.zeros_like(hits), where=is_counted).sum(axis=-1)
    num_groups = is_counted.sum(axis=-1)
    return np.divide(shares, num_groups, out=np.full_like(shares, np.nan), where=num_groups > 0)
