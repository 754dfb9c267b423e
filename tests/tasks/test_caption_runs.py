"""Captioning as a user does it: two ranks as one, broken off and resumed, swept and registered."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from langpose_dist.cli.main import main
from langpose_dist.config import RunConfig
from tests.captions import build_captions, caption_config
from tests.train.jobs import ROOT, finish, hold_at, job, losses

pytestmark = [pytest.mark.dist, pytest.mark.filterwarnings("ignore")]
STEPS = 2


def write_config(folder: Path, config: RunConfig) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    return path


def take_steps(folder: Path, shards: Path, ranks: int, **train: Any) -> dict[str, Any]:
    # Dropout draws per rank and micro step, so without it.
    config = caption_config(shards, folder / "run", train=train, caption={"dropout": 0.0})
    file = write_config(folder, config)
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    )
    words = [str(ROOT / "tests/train/take_steps.py"), str(file), str(folder / "steps.pt"), str(STEPS)]
    done = subprocess.run(
        [sys.executable, *launcher, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "steps.pt", weights_only=True)


def test_two_ranks_with_accumulation_train_evaluate_and_generate_as_one(tmp_path: Path) -> None:
    build_captions(tmp_path / "shards")
    one = take_steps(tmp_path / "one", tmp_path / "shards", 1)
    two = take_steps(tmp_path / "two", tmp_path / "shards", 2, micro_batch_size=3)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for mine, theirs in zip(two["gradients"][0], one["gradients"][0], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    assert two["metrics"] == pytest.approx(one["metrics"], rel=1e-4)
    assert [line["clip"] for line in one["captions"]] == [f"validation{number:02d}" for number in range(6)]
    assert two["captions"] == one["captions"]


def test_a_run_is_killed_resumed_evaluated_and_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_captions(tmp_path / "shards")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    changes: dict[str, Any] = {
        "train": {"max_steps": 30, "checkpoint_every": 5, "evaluate_every": 10, "hang_timeout": 60},
        "registry": {"metrics": ["clean/nats_per_word"]},
    }
    tracking = {"enabled": True, "uri": uri, "register_as": "describer"}
    for name, more in (("whole", {}), ("broken", {"tracking": tracking})):
        folder = tmp_path / name
        write_config(folder, caption_config(tmp_path / "shards", folder / "run", **changes, **more))
    finish(tmp_path / "whole", "none", 1, words=())
    with job(tmp_path / "broken", "none", 1, **hold_at(12)) as running:
        running.wait_for_step(12)
        running.ranks()[0].send_signal(signal.SIGKILL)
        assert running.wait() != 0
        running.wait_until_gone()
    finish(tmp_path / "broken", "none", 1)

    expected = load_file(tmp_path / "whole/run/model.safetensors")
    found = load_file(tmp_path / "broken/run/model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    texts = [(tmp_path / name / "run/captions.jsonl").read_text() for name in ("whole", "broken")]
    assert texts[0] == texts[1]
    lines = [json.loads(line) for line in texts[0].splitlines()]
    assert len(lines) == 6
    assert {line["generated"] for line in lines} & {text for line in lines for text in line["references"]}

    rows = [json.loads(line) for line in (tmp_path / "whole/run/metrics.jsonl").read_text().splitlines()]
    scores = {row["step"]: row.get("validation/clean/nats_per_word") for row in rows}
    best = tmp_path / "whole/run/checkpoints/best"
    assert best.read_text() == "step-00000030\n"
    best.write_text("step-00000020\n")  # one that is not the last
    report = tmp_path / "best.json"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["evaluate", str(best), "--out", str(report)]) == 0
    evaluated = json.loads(report.read_text(encoding="utf-8"))["conditions"]["clean"]
    assert evaluated["nats_per_word"] == pytest.approx(scores[20], rel=1e-5)

    mlflow.set_tracking_uri(uri)
    monkeypatch.chdir(tmp_path)
    model = mlflow.pyfunc.load_model("models:/describer@candidate")
    output = model.metadata.signature.outputs.to_dict()[0]["tensor-spec"]
    assert output == {"dtype": "str", "shape": (-1,)}
    (text,) = model.predict(np.zeros((1, 9, 17, 3), np.float32))
    assert text.split()


@pytest.mark.slow
def test_a_sweep_compares_captioners(tmp_path: Path) -> None:
    build_captions(tmp_path / "shards")
    content = caption_config(
        tmp_path / "shards", tmp_path / "sweep", train={"max_steps": 4, "evaluate_every": 2}
    ).to_dict()
    content["sweep"] = {
        "space": {"caption.frozen": {"choice": [False, True]}, "caption.input": {"choice": ["joints_3d"]}},
        "searcher": "grid",
        "baseline": False,
        "objective": ["clean/nats_per_word"],
        "max_concurrent": 1,
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tuning.sweep", "--config", str(tmp_path / "sweep.yaml")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "sweep/sweep.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
