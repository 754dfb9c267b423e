import argparse
import json
import subprocess
import sys

import pytest

from langpose_dist.cli import model
from langpose_dist.config import UserError

SMALL = ["model.dim=32", "model.depth=1", "text.encoder=./no-such-folder"]


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    model.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["model", "summary", *words])
    return arguments.handler(arguments)


def test_json_holds_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, "--batch-size", "2", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["batch_size"] == 2
    assert [part["name"] for part in content["parts"]] == [
        "encoder",
        "pose head",
        "pose pooling",
        "text pooling",
    ]
    for key in ("parameters", "trainable", "flops_forward", "flops_step"):
        assert content["total"][key] == sum(part[key] for part in content["parts"]) > 0


def test_table_shows_the_papers_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("text.encoder=./no-such-folder") == 0
    rows = {line[:14].strip(): line[14:].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["encoder"][:2] == ["42,464,778", "42,464,778"]
    assert rows["pose head"][0] == "1,539"
    assert float(rows["encoder"][2]) == pytest.approx(371, abs=1)  # GFLOP


def test_mistakes_are_one_line() -> None:
    with pytest.raises(UserError, match=r"unknown key 'model\.dimm'; did you mean"):
        run("model.dimm=3")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import argparse, sys; from langpose_dist.cli import model; parser = argparse.ArgumentParser(); "
        "model.add_parser(parser.add_subparsers()); parser.format_help(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
