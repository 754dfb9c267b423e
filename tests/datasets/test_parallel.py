"""Builds on a real Ray, in a process of their own, from BVH files."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.cli.main import main
from langpose_dist.datasets.build import WORK

pytestmark = pytest.mark.dist

SKELETON = ("--skeleton", "bandai-namco")


@pytest.fixture
def many(tmp_path: Path, make_bvh: Callable[..., str]) -> Path:
    """Forty clips, of which two cannot be read."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        text = make_bvh(800 + number, {"LowerArm_R": (3.0 * number, 0, 0)})
        if number in (7, 30):
            text = text[:-40]
        (folder / f"dataset-1_walk_normal_{number:03d}.bvh").write_text(text)
    return folder


def words(folder: Path, out: Path, *options: str) -> list[str]:
    return [
        *("data", "build", "bvh", "--input", str(folder), "--out", str(out), "--shard-size", "4"),
        *("--split", "validation:fraction=0.2", *SKELETON, *options),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


HOLD = """
import os, pathlib, time
place = pathlib.Path(__file__).parent
read = pathlib.Path.read_text

def read_text(path, *arguments, **options):
    while path.name.endswith("_020.bvh") and (place / "hold").exists():
        (place / "held").write_text(str(os.getpid()))
        time.sleep(0.05)
    return read(path, *arguments, **options)

pathlib.Path.read_text = read_text
"""


def start(folder: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """A build that does not come past one of its clips as long as there is a file ``hold``.

    ``held`` names the process that waits for that, both in a folder ``site`` beside the clips.
    """
    site = folder.parent / "site"
    site.mkdir()
    (site / "hold").touch()
    (site / "sitecustomize.py").write_text(HOLD)
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "langpose_dist.cli.main", *words(folder, out, *options)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{site}:{root}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def descendants(process: subprocess.Popen[str]) -> dict[int, str]:
    """Id -> command line of what a process started, and of what that started."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines())
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except (OSError, ValueError):  # ended meanwhile
                continue
            parents[int(entry.name)] = int(status["PPid"])
    found = {process.pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: commands[pid] for pid in found - {process.pid}}


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def test_any_number_of_workers_gives_the_same_bytes_even_if_one_is_killed(many: Path, tmp_path: Path) -> None:
    assert main(words(many, tmp_path / "one")) == 0
    out = tmp_path / "two"
    process = start(many, out, "--workers", "2")
    held = tmp_path / "site/held"
    worker = int(wait_for(lambda: held.exists() and held.read_text()))
    started = descendants(process)
    assert started[worker].startswith("ray::_work")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: held.read_text() not in ("", str(worker)))
    started |= descendants(process)
    (tmp_path / "site/hold").unlink()
    _, printed = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert contents(out) == contents(tmp_path / "one")
    wait_for(lambda: not any(map(is_running, started)))


def test_a_build_on_ray_that_is_interrupted_leaves_no_process_and_goes_on(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(many, out, "--workers", "2")
    wait_for(lambda: (tmp_path / "site/held").exists() and len([*(out / WORK).glob("*.json")]) >= 2)
    started = descendants(process)
    assert any("raylet" in command for command in started.values())
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=120)
    assert (process.returncode, printed.rstrip().split("\n")[-1]) == (130, "langpose: interrupted"), printed
    wait_for(lambda: not any(map(is_running, started)))
    finished = [record.with_suffix("") for record in (out / WORK).glob("*.json")]
    kept = {shard.name: shard.stat().st_mtime_ns for shard in finished}
    assert kept
    assert not (out / "manifest.json").exists()
    assert main(words(many, out)) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert main(words(many, tmp_path / "whole")) == 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("address", "problem"),
    [("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"), ("cluster", "must be auto, HOST:PORT")],
)
def test_a_cluster_that_is_not_there_is_one_line(
    many: Path, tmp_path: Path, address: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(many, tmp_path / "out", "--ray-address", address)) == 2
    printed = capsys.readouterr().err
    assert printed.rstrip().split("\n")[-1].startswith("langpose: error: ")
    assert problem in printed
