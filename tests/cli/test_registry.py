import argparse
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from langpose_dist.cli.main import main
from langpose_dist.cli.registry import add_parser
from langpose_dist.config import UserError
from langpose_dist.models.langpose import LangPose
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking import client as tracking_client
from langpose_dist.tracking.record import MirrorState, write_state
from tests.corpus import build_corpus
from tests.exports import save_weights
from tests.tracking.registering import Store, evaluation, make_store, tiny_config

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
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """``small`` in three versions, of which the last is of other data, and ``empty`` without any."""
    store = make_store(tmp_path_factory.mktemp("cli"))
    client = store.client
    client.create_registered_model("empty")
    store.register("small", evaluation(80.0, 70.0), licence="CC BY 4.0", parents=("a" * 32,))
    store.register("small", evaluation(78.5, 71.0))
    store.register("small", evaluation(60.0, 50.0, data_fingerprint="e" * 64), alias="other")
    client.set_registered_model_alias("small", "best", "1")
    return store


@pytest.fixture
def client(store: Store) -> MlflowClient:
    return store.client


@pytest.fixture
def uri(store: Store) -> str:
    return store.uri


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["registry", *arguments])
    return parsed.handler(parsed)


def test_list_as_text(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--tracking-uri", uri) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        ["name", "versions  aliases"],
        ["empty"],
        ["small", "3, 2, 1   best=1, candidate=2, other=3"],
    ]


def test_list_as_json(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json", "--tracking-uri", uri) == 0
    assert json.loads(capsys.readouterr().out)[:2] == [
        {"name": "empty", "versions": [], "aliases": {}},
        {"name": "small", "versions": [3, 2, 1], "aliases": {"best": 1, "candidate": 2, "other": 3}},
    ]


def test_show_an_alias_as_json(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "small@best", "--json", "--tracking-uri", uri) == 0
    (version,) = json.loads(capsys.readouterr().out)
    assert (version["name"], version["version"], version["aliases"]) == ("small", 1, ["best"])
    assert version["metrics"]["masked/mpjpe_mm"] == 80.0
    assert version["evaluation"] == evaluation(80.0, 70.0)
    assert (version["licence"], version["parents"]) == ("CC BY 4.0", ["a" * 32])
    assert len(version["files"]["artifacts/model.safetensors"]) == 64


def test_show_a_name_as_text(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "small", "--tracking-uri", uri) == 0
    newest, middle, oldest = capsys.readouterr().out.split("\n\n")
    assert newest.startswith("small/3\n  aliases: other\n")
    assert middle.startswith("small/2\n  aliases: candidate\n")
    for line in (
        "small/1",
        "  aliases: best",
        "  config_hash: c0ffee",
        "  data_fingerprint: data-1",
        "  git_commit: abc",
        "  git_dirty: false",
        "  licence of the training data: CC BY 4.0",
        f"  weights started from: {'a' * 32}",
        f"    data: toy, split validation, fingerprint {'f' * 64}",
        "    2D source: synthetic: ground-truth 3D through a virtual camera",
        "    12 windows, 108 frames, at step 7",
        "    masked/mpjpe_mm  80",
        "    protocol of mpjpe_mm: mean per-joint position error",
    ):
        assert line in oldest.splitlines(), line
    assert "licence of the training data: not stated; ask for it before use" in middle
    assert "SHA-256" not in oldest


def test_show_the_hashes_on_demand(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "models:/small/1", "--hashes", "--tracking-uri", uri) == 0
    text = capsys.readouterr().out
    assert "  files, SHA-256:\n" in text
    assert "  artifacts/model.safetensors\n" in text


def test_show_a_name_without_versions(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "empty", "--tracking-uri", uri) == 0
    assert capsys.readouterr().out == "empty has no versions\n"


def test_show_what_another_tool_registered(
    store: Store, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.create_registered_model("foreign")
    client.create_model_version("foreign", store.folder.as_uri())
    assert run("show", "foreign", "--hashes", "--tracking-uri", store.uri) == 0
    text = capsys.readouterr().out
    assert "  run: none\n" in text
    assert "  evaluation: none\n" in text
    assert "  files, SHA-256: none recorded\n" in text


def test_the_environment_names_the_registry(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert run("show", "small@candidate") == 0
    assert capsys.readouterr().out.startswith("small/2\n")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("small@gone", "model 'small' has no alias 'gone'; it has best, candidate, other"),
        ("small/7", "model 'small' has no version 7; it has 3, 2, 1"),
        ("f" * 32, f"the tracking store has no run {'f' * 32}"),
    ],
)
def test_what_there_is_not_is_one_line(uri: str, model: str, message: str) -> None:
    for command in (
        ("show", model),
        ("pull", model, "new"),
        ("promote", model),
    ):
        with pytest.raises(UserError) as caught:
            run(*command, "--tracking-uri", uri)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("show", "small@candidate"),
        ("promote", "small/1"),
        ("pull", "small/1", "new"),
    ],
)
def test_a_lookup_leaves_nothing_behind(empty_folder: Path, command: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="there is no tracking database") as caught:
        run(*command)
    assert str(empty_folder / "mlflow.db") in str(caught.value)
    assert not list(empty_folder.iterdir())


