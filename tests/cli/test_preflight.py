"""What ``langpose preflight`` says of a run, and that training says the same."""

import json
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from tests.corpus import build_corpus, tiny_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose output is ``run`` in the same folder."""
    build_corpus(tmp_path / "shards")
    path = tmp_path / "config.yaml"
    path.write_text(tiny_config(tmp_path / "shards", tmp_path / "run").to_yaml())
    return path


def problems(config: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    status = main(["preflight", "--config", str(config), "--json", *options])
    report = json.loads(capsys.readouterr().out)
    assert (status, report["ok"]) == ((2, False) if report["problems"] else (0, True))
    return report["problems"]


@pytest.mark.parametrize("content", ["metrics.jsonl", "checkpoints/step-00000001/state.json"])
def test_a_folder_that_holds_a_run_is_a_problem_unless_it_is_resumed(
    config: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    run_dir = config.parent / "run"
    (run_dir / content).parent.mkdir(parents=True)
    (run_dir / content).touch()
    (run_dir / "config.yaml").touch()
    [problem] = problems(config, capsys)
    assert problem == f"{run_dir} already holds a run; resume with --resume or choose another output="
    assert main(["train", "--config", str(config)]) == 2
    assert problem in capsys.readouterr().err
    assert problems(config, capsys, "--resume") == []
    assert problems(config, capsys, "--resume-if-started") == []


def test_a_folder_without_a_run_is_a_problem_if_it_is_to_be_resumed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problems(config, capsys) == problems(config, capsys, "--resume-if-started") == []
    [problem] = problems(config, capsys, "--resume")
    assert problem == f"{config.parent / 'run'} holds no run to resume; leave out --resume"


def test_help_says_whose_checks_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["preflight", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "those of the machine that runs them" in text
    assert "--resume-if-started" in text
