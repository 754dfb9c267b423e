import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from langpose_dist.config import RunConfig, UserError
from langpose_dist.models.langpose import LangPose
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking.finished import choose_uri, register_run_folder
from langpose_dist.tracking.record import MirrorState, write_state
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.runs import RUN_UID
from tests.exports import save_weights
from tests.tracking.registering import Store, evaluation, make_store, tiny_config

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

HEADER = {"config_hash": "c0ffee", "data_fingerprint": "data-1", "commit": "abc", "run_uid": "1" * 32}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("finished"))


def make_run(folder: Path, record: dict[str, object], config: RunConfig | None = None) -> Path:
    """What a finished run leaves that matters here."""
    config = config or tiny_config()
    folder.mkdir()
    (folder / "config.yaml").write_text(config.to_yaml())
    (folder / "evaluation.json").write_text(json.dumps(evaluation(commit_dirty="true")))
    (folder / "run.json").write_text(json.dumps(record))
    save_weights(folder / "model.safetensors", LangPose(config, text_dim=12), config, HEADER)
    return folder


def test_a_recorded_run_keeps_its_record(store: Store, tmp_path: Path) -> None:
    run_id = store.start_run()
    config = tiny_config(data={"licence": "CC BY 4.0"})
    run_dir = make_run(tmp_path / "run", {"run_id": run_id}, config)
    assert register_run_folder(store.client, run_dir, name="kept", alias="candidate") == "kept/1"
    version = resolve(store.client, "kept@candidate")
    assert version.run_id == run_id
    assert version.evaluation == evaluation(commit_dirty="true")
    assert version.licence == "CC BY 4.0"
    assert {
        key: version.tags[key] for key in ("config_hash", "data_fingerprint", "git_commit", "git_dirty")
    } == {
        "config_hash": "c0ffee",
        "data_fingerprint": "data-1",
        "git_commit": "abc",
        "git_dirty": "true",
    }
    assert register_run_folder(store.client, run_dir, name="kept", alias="candidate") == "kept/1"


@pytest.mark.parametrize("record", [{"run_id": "f" * 32, "run_uid": "2" * 32}, {}])
def test_a_run_without_a_record_gets_one(store: Store, tmp_path: Path, record: dict[str, object]) -> None:
    name = f"made-{len(str(record))}"
    run_dir = make_run(tmp_path / "my run", record)
    assert register_run_folder(store.client, run_dir, name=name, alias="candidate") == f"{name}/1"
    version = resolve(store.client, f"{name}/1")
    run = store.client.get_run(str(version.run_id))
    assert (run.info.run_name, run.info.status) == ("my run", "FINISHED")
    assert run.data.tags["langpose.registered_from_folder"] == "true"
    assert run.data.tags.get(RUN_UID) == record.get("run_uid")
    # The same folder again is the same run.
    assert register_run_folder(store.client, run_dir, name=name, alias="candidate") == f"{name}/1"


def test_the_weights_that_a_run_started_from_are_its_parent(store: Store, tmp_path: Path) -> None:
    first = make_run(tmp_path / "first", {})
    config = tiny_config(
        model={**tiny_config().model.model_dump(), "initial_weights": str(first / "model.safetensors")}
    )
    run_dir = make_run(tmp_path / "second", {}, config)
    register_run_folder(store.client, run_dir, name="child", alias="candidate")
    assert resolve(store.client, "child/1").parents == ("1" * 32,)


def test_a_folder_without_a_finished_run_is_one_line(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        register_run_folder(store.client, tmp_path, name="none", alias="candidate")
    run_dir = make_run(tmp_path / "run", {})
    for content in ("{", "[]"):
        (run_dir / "evaluation.json").write_text(content)
        with pytest.raises(UserError, match=r"evaluation\.json (cannot be read|must hold a JSON object)"):
            register_run_folder(store.client, run_dir, name="none", alias="candidate")
    (run_dir / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"config\.yaml does not exist"):
        register_run_folder(store.client, run_dir, name="none", alias="candidate")
    shutil.copy(store.weights(), run_dir / "config.yaml")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read"):
        register_run_folder(store.client, run_dir, name="none", alias="candidate")
    with pytest.raises(UserError, match="the registry has no model 'none'"):
        resolve(store.client, "none/1")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings or credentials; their home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_AUTH",
        "PGPASSWORD",
    ):
        monkeypatch.delenv(name, raising=False)
    return home


RECORDED = "http://recorded:5000"


def recorded_at(folder: Path, uri: object = RECORDED) -> Path:
    (folder / "run.json").write_text(json.dumps({"tracking_uri": uri}))
    return folder


def test_the_user_s_word_goes_before_the_folder_s(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = recorded_at(tmp_path)
    assert choose_uri(run_dir, None) == RECORDED
    write_state(RunFolder(run_dir), MirrorState(tracking_uri="http://sent-there:5000"))
    assert choose_uri(run_dir, None) == "http://sent-there:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert choose_uri(run_dir, None) == "http://mine:5000"
    assert choose_uri(run_dir, "http://given:5000") == "http://given:5000"


@pytest.mark.parametrize("recorded", [None, "", 5])
def test_a_folder_may_name_no_store(user: Path, tmp_path: Path, recorded: object) -> None:
    assert choose_uri(recorded_at(tmp_path, recorded), None) is None
    assert choose_uri(tmp_path / "missing", None) is None


@pytest.mark.parametrize("recorded", [RECORDED, "postgresql://recorded/mlflow"])
@pytest.mark.parametrize(
    "credential",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_AUTH",
        "PGPASSWORD",
        ".mlflow/credentials",
    ],
)
def test_credentials_do_not_go_where_the_folder_alone_points(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: str, credential: str
) -> None:
    run_dir = recorded_at(tmp_path, recorded)
    assert choose_uri(run_dir, None) == recorded
    if credential == ".mlflow/credentials":
        (user / ".mlflow").mkdir()
        (user / credential).write_text(
            "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = x\n"
        )
    else:
        monkeypatch.setenv(credential, "x")
    with pytest.raises(UserError, match=f"recorded at {recorded}, .*; name the store with --tracking-uri$"):
        choose_uri(run_dir, None)
    # A file beside the run is nobody else's.
    (tmp_path / "mlflow.db").touch()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert choose_uri(recorded_at(tmp_path, uri), None) == uri


@pytest.mark.parametrize(
    "recorded", ["http://REDACTED@tracking", "https://user:word@tracking", "sqlite:////nowhere/mlflow.db"]
)
def test_an_address_that_is_of_no_use_here_is_refused(user: Path, tmp_path: Path, recorded: str) -> None:
    with pytest.raises(UserError, match=r"; name the store with --tracking-uri$") as caught:
        choose_uri(recorded_at(tmp_path, recorded), None)
    assert "word" not in str(caught.value)


def test_a_run_is_found_among_more_experiments_than_a_page_holds(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    client = store.client
    run = client.create_run(client.create_experiment("oldest"), tags={RUN_UID: "3" * 32})
    # Pages begin with the newest.
    columns = "name, lifecycle_stage, creation_time, last_update_time"
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        database.executemany(
            f"INSERT INTO experiments ({columns}) VALUES (?, 'active', {2**42}, {2**42})",
            [(f"later {number}",) for number in range(1100)],
        )
    database.close()
    folder = make_run(tmp_path / "run", {"run_uid": "3" * 32})
    register_run_folder(client, folder, name="found", alias="candidate")
    assert resolve(client, "found/1").run_id == run.info.run_id
    assert resolve(client, "3" * 32).label == "found/1"
