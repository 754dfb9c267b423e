import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[3]

RANK = """
import sys, time
from langpose_dist.train.distributed.processes import Layout, Meeting
from langpose_dist.train.distributed.progress import Progress
layout = Layout.from_environment()
meeting = Meeting(layout, 120.0)
progress = Progress(layout, 4.0 if layout.rank == 0 else 300.0, lambda reason: None, start_timeout=300.0)
meeting.gather(None)
if layout.rank == 0:
    sys.stdin.readline()
for number in range(int(sys.argv[1])):
    progress.tick(f"place {number}")
beat = progress._beat
while progress._beat < beat + 2:  # it has said where it is
    time.sleep(0.05)
print("waiting", flush=True)
time.sleep(300)
"""


@pytest.mark.dist
@pytest.mark.parametrize(
    ("ticks", "is_suspended"),
    [
        pytest.param((5, 5), True, id="between two ticks"),
        pytest.param((5, 3), False, id="behind", marks=pytest.mark.slow),
    ],
)
def test_the_rank_that_hangs_is_named_by_the_other(ticks: tuple[int, int], is_suspended: bool) -> None:
    port = free_port()
    ranks = []
    for rank in (0, 1):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        number = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(ticks[rank])],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | place | number,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        assert ranks[1].stdout is not None
        assert ranks[1].stdout.readline() == "waiting\n"
        if is_suspended:
            ranks[1].send_signal(signal.SIGSTOP)
        _, errors = ranks[0].communicate("begin\n", timeout=120)
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert ranks[0].returncode == 1
    assert "no progress for 4 s: rank 1 (" in errors
    assert f"last seen at place {ticks[1] - 1}, hangs or cannot be reached" in errors
