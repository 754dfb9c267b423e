"""Curves of made-up models, against plain sums and areas worked out by hand."""

import csv
import io
import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from langpose_dist.config import UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.evaluation.comparison import Scored, compare, score_all
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.evaluation.corruption_table import CORRUPTIONS, Level, find_corruptions
from langpose_dist.evaluation.corruptions import corrupt
from langpose_dist.evaluation.measure import RecordingScore
from langpose_dist.evaluation.protocols import PROTOCOLS, Protocol
from langpose_dist.evaluation.recordings import protocol_config, read_recordings
from langpose_dist.evaluation.robustness import (
    PARTS,
    Curves,
    add_robustness,
    area,
    measure_curves,
    summarise_curves,
)
from langpose_dist.evaluation.tables import as_csv, as_latex, as_text
from langpose_dist.evaluation.visibility import add_visibility, check_confidences, measure_visibility
from langpose_dist.report.robustness import draw_robustness
from tests.corpus import MadeClip, build_corpus, build_samples, tiny_config

STORED = Protocol(name="stored", title="2D joints of the tests' corpus", space="camera", flip_averaging=False)


class Echo(nn.Module):
    """Takes the picture for the pose: x and y times a factor, z = 0."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
        return keypoints_2d * keypoints_2d.new_tensor([1, 1, 0]) * self.factor


def echo(name: str, factor: float) -> Contender:
    return Contender(name, Echo(factor), "camera", 9, None, None, {"checkpoint_chosen_on": "nothing"})


def open_scored(
    root: Path, protocol: Protocol, *contenders: Contender
) -> tuple[list[Scored], Corpus, dict[str, Any]]:
    config = protocol_config(tiny_config(root), protocol, "validation")
    scored, corpus = score_all(contenders, protocol, config)
    return scored, corpus, compare(scored, protocol, corpus, {"commit": "0" * 40, "commit_dirty": "false"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    build_corpus(folder, is_recorded=True)
    return folder


def plain_errors(corpus: Corpus, key: str, level: Any, factor: float) -> dict[str, float | None]:
    """Mean over actions of the echo's error, from the corrupted input itself."""
    sums: dict[str, dict[str, list[float]]] = {part: defaultdict(list) for part in PARTS}
    for recording in read_recordings(corpus, STORED, "validation"):
        clean = recording.keypoints_2d.numpy()
        given, mask = corrupt(CORRUPTIONS[key], level, clean, recording.entry.key)
        guess = np.concatenate((factor * given[..., :2], np.zeros_like(given[..., :1])), axis=-1)
        guess = guess - guess[:, :1]
        errors = 1000 * np.sqrt(((guess - recording.poses_3d.numpy()) ** 2).sum(axis=-1))
        joints = {PARTS[0]: errors, PARTS[1]: errors[mask], PARTS[2]: errors[~mask]}
        for part, values in joints.items():
            sums[part][str(recording.entry.action)] += [float(value) for value in values.ravel()]
    return {
        part: float(np.mean([np.mean(values) for values in groups.values() if values]))
        if any(groups.values())
        else None
        for part, groups in sums.items()
    }


@pytest.mark.parametrize(
    ("key", "level"),
    [("noise_px/told", 20), ("drop_joints/hold", 0.3), ("swap_lr/legs", 5), ("hide_limb/zero", "lower_body")],
)
def test_errors_are_those_of_a_plain_sum(root: Path, key: str, level: Any) -> None:
    rows = find_corruptions([key])
    scored, corpus, report = open_scored(root, STORED, echo("one", 2.0), echo("two", 2.5))
    add_robustness(report, scored, STORED, corpus, rows)
    (curve,) = report["robustness"]["curves"]
    place = curve["levels"].index(level)
    for model, factor in zip(curve["models"], (2.0, 2.5), strict=True):
        expected = plain_errors(corpus, key, level, factor)
        found = {part: model[part][place] for part in PARTS}
        assert found == {
            part: value if value is None else pytest.approx(value, rel=1e-5)
            for part, value in expected.items()
        }
    for model, plain in zip(curve["models"], report["models"], strict=True):
        assert model["clean_input"] == pytest.approx(plain["action_mean"]["mpjpe_mm"], rel=1e-6)