def test_promote_and_show_its_history(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for masked in (80.0, 79.0, 85.0):
        store.register("gate", evaluation(masked))
    at = ("--tracking-uri", store.uri)
    assert run("promote", "gate/1", *at) == 0
    assert run("promote", "gate/2", *at) == 0
    assert run("promote", "gate/2", *at) == 0
    assert capsys.readouterr().out.splitlines() == [
        "gate/1 is gate@champion now",
        "gate/2 is gate@champion now, which was version 1",
        "gate/2 is gate@champion already",
    ]
    assert run("promote", "gate@candidate", *at) == 3
    refusal = (
        "gate/3 is not promoted to gate@champion (gate/2): worse masked/mpjpe_mm: 85 against 79; --force"
    )
    assert refusal in capsys.readouterr().err
    # The gate of another configuration.
    (tmp_path / "gate.yaml").write_text("registry: {metrics: [clean/mpjpe_mm]}")
    for options in (("--config", str(tmp_path / "gate.yaml")), ("registry.tolerance=0.1",)):
        assert run("promote", "gate/3", *options, *at) == 0
        assert run("promote", "gate/2", *at) == 0
    capsys.readouterr()
    assert run("promote", "gate/3", "--force", "--reason", "a demo", "--json", *at) == 0
    promotion = json.loads(capsys.readouterr().out)
    assert (promotion["reason"], promotion["from_version"], promotion["to_version"]) == ("a demo", 2, 3)
    assert run("show", "gate", *at) == 0
    history = capsys.readouterr().out.split("\n\npromotions:\n")[1].splitlines()
    moves = [line.partition("Z  ")[2].partition(", by ")[0] for line in history]
    assert moves == [
        "champion: version none -> 1",
        "champion: version 1 -> 2",
        *("champion: version 2 -> 3", "champion: version 3 -> 2") * 2,
        "champion: version 2 -> 3",
    ]
    assert history[-1].endswith("; forced: a demo (against: worse masked/mpjpe_mm: 85 against 79)")


def test_promote_by_a_protocol_evaluates_both_now(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build_corpus(tmp_path / "shards")
    for seed in (0, 1):
        store.register("measured", evaluation(80.0 - seed), seed=seed)
    at = (f"data.path={tmp_path / 'shards'}", "evaluation.batch_size=4", "--protocol", "virtual_camera")
    at += ("--split", "validation", "--json", "--tracking-uri", store.uri)
    assert run("promote", "measured/1", *at) == 0
    first = json.loads(capsys.readouterr().out)
    assert list(first["metrics"]) == ["virtual_camera/mpjpe_mm"]
    statuses = {2: run("promote", "measured/2", *at), 1: run("promote", "measured/1", *at)}
    said = capsys.readouterr()
    assert "worse virtual_camera/mpjpe_mm" in said.err
    # The better one holds the alias, whatever was recorded with them: told it again, that is no refusal.
    champion = int(store.client.get_registered_model("measured").aliases["champion"])
    assert statuses[champion] == 0
    assert statuses == ({2: 0, 1: 3} if champion == 2 else {2: 3, 1: 0})
    with pytest.raises(UserError, match="mean MPJPE decides"):
        run("promote", "measured/2", "registry.metrics=[clean/r_at_1]", *at)
    with pytest.raises(UserError, match="data/shards"):
        run(
            "promote", f"measured/{3 - champion}", "--protocol", "virtual_camera", "--tracking-uri", store.uri
        )


@pytest.mark.parametrize("options", [("--force",), ("--reason", "why"), ("--force", "--reason", " ")])
def test_force_and_reason_go_together(uri: str, options: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="reason"):
        run("promote", "small/1", *options, "--tracking-uri", uri)


def test_pull_names_the_weights(uri: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = empty_folder / "model" / "artifacts" / "model.safetensors"
    assert run("pull", "small@candidate", "model", "--tracking-uri", uri) == 0
    assert capsys.readouterr().out.splitlines() == ["small/2: verified", str(weights)]
    assert weights.is_file()
    assert run("pull", "small/2", "model", "--tracking-uri", uri) == 0
    assert capsys.readouterr().out.splitlines() == ["small/2: already there, verified", str(weights)]
    assert run("pull", "small/2", "model", "--json", "--tracking-uri", uri) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": "small/2",
        "weights": str(weights),
        "is_new": False,
    }


def test_register_a_finished_run(uri: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config()
    (empty_folder / "run").mkdir()
    (empty_folder / "run" / "config.yaml").write_text(config.to_yaml())
    (empty_folder / "run" / "evaluation.json").write_text(json.dumps(evaluation()))
    save_weights("run/model.safetensors", LangPose(config, text_dim=12), config, {"data_fingerprint": "d"})
    options = ("register", "run", "--name", "by hand", "--tracking-uri", uri)
    assert run(*options, "--licence", "CC0") == 0
    assert run(*options, "--json") == 0
    assert capsys.readouterr().out.splitlines() == [
        "registered: by hand/1",
        '{"registered": "by hand/1", "alias": "candidate"}',
    ]
    assert run("show", "by hand@candidate", "--tracking-uri", uri) == 0
    assert "licence of the training data: CC0\n" in capsys.readouterr().out
    with pytest.raises(UserError, match="only langpose registry promote gives this alias"):
        run(*options, "--alias", "champion")


ESCAPE = "\x1b[2J"


def test_nothing_in_the_registry_reaches_the_terminal_as_a_command(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = f"fine{ESCAPE}\nsmall/9\n  aliases: champion\x9b"
    content = evaluation(
        num_windows=forged,
        dataset=forged,
        protocol={forged: forged},
        conditions={"clean": {"mpjpe_mm": 1.0, forged: 2.0}},
    )
    store.register("forged", evaluation())
    store.register("forged", evaluation(), licence=forged, parents=(forged,))
    client = store.client
    client.set_model_version_tag("forged", "2", "evaluation", json.dumps(content))
    client.set_model_version_tag("forged", "2", "note", forged)
    record = {"alias": forged, "reason": forged, "objections": [forged], "user": forged, "time": forged}
    client.set_registered_model_tag("forged", "promotion.1", json.dumps({**record, "to_version": 2}))
    at = ("--tracking-uri", store.uri)
    assert run("show", "forged", "--hashes", *at) == 0
    options = ("--config", "gate.yaml", "--force", "--reason", "why")
    Path("gate.yaml").write_text("registry: {metrics: [clean/mpjpe_mm]}")
    assert run("promote", "forged/1", "--config", "gate.yaml", *at) == 0
    assert run("promote", "forged/2", *options, *at) == 0
    printed = capsys.readouterr().out
    assert "fine?[2J small/9   aliases: champion?" in printed
    assert all(line.isprintable() for line in printed.split("\n"))
    assert not any(line.startswith("small/9") for line in printed.splitlines())
    client.delete_registered_model("forged")


@pytest.mark.parametrize(
    "content", [{"objections": 5}, {"objections": None}, {"time": [], "alias": {}}, 5, "x"]
)
def test_a_record_of_another_kind_is_shown_all_the_same(
    store: Store, capsys: pytest.CaptureFixture[str], content: object
) -> None:
    store.register("odd", evaluation())
    record = {"to_version": 1, "reason": "why", **content} if isinstance(content, dict) else content
    store.client.set_registered_model_tag("odd", "promotion.1", json.dumps(record))
    assert run("show", "odd", "--tracking-uri", store.uri) == 0
    assert "\n\npromotions:\n" in capsys.readouterr().out
    store.client.delete_registered_model("odd")


@pytest.mark.parametrize("command", [("register", "run", "--name", "theirs"), ("replay", "run")])
def test_a_folder_does_not_decide_where_the_password_goes(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path, command: tuple[str, ...]
) -> None:
    def record_address(uri: str, *, create: bool) -> MlflowClient:
        raise UserError(f"connected to {uri}")

    monkeypatch.setattr(tracking_client, "connect", record_address)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    run_dir = empty_folder / "run"
    run_dir.mkdir()
    for theirs in ("http://theirs:5000", "http://REDACTED@theirs:5000"):
        (run_dir / "run.json").write_text(json.dumps({"tracking_uri": theirs}))
        write_state(RunFolder(run_dir), MirrorState(tracking_uri=theirs))
        with pytest.raises(UserError, match="name the store with --tracking-uri"):
            run(*command)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine:5000")
    with pytest.raises(UserError, match="connected to http://mine:5000"):
        run(*command)
    with pytest.raises(UserError, match="connected to http://given:5000"):
        run(*command, "--tracking-uri", "http://given:5000")
    assert [path.name for path in empty_folder.iterdir()] == ["run"]


def test_a_refusal_repeats_no_control_characters(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.register("refused", evaluation())
    store.register("refused", evaluation())
    forged = json.dumps(evaluation(split="x\x1b[2J\nlangpose: promoted"))
    store.client.set_model_version_tag("refused", "2", "evaluation", forged)
    at = ("--tracking-uri", store.uri)
    assert main(["registry", "promote", "refused/1", *at]) == 0
    assert main(["registry", "promote", "refused/2", *at]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "other split: x?[2J langpose: promoted against validation" in line
    assert line.isprintable()
    store.client.delete_registered_model("refused")
