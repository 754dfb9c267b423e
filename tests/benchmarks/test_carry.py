"""A checkpoint carried home in small parts, and a run made of it again."""

from pathlib import Path

import pytest
import torch

from benchmarks import carry
from langpose_dist.config import RunConfig
from langpose_dist.models.weights import weights_header
from langpose_dist.runs.folder import RunFolder
from langpose_dist.train.checkpoint import (
    Snapshot,
    TrainState,
    find_checkpoint,
    publish,
    read_optimizer,
    read_weights,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    folder.config.write_text("seed: 3\n")
    folder.metrics.write_text('{"step": 7}\n')
    weights = {"a.weight": torch.randn(40, 30), "a.bias": torch.randn(40)}
    rows, columns = torch.rand(40, 1) + 0.1, torch.rand(1, 30) + 0.1
    optimizer = {
        "a.weight/exp_avg": torch.randn(40, 30),
        "a.weight/exp_avg_sq": rows * columns,
        "a.bias/exp_avg": torch.randn(40),
        "a.bias/exp_avg_sq": torch.rand(40),
    }
    header = weights_header({}, RunConfig(), {"commit": "c0ffee"})
    state = TrainState(step=7, position=112, data_fingerprint="f", since_log=(1.0, 2.0))
    publish(folder.checkpoints, Snapshot(weights, optimizer), state, header)
    return folder.path


def test_what_is_kept_comes_back(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "_PART_BYTES", 1000)
    carry.pack(run, tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("part-*"))) > 2
    carry.unpack(tmp_path / "parts", tmp_path / "again")
    before, after = (find_checkpoint(folder / "checkpoints") for folder in (run, tmp_path / "again"))
    assert before is not None
    assert after is not None
    assert after[1] == before[1]
    for name, weight in read_weights(before[0]).items():
        assert torch.equal(read_weights(after[0])[name], weight.bfloat16().float())
    moments, kept = read_optimizer(before[0]), read_optimizer(after[0])
    assert kept.keys() == moments.keys()
    for name, value in moments.items():
        # This second moment is the product of a row and a column, so their means say all of it.
        expected = value if name.endswith("_sq") else torch.zeros_like(value)
        torch.testing.assert_close(kept[name], expected)
    for name in ("config.yaml", "metrics.jsonl"):
        assert (tmp_path / "again" / name).read_text() == (run / name).read_text()


def test_a_damaged_part_is_refused(run: Path, tmp_path: Path) -> None:
    carry.pack(run, tmp_path / "parts")
    part = tmp_path / "parts/part-00"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    with pytest.raises(ValueError, match="missing or damaged"):
        carry.unpack(tmp_path / "parts", tmp_path / "again")
    assert not (tmp_path / "again").exists()