def test_two_models_see_the_same_input_which_is_not_clean(root: Path) -> None:
    seen: dict[str, list[Tensor]] = {"one": [], "two": []}

    class Spy(Echo):
        def __init__(self, name: str) -> None:
            super().__init__(1.0)
            self.name = name

        def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
            seen[self.name].append(keypoints_2d.clone())
            return super().lift_windows(keypoints_2d)

    facts = {"checkpoint_chosen_on": "nothing"}
    contenders = [Contender(name, Spy(name), "camera", 9, None, None, facts) for name in seen]
    scored, corpus, _ = open_scored(root, STORED, *contenders)
    for some in seen.values():
        some.clear()
    for one in scored:
        measure_curves(one, STORED, corpus, find_corruptions([]))
    assert len(seen["one"]) == len(seen["two"]) > 54
    assert all(map(torch.equal, seen["one"], seen["two"]))


def score(number: int, group: str, all_joints: float, corrupted: float | None = None) -> RecordingScore:
    """One recording of 10 joints, of which 2 are corrupted if any is."""
    all_joints = float(all_joints)
    values = {"all_joints": (all_joints, 10), "intact_joints": (all_joints, 10)}
    if corrupted is not None:
        intact = (10 * all_joints - 2 * corrupted) / 8
        values |= {"corrupted_joints": (corrupted, 2), "intact_joints": (intact, 8)}
    return RecordingScore(f"clip{number}", group, 1, values)


def made_up(name: str, clean: tuple[float, ...], *levels: tuple[float, ...]) -> Curves:
    """Three recordings, two of them of one action, at the levels of low_fps."""

    def scores(errors: tuple[float, ...], corrupted: float | None) -> tuple[RecordingScore, ...]:
        return tuple(
            score(number, group, error, corrupted)
            for number, (group, error) in enumerate(zip(("walk", "walk", "sit"), errors, strict=True))
        )

    key = "low_fps/repeat"
    found: dict[tuple[str, Level], tuple[RecordingScore, ...]] = {
        (key, every): scores(errors, 90.0) for every, errors in zip((2, 3, 5), levels, strict=True)
    }
    return Curves(name, scores(clean, None), found)


CURVES = [
    made_up("a", (40, 60, 30), (50, 70, 40), (60, 80, 50), (90, 110, 80)),
    made_up("b", (38, 58, 28), (46, 66, 36), (54, 74, 44), (78, 98, 68)),
]


def summary() -> dict[str, Any]:
    section = summarise_curves(CURVES, STORED, find_corruptions(["low_fps/repeat"]), 50.0)
    return section["curves"][0]


def test_a_curve_begins_with_clean_input_and_its_area_is_its_mean_height() -> None:
    curve = summary()
    first, second = curve["models"]
    assert curve["levels"] == [1, 2, 3, 5]
    assert first["all_joints"] == pytest.approx([40, 50, 60, 90])  # walking 50 and sitting 30 make 40
    assert first["clean_input"] == pytest.approx(40)
    assert first["corrupted_joints"] == [None, *(pytest.approx(90),) * 3]
    assert first["intact_joints"][0] == pytest.approx(40)
    # Trapezoids: 45 over 1, 55 over 1, 75 over 2, of a range of 4.
    assert first["area"] == pytest.approx((45 + 55 + 150) / 4)
    assert second["area"] == pytest.approx(((38 + 46) / 2 + (46 + 54) / 2 + 54 + 78) / 4)


def test_a_gain_that_all_recordings_share_has_no_spread() -> None:
    (gain,) = summary()["improvements"]
    assert (gain["model"], gain["baseline"]) == ("b", "a")
    for place, expected in enumerate((2, 4, 6, 12)):
        assert [*gain["levels"][place].values()] == pytest.approx([expected] * 3)
    assert [*gain["area"].values()] == pytest.approx([(3 + 5 + 2 * 9) / 4] * 3)


def test_the_area_of_categories_is_their_mean() -> None:
    values = np.array([[1.0, 2.0, 3.0, 4.0, 10.0], [0.0, 0.0, 0.0, 0.0, 5.0]])
    np.testing.assert_allclose(area(CORRUPTIONS["hide_limb/zero"], values), [4.0, 1.0])


def test_the_area_of_a_flat_curve_is_its_height() -> None:
    for row in CORRUPTIONS.values():
        num_levels = len(row.levels) + (row.clean_level is not None)
        assert area(row, np.full(num_levels, 7.0)) == pytest.approx(7.0)


def test_lengths_are_told_in_seconds_too() -> None:
    (row,) = find_corruptions(["drop_frames/gap"])
    one = CURVES[0]
    curves = Curves("a", one.clean, {(row.key, level): one.clean for level in row.levels})
    (curve,) = summarise_curves([curves], STORED, [row], 50.0)["curves"]
    assert curve["levels"] == [0, 5, 15, 30, 60]
    assert curve["seconds"] == pytest.approx([0, 0.1, 0.3, 0.6, 1.2])
    assert "seconds" not in summary()


