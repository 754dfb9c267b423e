import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pretraining import table
from tests.corpus import build_corpus, tiny_config

ROOT = Path(__file__).parents[2]


def run(form: str, mpjpe: float, recall: float | None) -> dict:
    condition = {"mpjpe_mm": mpjpe, "p_mpjpe_mm": mpjpe / 2}
    if recall is not None:
        condition |= {"r_at_1": recall, "r_at_3": recall}
    conditions = dict.fromkeys(("clean", "noisy", "masked"), condition)
    return {"contrastive": form, "evaluation": {"conditions": conditions}}


def test_the_table_gives_means_and_ranges_and_leaves_gaps() -> None:
    lines = table(
        [run("none", 90.0, None), run("modified", 80.0, 0.5), run("modified", 90.0, 0.25)]
    ).splitlines()
    assert lines[2].split("|")[2:6] == [" 90.0 ", " 90.0 ", " 90.0 ", " 45.0 "]
    assert lines[2].split("|")[6].strip() == "-"
    assert lines[3].split("|")[2].strip() == "85.0 (80.0-90.0)"
    assert lines[3].split("|")[6].strip() == "0.375 (0.250-0.500)"


@pytest.mark.slow
def test_the_forms_are_trained_reported_and_drawn(tmp_path: Path) -> None:
    build_corpus(tmp_path / "shards")
    config = tmp_path / "config.yaml"
    tiny = tiny_config(tmp_path / "shards", train={"micro_batch_size": None, "evaluate_every": 2})
    config.write_text(tiny.to_yaml(), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.pretraining", "--processes", "1", "--config", str(config)]
    places = ["--data", str(tmp_path / "shards"), "--out", str(tmp_path / "runs"), "--results", str(tmp_path)]
    subprocess.run([*command, *places], cwd=ROOT, check=True, timeout=300)
    result = json.loads((tmp_path / "pretraining_forms.json").read_text(encoding="utf-8"))
    assert [found["contrastive"] for found in result["results"]["runs"]] == ["none", "infonce", "modified"]
    for picture in ("pretraining_forms.png", "pretraining_forms_contrastive.png"):
        assert (tmp_path / picture).stat().st_size > 10_000
