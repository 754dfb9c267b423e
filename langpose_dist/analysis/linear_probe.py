"""Linear probe: multinomial logistic regression on frozen features."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp

from langpose_dist.config import UserError

INVERSE_REGULARISATION = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Tried values of scikit-learn's C."""
HELD_OUT_SHARE = 0.2
"""Share of the clips that chooses among them."""
_MAX_ITERATIONS = 5000


@dataclass(frozen=True)
class LinearProbe:
    """Scores of C classes, those without a training sample at minus infinity."""

    mean: Float[np.ndarray, "D"]
    std: Float[np.ndarray, "D"]
    weights: Float[np.ndarray, "C D"]
    bias: Float[np.ndarray, "C"]
    c: float
    """Inverse regularisation."""

    def __call__(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
        return (features - self.mean) / self.std @ self.weights.T + self.bias


def fit_probe(
    features: Float[np.ndarray, "N D"],
    is_true: Bool[np.ndarray, "N C"],
    clips: Int[np.ndarray, "N"],
    seed: int,
) -> LinearProbe:
    """Fit on all samples, one for each class of a chunk, as regularised as suits a fifth of the clips best.

    Raises:
        UserError: If there are fewer than two classes or clips.
    """
    rows, classes = np.nonzero(is_true)
    names = np.random.Generator(np.random.Philox(key=seed)).permutation(np.unique(clips))
    is_held = np.isin(clips[rows], names[: max(round(HELD_OUT_SHARE * len(names)), 1)])
    if len(np.unique(classes[~is_held])) < 2:
        raise UserError(
            f"the training split has {len(names)} clips and {len(np.unique(classes))} of the "
            f"{is_true.shape[1]} classes, too few for a linear probe; give --method text, --classes labels, "
            "or another --train-split"
        )
    samples = features[rows].astype(float)
    losses = []
    for c in INVERSE_REGULARISATION:
        probe = _fit(samples[~is_held], classes[~is_held], is_true.shape[1], c)
        losses.append(_cross_entropy(probe(samples[is_held]), classes[is_held]))
    return _fit(samples, classes, is_true.shape[1], INVERSE_REGULARISATION[int(np.argmin(losses))])


def _cross_entropy(scores: Float[np.ndarray, "S C"], classes: Int[np.ndarray, "S"]) -> float:
    """Mean over the samples of classes that have a score."""
    own = scores[np.arange(len(scores)), classes]
    values = (logsumexp(scores, axis=1) - own)[np.isfinite(own)]
    return float(values.mean()) if len(values) else 0.0


def _fit(
    samples: Float[np.ndarray, "S D"], classes: Int[np.ndarray, "S"], num_classes: int, c: float
) -> LinearProbe:
    from sklearn.linear_model import LogisticRegression

    mean, std = samples.mean(axis=0), samples.std(axis=0)
    std[std == 0] = 1.0
    model = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS).fit((samples - mean) / std, classes)
    weights, bias = np.zeros((num_classes, samples.shape[1])), np.full(num_classes, -np.inf)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one row, of the second against the first
        coefficients, intercepts = np.eye(2)[:, 1:] * coefficients, np.array([0.0, 1.0]) * intercepts
    weights[model.classes_], bias[model.classes_] = coefficients, intercepts
    return LinearProbe(mean, std, weights, bias, c)
