import argparse
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from langpose_dist.cli.registry import add_parser
from langpose_dist.config import UserError

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with ``small`` in two versions and ``empty`` without any."""
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    client.create_registered_model("small")
    client.create_registered_model("empty")
    run = client.create_run(client.create_experiment("e", artifact_location=folder.as_uri()))
    for mpjpe in (80.5, 70.25):
        tags = {"config_hash": "c0ffee", "metrics": json.dumps({"mpjpe_mm": mpjpe})}
        client.create_model_version("small", folder.as_uri(), run_id=run.info.run_id, tags=tags)
    client.set_registered_model_alias("small", "candidate", "2")
    client.set_registered_model_alias("small", "best", "1")
    return uri


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["registry", *arguments])
    return parsed.handler(parsed)


def test_list_as_text(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--tracking-uri", uri) == 0
    assert [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()] == [
        ["name", "versions  aliases"],
        ["empty"],
        ["small", "2, 1      best=1, candidate=2"],
    ]


def test_list_as_json(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json", "--tracking-uri", uri) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "empty", "versions": [], "aliases": {}},
        {"name": "small", "versions": [2, 1], "aliases": {"best": 1, "candidate": 2}},
    ]


def test_show_an_alias_as_json(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "small@best", "--json", "--tracking-uri", uri) == 0
    (version,) = json.loads(capsys.readouterr().out)
    assert len(version.pop("run_id")) == 32
    assert version.pop("created").endswith("+00:00")
    assert version == {
        "name": "small",
        "version": 1,
        "aliases": ["best"],
        "status": "READY",
        "tags": {"config_hash": "c0ffee"},
        "metrics": {"mpjpe_mm": 80.5},
    }


def test_show_a_name_as_text(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "small", "--tracking-uri", uri) == 0
    text = capsys.readouterr().out
    newest, oldest = text.split("\n\n")
    assert newest.startswith("small/2\n  aliases: candidate\n")
    assert "  config_hash: c0ffee\n  metrics:\n    mpjpe_mm  70.25" in newest
    assert oldest.startswith("small/1\n  aliases: best\n")


def test_show_a_name_without_versions(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "empty", "--tracking-uri", uri) == 0
    assert capsys.readouterr().out == "empty has no versions\n"


def test_the_environment_names_the_registry(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert run("show", "small@candidate") == 0
    assert capsys.readouterr().out.startswith("small/2\n")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("big", "the registry has no model 'big'; it has empty, small"),
        ("small@gone", "model 'small' has no alias 'gone'; it has best, candidate"),
        ("it's", 'the registry has no model "it\'s"; it has empty, small'),
    ],
)
def test_a_missing_name_or_alias_is_one_line(uri: str, model: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        run("show", model, "--tracking-uri", uri)
    assert str(caught.value) == message


@pytest.mark.parametrize("command", [("list",), ("show", "small@candidate")])
def test_a_lookup_leaves_no_database_behind(empty_folder: Path, command: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="there is no tracking database") as caught:
        run(*command)
    assert str(empty_folder / "mlflow.db") in str(caught.value)
    assert not list(empty_folder.iterdir())
