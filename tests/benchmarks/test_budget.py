from pathlib import Path

import pytest

from benchmarks.budget import budget, table
from langpose_dist.config import build_config
from langpose_dist.models.summary import summarize

PAGE = Path(__file__).parents[2] / "docs/performance.md"


def test_the_page_holds_what_the_benchmark_prints() -> None:
    config = build_config({"model": {"stream": "bfloat16"}})
    assert table(budget(config, 16), 16, 764, 4.8) in PAGE.read_text(encoding="utf-8")


def test_operations_are_those_that_the_model_counts() -> None:
    config = build_config({"text": {"encoder": "./none"}})
    counted = sum(part.flops_step for part in summarize(config, 16).parts[:2])
    assert sum(part.flops for part in budget(config, 16)) == pytest.approx(counted, rel=2e-3)
