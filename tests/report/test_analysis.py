from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.analysis.table3 import printed_table
from langpose_dist.report.analysis import draw_curve, draw_table3


def test_every_action_is_a_point_in_every_panel(tmp_path: Path) -> None:
    table = printed_table()
    table["rows"]["Eating"]["visibility"] = None
    figure = draw_table3(tmp_path / "table3.png", table)
    assert [len(axes.texts) for axes in figure.axes] == [15, 15, 14]
    assert figure.axes[2].get_title() == "Spearman -0.60 [-0.86, -0.08], p 0.018, n 15"
    assert (tmp_path / "table3.png").stat().st_size > 10_000


CURVE: dict[str, Any] = {
    "clip": "clip $1$ <b>",
    "name": "ours",
    "labels": ["sit down", "stand up"],
    "temperature": 0.07,
    "span_s": 1.0,
    "is_isolated": False,
    "times_s": [0.0, 0.5, 1.0, 1.5],
    "probabilities": {"sit down": [0.9, 0.8, 0.3, 0.1], "stand up": [0.1, 0.2, 0.7, 0.9]},
    "cosines": {"sit down": [0.5, 0.4, 0.1, 0.0], "stand up": [0.0, 0.1, 0.3, 0.5]},
    "true_spans": [
        {"label": "sit down", "start_s": 0.0, "end_s": 1.0},
        {"label": "breathe in_{", "start_s": 0.0, "end_s": 2.0},
        {"label": "stand up", "start_s": 1.0, "end_s": 2.0},
    ],
    "figures": [
        {"time_s": time, "keypoints_2d": [[0.01 * joint, 0.02 * joint, 1.0] for joint in range(17)]}
        for time in (0.25, 1.25)
    ],
}


def test_labels_over_time_are_the_same_bytes_whenever_they_are_drawn(tmp_path: Path) -> None:
    figure = draw_curve(tmp_path / "a.svg", CURVE)
    draw_curve(tmp_path / "b.svg", CURVE)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = (tmp_path / "a.svg").read_text()
    for shown in ("temperature 0.07", "sit down", "breathe in_{", "clip $1$ &lt;b&gt;", "ours: 1 s"):
        assert shown in text
    probabilities, _, spans, figures = figure.axes[:4]
    np.testing.assert_allclose(
        np.asarray(probabilities.lines[1].get_ydata()), CURVE["probabilities"]["stand up"]
    )
    # Spans that overlap stand in two rows; those of the labels that are compared are bands above, too.
    rows = {text.get_text().strip(): text.get_position()[1] for text in spans.texts}
    assert rows == {"sit down": 0, "breathe in_{": 1, "stand up": 0}
    assert len(probabilities.patches) == 2
    assert [len(moment.lines) for moment in figures.child_axes] == [16, 16]


def test_labels_over_time_of_a_clip_without_labels(tmp_path: Path) -> None:
    draw_curve(tmp_path / "curve.png", {**CURVE, "true_spans": []})
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
