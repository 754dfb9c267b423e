import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import step_time
from langpose_dist.config import ModelConfig
from langpose_dist.models.dstformer import DSTformer

TINY = ["model.dim=16", "model.dim_representation=8", "model.depth=1", "model.num_heads=2"]
SHORT = ["window.num_frames=9", "window.stride=9", "masking.time_window_frames=[2, 4]"]


def test_eager_attention_computes_the_same() -> None:
    torch.manual_seed(0)
    encoder = DSTformer(
        ModelConfig(dim=16, dim_representation=8, depth=2, num_heads=4), num_frames=5
    ).double()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    keypoints = torch.randn(2, 5, 17, 3, dtype=torch.float64)
    eager = step_time.build_eager(encoder).double()
    # Copied through float32.
    torch.testing.assert_close(eager(keypoints), encoder(keypoints), rtol=1e-5, atol=1e-5)


def test_benchmark_runs_and_writes_its_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--repeats", "3", "--batch-size", "2", "--adamw", "--output", str(tmp_path / "new")]
    monkeypatch.setattr(sys, "argv", ["step_time", *words, *TINY, *SHORT, "text.encoder=./none"])
    step_time.main()
    content = json.loads((tmp_path / "new" / "step_time_cpu.json").read_text())
    assert str(tmp_path / "new" / "step_time_cpu.json") in capsys.readouterr().out
    assert content["arguments"]["batch_size"] == 2
    assert str(tmp_path) not in json.dumps(content)
    assert content["machine"]["torch"] == torch.__version__
    assert content["date"].endswith("+00:00")
    assert set(content["results"]) == {"float32", "bfloat16"}
    for result in content["results"].values():
        ours, eager = result["variants"]["ours"], result["variants"]["eager"]
        assert len(ours["seconds_all"]) == 3
        assert ours["seconds_median"] == sorted(ours["seconds_all"])[1] > 0
        assert ours["clips_per_second"] == pytest.approx(2 / ours["seconds_median"])
        assert ours["speed_up_over_eager"] == pytest.approx(eager["seconds_median"] / ours["seconds_median"])
        assert ours["tflops_per_second"] == pytest.approx(result["tflop_per_step"] / ours["seconds_median"])


def test_models_that_differ_are_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def build_other(encoder: DSTformer) -> DSTformer:
        return DSTformer(encoder.config, num_frames=encoder.num_frames)

    monkeypatch.setattr(step_time, "build_eager", build_other)
    monkeypatch.setattr(sys, "argv", ["step_time", "--output", str(tmp_path), *TINY, *SHORT])
    step_time.main()
    result = json.loads((tmp_path / "step_time_cpu.json").read_text())["results"]["float32"]
    assert list(result["variants"]) == ["eager"]
    assert result["failed"]["ours"].startswith("differs from eager by")