def test_models_of_different_cameras_are_not_subtracted() -> None:
    section = summarise_curves(CURVES, PROTOCOLS["cross_camera"], find_corruptions(["low_fps/repeat"]), 50.0)
    assert section["curves"][0]["improvements"] == []


@pytest.fixture(scope="module")
def report(root: Path) -> dict[str, Any]:
    scored, corpus, report = open_scored(root, STORED, echo("one_1", 2.0), echo("two", 2.5))
    add_visibility(report, scored, STORED, corpus)
    add_robustness(report, scored, STORED, corpus, find_corruptions([]))
    return report


def test_tables_hold_every_level_and_nothing_that_is_not_a_number(report: dict[str, Any]) -> None:
    text, latex = as_text(report), as_latex(report)
    rows = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert all(math.isfinite(float(row["value"])) for row in rows)
    values = {(row["model"], row["over"]): float(row["value"]) for row in rows}
    curve = report["robustness"]["curves"][1]
    told = curve["models"][0]
    assert curve["variant"] == "told"
    assert values["one_1", "robustness v1/noise_px/told/5 px/corrupted_joints"] == pytest.approx(
        told["corrupted_joints"][2]
    )
    assert values["one_1", "robustness v1/noise_px/told/area/all_joints"] == pytest.approx(told["area"])
    assert f"{told['all_joints'][2]:.1f}" in text
    for key in CORRUPTIONS:
        assert f"{key}: " in text
        assert f"% {key}: " in latex
    assert "two on one_1: better by" in text
    assert r"one\_1 & " + " & ".join(f"{value:.1f}" for value in told["all_joints"]) in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2 + len(CORRUPTIONS)
    assert "nan" not in (text + latex).lower()


def test_a_picture_has_a_panel_for_every_corruption(report: dict[str, Any], tmp_path: Path) -> None:
    figure = draw_robustness(tmp_path / "curves.png", report["robustness"])
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == [
        *("noise_px", "drop_joints", "drop_frames, random", "drop_frames, gap", "hide_limb, zero"),
        *("swap_lr", "low_fps"),
    ]
    noise = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    told = report["robustness"]["curves"][1]["models"][1]["all_joints"]
    assert len(noise) == 4  # two models, blind and told
    np.testing.assert_allclose(np.asarray(noise[3].get_ydata(), dtype=float), told)
    limbs = [line for line in figure.axes[4].lines if line.get_marker() == "o"]
    assert {line.get_linestyle() for line in limbs} == {"None"}  # nothing lies between two limbs
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def detected(root: Path, confidences: np.ndarray | float) -> Path:
    """Two recordings with other confidences."""
    samples = [MadeClip(label, label, 21, is_recorded=True).load() for label in ("kick", "stand")]
    for sample in samples:
        assert sample.keypoints_2d is not None
        sample.keypoints_2d[..., 2] = confidences
    described = [
        replace(sample, meta={**sample.meta, "keypoints_2d": "cpn_ft_h36m_dbb"}) for sample in samples
    ]
    build_samples(root, described)
    return root


def test_joints_are_visible_above_a_confidence_of_0_6(tmp_path: Path) -> None:
    confidences = np.full(17, 0.6, np.float32)  # at the limit is not above it
    confidences[:5] = 0.7
    root = detected(tmp_path, confidences)
    scored, corpus, report = open_scored(root, STORED, echo("one", 2.0))
    add_visibility(report, scored, STORED, corpus)
    (model,) = report["visibility"]["models"]
    assert {found["visible_share"] for found in model["actions"].values()} == {5 / 17}
    visible, hidden = model["action_mean"]["visible_mpjpe_mm"], model["action_mean"]["not_visible_mpjpe_mm"]
    assert (5 * visible + 12 * hidden) / 17 == pytest.approx(report["models"][0]["action_mean"]["mpjpe_mm"])
    for one in measure_visibility(scored[0], STORED, corpus):
        assert [count for _, count in one.values.values()] == [5 * one.num_frames, 12 * one.num_frames]


def test_detections_without_confidences_are_refused_by_name(tmp_path: Path) -> None:
    config = protocol_config(tiny_config(detected(tmp_path, 1.0)), STORED, "validation")
    with pytest.raises(UserError, match=r"all of split 'validation' are 1 \(2D: stored: cpn_ft_h36m_dbb\)"):
        check_confidences(STORED, config)
