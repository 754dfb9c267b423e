"""Where a trial goes on from: its own folder, or what population-based training gives it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.train.checkpoint import TrainState, find_checkpoint, publish
from langpose_dist.train.run import go_on_from
from tests.corpus import build_corpus, tiny_config
from tests.train.test_checkpoint import snapshot
from tuning import trial
from tuning.settings import Sweep, build_sweep
from tuning.trial import TrialPlan, train_trial, trial_config, trial_folder


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    build_corpus(tmp_path / "shards")
    content = tiny_config(tmp_path / "shards", tmp_path / "sweep", train={"max_steps": 60}).to_dict()
    return build_sweep({**content, "sweep": {"scheduler": {"name": "none"}}})


def give(folder: Path, step: int) -> Path:
    """A whole checkpoint, as Tune hands it over."""
    folder.mkdir(parents=True)
    return publish(folder, snapshot(step), TrainState(step=step), {"step": str(step)})


def go_on(sweep: Sweep, plan: TrialPlan, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Start the trial; returns the step that it would train on from."""
    begun: list[int] = []

    def train(config: Any, *arguments: Any, **options: Any) -> None:
        found = find_checkpoint(Path(config.output) / "checkpoints")
        begun.append(0 if found is None else found[1].step)

    def report(metrics: Mapping[str, Any], folder: Path | None) -> None:
        """Tune is not there."""

    monkeypatch.setattr(trial, "train", train)
    monkeypatch.setattr(trial, "_tracker", lambda *arguments: None)
    train_trial(sweep, plan, "t0", report, checkpoint)
    return begun[0]


def test_weights_are_taken_over_even_where_no_value_changes(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"loss.temperature": 0.1}
    own, better = give(tmp_path / "own", 40), give(tmp_path / "better", 20)
    plan = TrialPlan(0, 0, params)
    go_on_from(own, trial_config(sweep, plan, "t0"))
    assert go_on(sweep, plan, own, monkeypatch) == 40
    taken = TrialPlan(0, 0, params, origin="t1 at step 20")
    assert go_on(sweep, taken, better, monkeypatch) == 20
    # Once taken over, it goes on from its own folder.
    publish(trial_folder(tmp_path / "sweep", "t0") / "checkpoints", snapshot(30), TrainState(step=30), {})
    assert go_on(sweep, taken, better, monkeypatch) == 30
    # A driver that was killed knows nothing of it.
    assert go_on(sweep, plan, own, monkeypatch) == 40
