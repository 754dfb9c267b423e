import argparse
import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from langpose_dist import __version__
from langpose_dist.cli import doctor
from langpose_dist.cli.main import main
from langpose_dist.config import ConfigError

HEAVY = {"torch", "numpy", "mlflow", "deepspeed", "webdataset", "transformers", "ray", "matplotlib"}


def replace_doctor(monkeypatch: pytest.MonkeyPatch, handler: Callable[[argparse.Namespace], int]) -> None:
    monkeypatch.setattr(doctor, "run", handler)


def test_a_handlers_status_is_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_doctor(monkeypatch, lambda arguments: 1 if arguments.json else 0)
    assert main(["doctor"]) == 0
    assert main(["doctor", "--json"]) == 1


def test_a_users_mistake_is_one_line_and_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise ConfigError("train.epochs=-1: must be above 0")

    replace_doctor(monkeypatch, fail)
    assert main(["doctor"]) == 2
    assert capsys.readouterr() == ("", "langpose: error: train.epochs=-1: must be above 0\n")


def test_our_own_mistake_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise ValueError("not the user's")

    replace_doctor(monkeypatch, fail)
    with pytest.raises(ValueError, match="not the user's"):
        main(["doctor"])


def test_an_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    replace_doctor(monkeypatch, interrupt)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "langpose: interrupted\n"


def test_a_closed_pipe_is_no_error() -> None:
    code = """
import sys
from langpose_dist.cli import doctor
from langpose_dist.cli.main import main
def run(arguments):
    sys.stdin.read()
    print("x" * 100_000)
    return 0
doctor.run = run
sys.exit(main(["doctor"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["doctr"], "did you mean 'doctor'?"),
        (["zzz"], "'zzz' is none of"),
        ([], "the following arguments are required: COMMAND"),
        (["doctor", "--jsn"], "unrecognized arguments: --jsn"),
        (["doctor", "--js"], "unrecognized arguments: --js"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("langpose: error: ")
    assert message in line
    assert line.count("\n") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"langpose {__version__}\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["data", "build", "--help"], 0),
        (["train", "--help"], 0),
        (["model", "summary", "--help"], 0),
        (["registry", "--help"], 0),
        (["doctr"], 2),
        (["train", "--config", "no-such-file.yaml"], 2),
        (["train", "train.epoch=1"], 2),
    ],
    ids=str,
)
def test_help_and_mistakes_import_nothing_heavy(words: list[str], status: int) -> None:
    # What takes time is importing, so the imports are asserted and not the seconds.
    code = f"""
import json, sys
from langpose_dist.cli.main import main
try:
    status = main({words!r})
except SystemExit as stop:
    status = stop.code
print(json.dumps([status, sorted({{name.partition(".")[0] for name in sys.modules}})]), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, modules = json.loads(done.stderr.splitlines()[-1])
    assert found == status
    assert "langpose_dist" in modules
    assert HEAVY.isdisjoint(modules)


def test_credentials_on_a_command_line_are_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (
        ["train", "tracking.uri=http://alice:s3cret@127.0.0.1:9"],
        ["train", "data.path=http://alice:s3cret@127.0.0.1:9/x"],
        ["registry", "list", "--tracking-uri", "http://alice:s3cret@127.0.0.1:9"],
        ["registry", "list", "--tracking-uri=postgresql://alice:s3cret@127.0.0.1:9/db"],
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        printed = capsys.readouterr().err
        assert "command lines are public" in printed
        assert "s3cret" not in printed
