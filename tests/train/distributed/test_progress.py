import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

RANK = """
import sys, time
from langpose_dist.train.distributed.processes import Layout, Meeting
from langpose_dist.train.distributed.progress import Progress
layout = Layout.from_environment()
meeting = Meeting(layout, 30.0)
progress = Progress(layout, 4.0, lambda reason: None)
meeting.gather(None)
for number in range(int(sys.argv[1])):
    progress.tick(f"place {number}")
print("waiting", flush=True)
time.sleep(60)
"""


@pytest.mark.dist
@pytest.mark.parametrize(
    ("ticks", "is_suspended"), [((5, 5), True), ((5, 3), False)], ids=["between two ticks", "behind"]
)
def test_the_rank_that_hangs_is_named_by_the_other(ticks: tuple[int, int], is_suspended: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in (0, 1):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        number = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
        ranks.append(
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(ticks[rank])],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | place | number,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline() == "waiting\n"
        if is_suspended:
            time.sleep(2.5)  # it has said where it is
            ranks[1].send_signal(signal.SIGSTOP)
        _, errors = ranks[0].communicate(timeout=45)
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert ranks[0].returncode == 1
    assert "no progress for 4 s: rank 1 (" in errors
    assert f"last seen at place {ticks[1] - 1}, hangs or cannot be reached" in errors
