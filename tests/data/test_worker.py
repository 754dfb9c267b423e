"""Loader workers as processes: replaced when killed, deaf to signals, gone with their parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

import psutil
import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.config import UserError
from langpose_dist.data.dataset import Request, WindowDataset
from langpose_dist.data.loader import TrainingStream, load_batches
from tests.corpus import open_corpus

pytestmark = pytest.mark.dist
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    open_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(shards: Path) -> WindowDataset:
    return open_corpus(shards).training_set


def stream(dataset: WindowDataset) -> TrainingStream:
    return TrainingStream(
        len(dataset),
        seed=3,
        position=0,
        global_batch_size=6,
        micro_batch_size=3,
        rank=0,
        world_size=1,
    )


EARLIER: set[int] = set()
"""Children that were there before the test: loaders of other tests may not be collected yet."""


@pytest.fixture(autouse=True)
def forget_earlier_children() -> None:
    EARLIER.clear()
    EARLIER.update(child.pid for child in psutil.Process().children())


def workers() -> list[psutil.Process]:
    """The living children of this process that a loader forked in this test."""
    me = psutil.Process()
    return [
        child
        for child in me.children()
        if child.pid not in EARLIER
        and child.status() != psutil.STATUS_ZOMBIE
        and child.cmdline() == me.cmdline()
    ]


def assert_equal(batches: Sequence[WindowBatch], others: Sequence[WindowBatch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for field in fields(WindowBatch):
            one, two = getattr(batch, field.name), getattr(other, field.name)
            assert one.equal(two) if isinstance(one, torch.Tensor) else one == two, field.name


@pytest.mark.parametrize("victims", [1, 2])
def test_a_killed_worker_is_replaced_and_no_batch_is_lost_or_doubled(
    dataset: WindowDataset, caplog: pytest.LogCaptureFixture, victims: int
) -> None:
    expected = list(islice(load_batches(dataset, stream(dataset), num_workers=0), 40))
    batches: list[WindowBatch] = []
    before: list[psutil.Process] = []
    iterator = load_batches(dataset, stream(dataset), num_workers=2)
    for batch in islice(iterator, 40):
        batches.append(batch)
        if len(batches) == 13:
            before = workers()
            assert len(before) == 2
            for worker in before[:victims]:
                worker.kill()
            # As long as this process computes, it does not notice.
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                pass
    after = workers()
    iterator.close()
    assert_equal(batches, expected)
    assert len(after) == 2
    assert not {worker.pid for worker in after} & {worker.pid for worker in before}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "its work is given to a new one" in caplog.text


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_a_signal_of_the_launcher_changes_nothing_for_a_worker(
    dataset: WindowDataset, caplog: pytest.LogCaptureFixture, sent: signal.Signals
) -> None:
    expected = list(islice(load_batches(dataset, stream(dataset), num_workers=0), 40))
    batches: list[WindowBatch] = []
    before: list[psutil.Process] = []
    iterator = load_batches(dataset, stream(dataset), num_workers=2)
    for batch in islice(iterator, 40):
        batches.append(batch)
        if len(batches) == 13:
            before = workers()
            for worker in before:
                worker.send_signal(sent)
    after = workers()
    iterator.close()
    assert_equal(batches, expected)
    assert len(before) == 2
    assert after == before
    assert caplog.records == []


def test_no_worker_is_left_when_the_reader_is_closed(dataset: WindowDataset) -> None:
    iterator = load_batches(dataset, stream(dataset), num_workers=2)
    next(iterator)
    assert len(workers()) == 2
    iterator.close()
    deadline = time.monotonic() + 60
    while workers():
        assert time.monotonic() < deadline
        time.sleep(0.05)


_PARENT = """
import sys, time
from pathlib import Path
import psutil
from langpose_dist.data.loader import TrainingStream, load_batches
from tests.corpus import open_corpus
dataset = open_corpus(Path(sys.argv[1])).training_set
stream = TrainingStream(
    len(dataset), seed=3, position=0, global_batch_size=6, micro_batch_size=3, rank=0, world_size=1
)
batches = load_batches(dataset, stream, num_workers=2)
print("begins", flush=True)
for _ in range(20):
    next(batches)
print("has read", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("moment", ["begins", "has read"])
def test_workers_end_with_their_parent(shards: Path, moment: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(shards)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    try:
        while parent.stdout.readline().strip() != moment:
            assert parent.poll() is None
        while len(children := psutil.Process(parent.pid).children()) < 2:
            assert parent.poll() is None
    finally:
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
    deadline = time.monotonic() + 4  # torch itself looks for the parent every 5 seconds
    while any(map(is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [child for child in children if is_alive(child)]
    for child in left:
        child.kill()
    assert left == []


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class DeadlyWindows(WindowDataset):
    """Whoever reads them is killed, as on a machine without memory."""

    def __getitem__(self, requests: Sequence[Request]) -> WindowBatch | UserError:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(requests)


@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_are_an_error_with_a_remedy(
    dataset: WindowDataset, caplog: pytest.LogCaptureFixture
) -> None:
    deadly = DeadlyWindows(
        dataset.windows, dataset.reader, dataset.vocabulary, dataset.config, dataset.augmentation
    )
    with pytest.raises(UserError, match=r"4 times without a batch in between.*set data\.num_workers=0"):
        next(load_batches(deadly, stream(dataset), num_workers=1))
    assert [record.message.endswith("its work is given to a new one") for record in caplog.records] == [
        True,
        True,
        True,
    ]
    assert workers() == []


def test_a_batch_that_went_with_its_worker_is_read_again(dataset: WindowDataset) -> None:
    # What a worker has finished lies in its memory until it is asked for.
    expected = list(islice(load_batches(dataset, stream(dataset), num_workers=0), 12))
    for _ in range(5):
        batches: list[WindowBatch] = []
        for batch in islice(load_batches(dataset, stream(dataset), num_workers=1), 12):
            batches.append(batch)
            if len(batches) == 2:
                time.sleep(0.1)  # it reads ahead
                for worker in workers():
                    worker.kill()
        assert_equal(batches, expected)
