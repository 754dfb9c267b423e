"""Pretraining, registration and fine-tuning as a user does them, broken off and resumed."""

import json
import signal
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from tests.train.jobs import finish, hold_at, job, make_shards, prepare

pytestmark = [pytest.mark.dist, pytest.mark.filterwarnings("ignore")]


def test_a_registered_model_is_fine_tuned_killed_resumed_and_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shards = make_shards(tmp_path / "shards")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracking = {"enabled": True, "uri": uri, "register_as": "pre"}
    first = prepare(
        tmp_path / "first", shards, tracking=tracking, train={"max_steps": 4, "evaluate_every": None}
    )
    finish(first, "none", 1, words=())

    words = (
        *("task=finetune", "finetune.ema_decay=0.9", "model.initial_weights=models:/pre@candidate"),
        *("tracking.register_as=fine", f"tracking.uri={uri}", "tracking.enabled=true"),
    )
    whole = prepare(tmp_path / "whole", shards, train={"max_steps": 24})
    finish(whole, "none", 1, words=words)
    broken = prepare(tmp_path / "broken", shards, train={"max_steps": 24, "checkpoint_every": 5})
    with job(broken, "torchrun", 2, **hold_at(12, *words)) as running:
        running.wait_for_step(12)
        running.ranks()[1].send_signal(signal.SIGKILL)
        assert running.wait() != 0
        running.wait_until_gone()
    finish(broken, "none", 1, words=(*words, "--resume"))

    expected = load_file(whole / "run/model.safetensors")
    found = load_file(broken / "run/model.safetensors")
    assert any(name.startswith("average.") for name in expected)
    for name, value in expected.items():  # two ranks add up in another order
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)

    client = MlflowClient(uri)
    versions = client.search_model_versions("name='fine'")
    assert len(versions) == 2
    for version in versions:
        assert (version.tags["task"], version.tags["space"]) == ("finetune", "camera")
        run = client.get_run(str(version.run_id))
        parent = client.get_run(str(client.get_model_version_by_alias("pre", "candidate").run_id))
        assert run.data.tags["initial_weights.run_id"] == parent.info.run_id
        assert json.loads(version.tags["parents"]) == [parent.data.tags["langpose.run_uid"]]
