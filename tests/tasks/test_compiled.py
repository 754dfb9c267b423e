"""Tasks as torch.compile sees them: from the stored windows to the loss terms in one graph."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import build_corpus, tiny_config

_GRAPH = """
import json, sys, torch
from langpose_dist.config import load_config
from langpose_dist.tasks.task import load_task, total_loss

config = load_config(sys.argv[1], json.loads(sys.argv[2]))
task_class = load_task(config.task)
corpus = task_class.open(config)
task = task_class.build(config, corpus)
windows = corpus.training_set[[(0, number) for number in range(4)]]
found = []
for function in (task, torch.compile(task, fullgraph=True, backend="aot_eager")):
    task.zero_grad()
    loss = total_loss(function(windows), task.weights, {}).mean()
    loss.backward()
    norms = [p.grad.norm() for p in task.parameters() if p.grad is not None]
    found.append(torch.stack([loss.detach(), *norms]))
torch.testing.assert_close(*found)
print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


@pytest.mark.parametrize(
    "words",
    [
        ["loss.contrastive=modified", "target.space=image_25d"],
        pytest.param(["loss.contrastive=none", "model.recompute=true"], marks=pytest.mark.slow),
        ["task=finetune", "finetune.lambda_limb=1.0", "finetune.lambda_angle=1.0"],
    ],
)
def test_a_training_step_is_one_graph(tmp_path: Path, words: list[str]) -> None:
    build_corpus(tmp_path / "shards")
    file = tmp_path / "config.yaml"
    file.write_text(tiny_config(tmp_path / "shards", tmp_path / "run").to_yaml(), encoding="utf-8")
    # A process of its own: torch.compile cannot read the shape checks that the tests install.
    done = subprocess.run(
        [sys.executable, "-c", _GRAPH, str(file), json.dumps(words)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["1"], done.stderr[-3000:]
