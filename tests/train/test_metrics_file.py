from pathlib import Path

from langpose_dist.train.metrics_file import MetricsFile, read_metrics


def test_lines_beyond_the_step_are_forgotten_and_known_ones_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in (1, 2, 3):
        first.append({"train/loss": 1.0 / step}, step)
    first.append({"validation/loss": 0.5}, 2)
    again = MetricsFile(path, step=2)
    again.append({"validation/loss": 0.5}, 2)
    again.append({"train/loss": 0.25}, 3)
    assert read_metrics(path) == [
        {"step": 1, "train/loss": 1.0},
        {"step": 2, "train/loss": 0.5},
        {"step": 2, "validation/loss": 0.5},
        {"step": 3, "train/loss": 0.25},
    ]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "train/loss": 2.0}\n{"step": 2, "trai', encoding="utf-8")
    assert read_metrics(path) == [{"step": 1, "train/loss": 2.0}]
    assert read_metrics(tmp_path / "none.jsonl") == []
