"""Means, improvements and tables of made-up errors."""

import csv
import io

import numpy as np
import pytest

from langpose_dist.evaluation.comparison import Scored, improvement, summarise
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.measure import RecordingScore, join_windows
from langpose_dist.evaluation.protocols import PROTOCOLS
from langpose_dist.evaluation.tables import as_csv, as_latex, as_text

PROTOCOL = PROTOCOLS["motionbert"]


def scored(name: str, errors: list[tuple[str, int, float]]) -> Scored:
    """One model; (action, frames, error) of each recording."""
    scores = tuple(
        RecordingScore(f"clip{number}", group, frames, dict.fromkeys(PROTOCOL.metrics, (error, frames)))
        for number, (group, frames, error) in enumerate(errors)
    )
    facts = {"checkpoint_chosen_on": "nothing"}
    return Scored(Contender(name, None, "image_25d", 243, None, None, facts), scores)


BASELINE = [("walking", 100, 40.0), ("walking", 300, 60.0), ("sitting", 50, 100.0)]
BETTER = [("walking", 100, 39.0), ("walking", 300, 57.0), ("sitting", 50, 98.0)]


def test_frames_weigh_within_an_action_and_actions_weigh_alike() -> None:
    summary = summarise(scored("a", BASELINE), PROTOCOL)
    assert summary["actions"]["walking"]["mpjpe_mm"] == pytest.approx(55.0)
    assert summary["action_mean"]["mpjpe_mm"] == pytest.approx((55.0 + 100.0) / 2)
    assert summary["frame_mean"]["mpjpe_mm"] == pytest.approx((4000 + 18000 + 5000) / 450)
    assert (summary["num_recordings"], summary["num_frames"]) == (3, 450)


def test_an_improvement_is_the_baselines_error_less_the_models() -> None:
    found = improvement(scored("a", BASELINE), scored("b", BETTER), PROTOCOL, "mpjpe_mm")
    assert found["actions"] == pytest.approx({"walking": (100 + 900) / 400, "sitting": 2.0})
    assert found["mean"] == pytest.approx((2.5 + 2.0) / 2)
    assert 1.0 <= found["low"] < found["mean"] < found["high"] <= 3.0


def test_a_score_that_rises_improves_when_it_rises() -> None:
    one, other = scored("a", BASELINE), scored("b", BETTER)
    for part in (one, other):
        for score in part.scores:
            score.values["pck_3dhp"] = score.values["mpjpe_mm"]  # type: ignore[index]
    assert improvement(one, other, PROTOCOL, "pck_3dhp")["mean"] == pytest.approx(-2.25)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(0)
    errors = [
        ("walking", int(frames), float(error))
        for frames, error in zip(rng.integers(50, 200, 30), rng.normal(50, 5, 30), strict=True)
    ]
    changed = [(group, frames, error - float(rng.normal(1, 2))) for group, frames, error in errors]
    found = improvement(scored("a", errors), scored("b", changed), PROTOCOL, "mpjpe_mm")
    frames = np.array([one[1] for one in errors])
    gains = np.array([one[2] - other[2] for one, other in zip(errors, changed, strict=True)])
    samples = []
    for _ in range(4000):
        drawn = rng.integers(0, 30, 30)
        samples.append(np.average(gains[drawn], weights=frames[drawn]))
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=0.15)


def test_equal_models_differ_by_nothing() -> None:
    found = improvement(scored("a", BASELINE), scored("b", BASELINE), PROTOCOL, "p_mpjpe_mm")
    assert (found["mean"], found["low"], found["high"]) == (0.0, 0.0, 0.0)


def report() -> dict[str, object]:
    models = [scored("a_b", BASELINE), scored("c", BETTER)]
    data = {
        "dataset": "made-up",
        "split": "test",
        "fps": 50.0,
        "fingerprint": "f" * 64,
        "num_recordings": 3,
        "num_frames": 450,
        "excluded": {"drifting": ["x"]},
        "source_2d": "stored: made up",
    }
    return {
        "protocol": PROTOCOL.describe(),
        "data": data,
        "commit": "c" * 40,
        "commit_dirty": "false",
        "models": [summarise(one, PROTOCOL) for one in models],
        "improvements": [improvement(models[0], models[1], PROTOCOL, "mpjpe_mm")],
    }


def test_text_names_protocol_space_data_and_what_was_left_out() -> None:
    text = as_text(report())
    lines = text.splitlines()
    assert lines[0].split() == ["MPJPE", "(mm)", "a_b", "c"]
    assert lines[1].split() == ["sitting", "100.0", "98.0"]
    assert lines[3].split() == ["mean", "over", "actions", "77.5", "75.2"]
    assert "c on a_b: MPJPE better by +2.25 mm (95 % over recordings:" in text
    for part in (
        "image_25d",
        "left out: 1 drifting",
        "flip averaging on",
        "f" * 16,
        "stored: made up",
        "c" * 12,
    ):
        assert part in text, part


def test_text_names_uncommitted_changes_only_where_there_are_some() -> None:
    assert "uncommitted" not in as_text(report())
    assert "with uncommitted changes" in as_text({**report(), "commit_dirty": "true"})


def test_csv_repeats_what_identifies_each_number() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(report()))))
    row = next(
        row for row in rows if (row["model"], row["metric"], row["over"]) == ("c", "mpjpe_mm", "actions")
    )
    assert float(row["value"]) == pytest.approx(75.25)
    assert (row["protocol"], row["space"], row["commit"]) == ("motionbert", "image_25d", "c" * 40)


def test_latex_has_a_row_per_model_and_escapes_names() -> None:
    lines = as_latex(report()).splitlines()
    assert r"a\_b & 100.0 & 55.0 & 77.5 & 60.0 \\" in lines


def test_windows_of_a_recording_are_joined_by_their_frames() -> None:
    windows = [
        RecordingScore("a", "walking", 2, {"mpjpe_mm": (10.0, 2), "mpjve_mm": (1.0, 1)}),
        RecordingScore("b", "walking", 5, {"mpjpe_mm": (7.0, 5)}),
        RecordingScore("a", "walking", 1, {"mpjpe_mm": (40.0, 1)}),
    ]
    joined = join_windows(windows)
    assert [(score.key, score.num_frames) for score in joined] == [("a", 3), ("b", 5)]
    assert joined[0].values == {"mpjpe_mm": (20.0, 3), "mpjve_mm": (1.0, 1)}
