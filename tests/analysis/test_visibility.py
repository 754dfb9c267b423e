from pathlib import Path

import numpy as np
import pytest

from langpose_dist.analysis.supplement import PRINTED
from langpose_dist.analysis.text import visibility_text
from langpose_dist.analysis.visibility import measure_visibility
from langpose_dist.config import UserError
from tests.analysis.motions import build_motions, perform, seen_by
from tests.corpus import build_samples


def build_seen(root: Path, *confidences: np.ndarray | float) -> str:
    samples = [
        seen_by("front", perform(f"{action}{n}", action, seconds=1 + n), values)
        for n, values in enumerate(confidences)
        for action in ("walk", "run")
    ]
    build_samples(root, samples)
    return str(root)


def test_shares_by_action_and_joint_above_the_threshold(tmp_path: Path) -> None:
    half = np.full((60, 17), 0.6, np.float32)  # at the threshold is not above it
    half[:30, :5] = 0.61
    root = build_seen(tmp_path, 0.9, half)  # 30 frames that are seen, 60 with 5 joints in half of them
    report = measure_visibility(root, "train")
    run = report["actions"]["run"]
    assert run["num_frames"] == 90
    assert run["share"] == pytest.approx((30 * 17 + 30 * 5) / (90 * 17))
    assert run["joints"]["pelvis"] == pytest.approx(60 / 90)
    assert run["joints"]["right_wrist"] == pytest.approx(30 / 90)
    assert report["constant_joints"] == []
    text = visibility_text(report)
    assert "share of joints and frames with a confidence above 0.6 (at it is not above)" in text
    assert "2D: stored: sh" in text


def test_the_mean_is_that_of_the_actions_not_of_the_frames(tmp_path: Path) -> None:
    samples = [
        seen_by("front", perform("a", "walk", seconds=1), 0.9),
        seen_by("front", perform("b", "run", seconds=9), 0.1),
    ]
    build_samples(tmp_path, samples)
    assert measure_visibility(str(tmp_path), "train")["action_mean"] == 0.5


def test_the_printed_mean_is_such_a_mean() -> None:
    assert np.mean([row.visibility for row in PRINTED.values()]) == pytest.approx(0.928, abs=5e-4)


def test_joints_that_the_detector_does_not_find_are_named(tmp_path: Path) -> None:
    values = np.linspace(0.2, 0.9, 30 * 17, dtype=np.float32).reshape(30, 17)
    values[:, 0] = 1.0
    report = measure_visibility(build_seen(tmp_path, values), "train")
    assert report["constant_joints"] == ["pelvis"]
    assert "one confidence throughout, so not the detector's own: pelvis" in visibility_text(report)


def test_data_without_confidences_are_refused(tmp_path: Path) -> None:
    root = build_seen(tmp_path, 1.0)
    with pytest.raises(UserError, match=r"all of split 'train' are 1 \(2D: stored: sh\)"):
        measure_visibility(root, "train")


def test_data_without_2d_joints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="clip train-walk0 of split 'train' has no 2D joints of its own"):
        measure_visibility(build_motions(tmp_path, 1), "train")
