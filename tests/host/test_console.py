"""Commands whose standard streams are missing, closed or full, and a Ctrl-C before they have begun."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANGPOSE = f"{sys.executable} -m langpose_dist.cli.main"
SUMMARY = f"{LANGPOSE} model summary model.depth=1"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        (f"{SUMMARY} >&-", 0, ""),
        (f"{SUMMARY} <&- >&- 2>&-", 0, ""),
        (f"{SUMMARY} >/dev/full", 2, "langpose: error: No space left on device\n"),
        (f"{SUMMARY} | true; exit ${{PIPESTATUS[0]}}", 141, ""),
        (f"{LANGPOSE} --help | true; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"{LANGPOSE} train sed=1 2>&-", 2, ""),
        (f"{LANGPOSE} train sed=1 2>/dev/full", 2, ""),
        (f"{LANGPOSE} train sed=1 2> >(true)", 2, ""),
        (f"{LANGPOSE} trian 2>/dev/full", 2, ""),
        (f"{sys.executable} launch/train.py sed=1 2>/dev/full", 2, ""),
        (f"{sys.executable} -m tuning.sweep sed=1 >&- 2>&-", 2, ""),
    ],
)
def test_streams_that_cannot_be_used_change_no_status(command: str, status: int, error: str) -> None:
    done = shell(command)
    assert (done.returncode, done.stderr) == (status, error)
    assert "error" not in done.stdout  # nothing of standard error comes out there


def test_a_file_never_gets_what_a_closed_stream_is_given(tmp_path: Path) -> None:
    code = f"""
import os, sys
from langpose_dist.host.console import say, starting
with starting(is_process=True):
    pass
with open({str(tmp_path / "file")!r}, "w") as file:
    say("to nobody")
    print("to nobody", flush=True)
    print("to nobody", file=sys.stderr, flush=True)
    os.write(1, b"to nobody")
"""
    (tmp_path / "code.py").write_text(code)
    assert shell(f"{sys.executable} {tmp_path / 'code.py'} <&- >&- 2>&-").returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_a_ctrl_c_among_the_imports_is_quiet() -> None:
    # As soon as the command's own module runs; what the interpreter imports before it is not ours.
    code = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
from langpose_dist.cli.main import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_an_output_that_is_a_lost_link_is_named_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere/at-all")
    done = shell(f"{LANGPOSE} data synthesize --hours 0.001 --out {tmp_path / 'link'}")
    assert done.returncode == 2
    assert "link is a link to /nowhere/at-all, which does not exist" in done.stderr


def test_output_that_nobody_reads_any_more_changes_no_status() -> None:
    code = """
import sys
from langpose_dist.cli import doctor
from langpose_dist.cli.main import main
from langpose_dist.host.console import best_effort_output
def run(arguments):
    with best_effort_output():
        sys.stdin.read()
        print("line", flush=True)
        print("without its end", end="", file=sys.stderr)
        print("left in the buffer")
        return 0
doctor.run = run
sys.exit(main())
"""
    command = [sys.executable, "-c", code, "doctor"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        process.stdin.close()
    assert process.returncode == 0
