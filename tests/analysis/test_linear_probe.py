from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from langpose_dist.analysis import linear_probe
from langpose_dist.analysis.linear_probe import fit_probe
from langpose_dist.config import UserError


def clouds(num_classes: int, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Twelve points around each of some centres, on unequal scales; and their classes."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(num_classes), 12)
    centres = rng.normal(size=(num_classes, 6))
    points = centres[classes] + spread * rng.normal(size=(len(classes), 6))
    return points * [1, 10, 100, 1, 0.01, 1], classes


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_probe_is_logistic_regression_on_standardised_features(num_classes: int) -> None:
    points, classes = clouds(num_classes, spread=1.0)
    probe = fit_probe(points, np.eye(num_classes, dtype=bool)[classes], np.arange(len(points)), 0)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=probe.c, max_iter=5000)).fit(points, classes)
    scores = probe(points)
    np.testing.assert_array_equal(scores.argmax(axis=1), plain.predict(points))
    odds = scores - scores[:, :1]
    expected = plain.predict_log_proba(points)
    np.testing.assert_allclose(odds, expected - expected[:, :1], rtol=1e-3, atol=1e-3)


def test_features_that_say_nothing_get_the_strongest_regularisation_and_clear_ones_the_weakest() -> None:
    points, classes = clouds(3, spread=0.05)
    is_true, clips = np.eye(3, dtype=bool)[classes], np.arange(len(points))
    assert fit_probe(points, is_true, clips, 0).c == linear_probe.INVERSE_REGULARISATION[-1]
    noise = np.random.default_rng(3).normal(size=points.shape)
    assert fit_probe(noise, is_true, clips, 0).c == linear_probe.INVERSE_REGULARISATION[0]


def test_a_class_without_a_training_sample_is_never_the_answer() -> None:
    points, classes = clouds(3)
    probe = fit_probe(points, np.eye(5, dtype=bool)[classes], np.arange(len(points)), 0)
    assert np.isneginf(probe(points)[:, 3:]).all()
    assert (probe(points).argmax(axis=1) == classes).all()


def test_a_constant_feature_does_no_harm() -> None:
    points, classes = clouds(3)
    points[:, 2] = 7.0
    probe = fit_probe(points, np.eye(3, dtype=bool)[classes], np.arange(len(points)), 0)
    assert np.isfinite(probe(points)).all()


def test_the_regularisation_is_chosen_on_whole_clips_that_the_fit_does_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clips = np.repeat(np.arange(20), 6)
    points, is_true = clips[:, None].astype(float), np.eye(2, dtype=bool)[clips % 2]
    fit, seen = linear_probe._fit, []

    def record(samples: np.ndarray, *rest: Any) -> linear_probe.LinearProbe:
        seen.append(sorted(samples[:, 0].tolist()))
        return fit(samples, *rest)

    monkeypatch.setattr(linear_probe, "_fit", record)
    fit_probe(points, is_true, clips, 0)
    *tries, last = seen
    assert len(tries) == len(linear_probe.INVERSE_REGULARISATION)
    assert last == clips.tolist()
    for some in tries:
        assert some == tries[0]
        kept = set(some)
        assert len(kept) == 16
        assert some == [clip for clip in clips if clip in kept]


def test_one_class_is_too_few() -> None:
    points, classes = clouds(1)
    with pytest.raises(UserError, match="has 12 clips and 1 of the 2 classes, too few"):
        fit_probe(points, np.eye(2, dtype=bool)[classes], np.arange(12), 0)
