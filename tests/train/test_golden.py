"""The numbers of a debug run, held to the digits that they had before the code was rearranged.

Losses, gradient norms and evaluations of ten steps in float32, for each contrastive form: on one rank, on
two, and stopped and resumed in between. ``golden.json`` was written at commit 53901be, and for the two
contrastive forms again when their term became a mean over the windows that carry a label, by::

    LANGPOSE_WRITE_GOLDEN=1 pytest tests/train/test_golden.py -k "one_rank"

A change that means to alter numbers writes it anew and says so in its commit.
"""

import json
import os
from pathlib import Path

import pytest

from tests.corpus import build_corpus
from tests.train.jobs import finish, job, losses, prepare, read_status
from tests.train.test_faults import FAULTY

pytestmark = pytest.mark.dist
GOLDEN = Path(__file__).with_name("golden.json")
FORMS = ("none", "infonce", "modified")
SLOW_FORMS = [pytest.param(form, marks=pytest.mark.slow) for form in FORMS[:2]] + [FORMS[2]]
STEPS, STOP = 10, 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden") / "shards"
    build_corpus(folder)
    return folder


def prepare_run(folder: Path, shards: Path, form: str) -> Path:
    train = {"max_steps": STEPS, "evaluate_every": 5, "checkpoint_every": 1000, "precision": "float32"}
    model = {"dim": 32, "dim_representation": 32, "embed_dim": 32, "pool_dropout": 0.0}
    return prepare(folder, shards, train=train, model=model, loss={"contrastive": form})


def numbers(folder: Path) -> dict[str, dict[str, float]]:
    """Step -> name -> value of everything that the run logged, time apart."""
    found: dict[str, dict[str, float]] = {}
    for step, values in losses(folder):
        found.setdefault(str(step), {}).update(values)
    return found


def expect(found: dict[str, dict[str, float]], form: str, *, rel: float) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[form]
    assert found.keys() == golden.keys()
    for step, values in golden.items():
        assert found[step].keys() == values.keys(), step
        for name, value in values.items():
            assert found[step][name] == pytest.approx(value, rel=rel, abs=1e-7), f"step {step}: {name}"


@pytest.mark.parametrize("form", FORMS)
def test_one_rank(tmp_path: Path, shards: Path, form: str) -> None:
    folder = prepare_run(tmp_path, shards, form)
    finish(folder, "none", 1, words=[])
    found = numbers(folder)
    assert len(found) == STEPS
    if os.environ.get("LANGPOSE_WRITE_GOLDEN"):
        golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
        GOLDEN.write_text(json.dumps({**golden, form: found}, indent=1) + "\n", encoding="utf-8")
    expect(found, form, rel=1e-5)


@pytest.mark.parametrize("form", SLOW_FORMS)
def test_two_ranks(tmp_path: Path, shards: Path, form: str) -> None:
    folder = prepare_run(tmp_path, shards, form)
    finish(folder, "torchrun", 2, words=["train.micro_batch_size=3"])
    expect(numbers(folder), form, rel=1e-4)


@pytest.mark.parametrize("form", SLOW_FORMS)
def test_stopped_and_resumed(tmp_path: Path, shards: Path, form: str) -> None:
    folder = prepare_run(tmp_path, shards, form)
    with job(folder, "none", 1, words=["--fault", f"term-at-step-{STOP}"], target=FAULTY) as running:
        running.wait()
        assert read_status(folder)["status"] == "interrupted", running.output[-3000:]
    assert read_status(folder)["step"] == STOP
    finish(folder, "none", 1, words=["--fault", "none", "--resume"], target=FAULTY)
    expect(numbers(folder), form, rel=1e-5)
