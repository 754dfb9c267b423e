import pytest

from langpose_dist.config import UserError
from langpose_dist.metrics.table import METRICS, Metric, add_metrics, higher_is_better, metric_of


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langpose_dist.metrics.table.METRICS", dict(METRICS))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r_at_1", True),
        ("validation/masked/r_at_3", True),
        ("clean/mpjpe_mm", False),
        ("mpjve_mm_s", False),
        ("median_rank", False),
        ("validation/clean/bleu_4", True),
        ("loss", False),
    ],
)
def test_recall_improves_upwards_and_errors_downwards(name: str, expected: bool) -> None:
    assert higher_is_better(name) == expected


@pytest.mark.parametrize("name", ["bleu_9", "masked/pck_150", "train/gradient_norm", ""])
def test_an_unknown_metric_has_no_direction(name: str) -> None:
    with pytest.raises(UserError, match="unknown metric"):
        higher_is_better(name)


def test_a_misspelt_metric_is_told_its_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'mpjpe_mm'"):
        metric_of("masked/mpjpe")


def test_the_unit_is_in_the_name() -> None:
    for row in METRICS.values():
        assert row.name.endswith({"mm": "_mm", "mm/s": "_mm_s"}.get(row.unit, ""))


@pytest.mark.usefixtures("table")
def test_a_task_adds_its_rows_once() -> None:
    row = Metric("speed_error_m_s", "speed error", "m/s", False, "mean absolute error")
    add_metrics([row])
    add_metrics([row])
    assert not higher_is_better("clean/speed_error_m_s")
    with pytest.raises(ValueError, match="another meaning"):
        add_metrics([Metric("mpjpe_mm", "MPJPE", "mm", True, "upside down")])
