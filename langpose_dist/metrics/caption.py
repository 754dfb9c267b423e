"""How near generated captions come to those that people wrote: BLEU, ROUGE-L and CIDEr-D.

Both sides go through ``normalise_caption``: the same sentences differ by 20 points of CIDEr between forms of
the text. Scores are those of coco-caption and nlg-eval, times 100.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from langpose_dist.metrics.table import TEXT_FORM as TEXT_FORM

MAX_ORDER = 4
"""Words of the longest n-gram that is compared."""
_ROUGE_BETA = 1.2
_CIDER_SIGMA = 6.0


def normalise_caption(text: str) -> str:
    """Words of a caption, with single blanks between: the form ``TEXT_FORM``."""
    return " ".join(re.sub("[^a-z0-9']+", " ", unicodedata.normalize("NFKC", text).lower()).split())


@dataclass(frozen=True)
class CaptionScores:
    """Scores of N captions, kept so that those of any part or resample of them follow."""

    matches: Float[np.ndarray, "N 4"]
    """N-grams of each order that a reference holds too."""
    ngrams: Float[np.ndarray, "N 4"]
    lengths: Float[np.ndarray, "N 2"]
    """Words of the caption, and of the reference nearest in length."""
    rouge_l: Float[np.ndarray, "N"]
    cider_d: Float[np.ndarray, "N"]

    @classmethod
    def compute(cls, captions: Sequence[str], references: Sequence[Sequence[str]]) -> Self:
        """Score captions, each against all references of its clip.

        Args:
            captions: One per clip, in any form.
            references: One or more per clip. How rare an n-gram is, which CIDEr-D weighs by, is counted over
                all of them: the scores of a part are not those of the part alone.

        Raises:
            ValueError: If a clip has no reference.
        """
        candidates = [normalise_caption(caption) for caption in captions]
        truths = [[normalise_caption(text) for text in texts] for texts in references]
        if not all(truths):
            raise ValueError(f"caption {[bool(texts) for texts in truths].index(False)} has no reference")
        bleu = [_bleu_counts(one, texts) for one, texts in zip(candidates, truths, strict=True)]
        matches, ngrams, lengths = (np.array(part, float) for part in zip(*bleu, strict=True))
        rouge = [rouge_l(one, texts) for one, texts in zip(candidates, truths, strict=True)]
        return cls(matches, ngrams, lengths, np.array(rouge), np.array(list(_cider_d(candidates, truths))))

    def means(self, weights: Float[np.ndarray, "R N"] | None = None) -> Mapping[str, Float[np.ndarray, "R"]]:
        """Metric -> score over the captions; ``weights`` says how often each resample holds each of them.

        BLEU is the corpus's, from summed counts, and not the mean of single captions.
        """
        if weights is None:
            weights = np.ones((1, len(self.rouge_l)))
        matches, ngrams, lengths = (weights @ part for part in (self.matches, self.ngrams, self.lengths))
        with np.errstate(divide="ignore", invalid="ignore"):
            precisions = np.where(matches > 0, np.log(matches / ngrams), -np.inf)
            brevity = np.minimum(0.0, 1 - lengths[:, 1] / lengths[:, 0])
        found = {
            f"bleu_{order}": 100 * np.exp(brevity + precisions[:, :order].mean(axis=1))
            for order in range(1, MAX_ORDER + 1)
        }
        total = weights.sum(axis=1)
        return found | {
            "rouge_l": 100 * (weights @ self.rouge_l) / total,
            "cider_d": 100 * (weights @ self.cider_d) / total,
        }


def best_constant(captions: Sequence[str], references: Sequence[Sequence[str]]) -> str:
    """The caption with the best corpus BLEU@4 as the answer to every clip; the first of equal ones.

    Args:
        captions: One or more, in any form.
        references: One or more per clip.
    """
    width = max(map(len, references))
    columns = [
        [normalise_caption(texts[place]) if place < len(texts) else None for texts in references]
        for place in range(width)
    ]
    scorer = _bleu(effective_order=False, references=columns)
    return max(
        captions,
        key=lambda text: scorer.corpus_score([normalise_caption(text)] * len(references), None).score,
    )


def bleu_signature() -> str:
    """Settings of BLEU, as sacrebleu writes them; clips have different numbers of references."""
    scorer = _bleu(effective_order=False)
    references: Any = [["a", "a"], ["a", None]]
    scorer.corpus_score(["a", "a"], references)  # it knows its signature only afterwards
    return str(scorer.get_signature())


def rouge_l(caption: str, references: Sequence[str]) -> float:
    """F-measure, from 0 to 1, of the longest common subsequence of words.

    Precision and recall are each the best of the references, and not of one of them: coco-caption's way.

    Source:
        Lin, 2004.
    """
    words = caption.split()
    common = [(_common_words(words, text.split()), len(text.split())) for text in references]
    precision = max((n / len(words) for n, _ in common), default=0.0) if words else 0.0
    recall = max((n / length for n, length in common if length), default=0.0)
    if not precision * recall:
        return 0.0
    squared = _ROUGE_BETA**2
    return (1 + squared) * precision * recall / (recall + squared * precision)


def _bleu(*, effective_order: bool, references: Any = None):
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(
        tokenize="none",
        smooth_method="none",
        effective_order=effective_order,
        force=True,
        references=references,
    )


def _bleu_counts(caption: str, references: Sequence[str]) -> tuple[list[int], list[int], tuple[int, int]]:
    found = _bleu(effective_order=True).sentence_score(caption, references)
    return found.counts, found.totals, (found.sys_len, found.ref_len)


def _common_words(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = row
        row = [0]
        for place, other in enumerate(second):
            row.append(before[place] + 1 if word == other else max(row[place], before[place + 1]))
    return row[-1]


def _ngrams(text: str) -> list[Counter[tuple[str, ...]]]:
    words = text.split()
    return [
        Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))
        for order in range(1, MAX_ORDER + 1)
    ]


def _cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Iterator[float]:
    """Mean similarity of n-grams weighed by rarity, from 0 to 10; 0 where there is one clip alone.

    Source:
        Vedantam et al., CVPR 2015; as in coco-caption, where a text's length counts its bigrams.
    """
    truths = [[_ngrams(text) for text in texts] for texts in references]
    clips_with = Counter(
        gram for texts in truths for gram in {gram for text in texts for grams in text for gram in grams}
    )

    def weigh(grams: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
        return {n: k * (math.log(len(truths)) - math.log(max(1, clips_with[n]))) for n, k in grams.items()}

    for caption, texts in zip(captions, truths, strict=True):
        grams = _ngrams(caption)
        weighed = [weigh(one) for one in grams]
        total = 0.0
        for text in texts:
            apart = grams[1].total() - text[1].total()
            penalty = math.exp(-(apart**2) / (2 * _CIDER_SIGMA**2))
            total += penalty * sum(map(_clipped_cosine, weighed, map(weigh, text)))
        yield 10 * total / (len(texts) * MAX_ORDER)


def _clipped_cosine(first: Mapping[tuple[str, ...], float], second: Mapping[tuple[str, ...], float]) -> float:
    product = sum(min(value, second[gram]) * second[gram] for gram, value in first.items() if gram in second)
    norm = math.hypot(*first.values()) * math.hypot(*second.values())
    return product / norm if norm else 0.0
