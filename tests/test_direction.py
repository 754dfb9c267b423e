import pytest

from langpose_dist.direction import is_more_better


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r_at_1", True),
        ("validation/masked/r_at_3", True),
        ("clean/mpjpe_mm", False),
        ("mpjve_mm_s", False),
        ("median_rank", False),
        ("loss", False),
    ],
)
def test_only_of_recall_more_is_better(name: str, expected: bool) -> None:
    assert is_more_better(name) == expected
