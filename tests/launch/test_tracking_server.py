"""``launch/tracking_server.py`` as its users call it: real servers, on loopback."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import HTTPError

from tests.ports import free_port
from tests.tracking.servers import (
    ROOT,
    SCRIPT,
    Postgres,
    TrackingServer,
    missing_postgresql,
    processes_of,
)

USERS = {"reader": "READ", "writer": "EDIT", "manager": "MANAGE"}
PASSWORD = "a password for {}"
SEARCH = {"max_results": 1}
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
DENIED = (MlflowException, HTTPError)
Login = Callable[..., MlflowClient]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """On SQLite and a folder, as behind a proxy, with a user of each kind."""
    options = (
        *("--allowed-hosts", "tracking.example.org,localhost:*,127.0.0.1:*,localhost"),
        *("--cors-allowed-origins", "https://tracking.example.org"),
    )
    with TrackingServer(tmp_path_factory.mktemp("sqlite"), options=options) as server:
        for name, permission in USERS.items():
            server.add_user(name, PASSWORD.format(name), permission)
        yield server


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """On a PostgreSQL of its own."""
    if reason := missing_postgresql():
        pytest.skip(reason)
    with TrackingServer(tmp_path_factory.mktemp("postgresql"), store="postgresql") as server:
        yield server


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Login:
    """A client of one user, who has nothing else of the server's: no file, no AWS credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)

    def client(server: TrackingServer, name: str = "admin") -> MlflowClient:
        password = None if name == "admin" else PASSWORD.format(name)
        for variable, value in server.login(name, password).items():
            monkeypatch.setenv(variable, value)
        return MlflowClient(server.uri, registry_uri=server.uri)

    return client


def ask(
    server: TrackingServer,
    method: str,
    path: str,
    user: str,
    password: str,
    body: object = None,
    host: str = "localhost",
) -> tuple[int, bytes]:
    """(status, content) of one request, whose path goes out as written; JSON unless the body is bytes."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        code = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {code}", "Content-Type": "application/json", "Host": host}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def call(*words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the script until it ends."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def log_run(client: MlflowClient, experiment: str, file: Path) -> str:
    """A run with a metric and a file."""
    run = client.create_run(client.create_experiment(experiment))
    client.log_metric(run.info.run_id, "loss", 0.5)
    client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def assert_run_is_whole(client: MlflowClient, run_id: str, file: Path, folder: Path) -> None:
    assert client.get_run(run_id).data.metrics == {"loss": 0.5}
    copy = client.download_artifacts(run_id, file.name, str(folder))
    assert Path(copy).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("store", [pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"])
@pytest.mark.slow
def test_a_second_start_keeps_data_users_and_secrets(
    store: str, request: pytest.FixtureRequest, login: Login, tmp_path: Path
) -> None:
    server: TrackingServer = request.getfixturevalue("server" if store == "sqlite" else store)
    file = tmp_path / "notes.txt"
    file.write_text("written before the restart")
    server.add_user("lasting", PASSWORD.format("lasting"), "EDIT")
    secrets = {path.name: path.read_text() for path in (server.folder / "secrets").iterdir()}
    run_id = log_run(login(server, "lasting"), "kept", file)
    assert (server.folder / "mlflow.db").exists() == (store == "sqlite")
    server.restart()
    assert {path.name: path.read_text() for path in (server.folder / "secrets").iterdir()} == secrets
    assert_run_is_whole(login(server, "lasting"), run_id, file, tmp_path / "copy")
    assert login(server).get_run(run_id).data.metrics == {"loss": 0.5}


def test_a_wrong_password_is_refused(server: TrackingServer) -> None:
    wrong = "not the password of anyone"
    for user in ("admin", "reader", "nobody"):
        status, _ = ask(server, "POST", "/api/2.0/mlflow/experiments/search", user, wrong, SEARCH)
        assert status == 401
        assert ask(server, "GET", f"{ARTIFACTS}?path=", user, wrong)[0] == 401
    unauthenticated = requests.get(f"{server.uri}{ARTIFACTS}?path=", timeout=30)
    assert unauthenticated.status_code == 401
    assert wrong not in server.log.read_text()


def test_only_allowed_names_are_answered(server: TrackingServer) -> None:
    search = ("POST", "/api/2.0/mlflow/experiments/search", "admin", server.admin_password, SEARCH)
    for host in ("localhost", f"127.0.0.1:{server.port}", "tracking.example.org", f"localhost:{server.port}"):
        assert ask(server, *search, host=host)[0] == 200
    for host in ("rebound.example.com", "tracking.example.org.example.com"):
        assert ask(server, *search, host=host)[0] == 403


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_no_secret_is_printed_or_on_a_command_line_or_open_to_others(
    store: str, request: pytest.FixtureRequest
) -> None:
    server: TrackingServer = request.getfixturevalue("server" if store == "sqlite" else store)
    files = [server.folder / "secrets" / name for name in ("admin-password", "server-key")]
    secrets = [file.read_text().strip() for file in files]
    assert all(len(secret) > 12 for secret in secrets)
    secrets += [*(PASSWORD.format(name) for name in USERS), Postgres.PASSWORD]
    assert server.process is not None
    commands = [" ".join(process.cmdline()) for process in processes_of(server.process)]
    assert any("mlflow server" in command for command in commands)
    printed = server.log.read_text() + "\n".join(commands)
    assert not [secret for secret in secrets if secret in printed]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [server.folder, *server.folder.rglob("*")]}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def test_a_reader_reads_everything_and_writes_nothing(
    server: TrackingServer, login: Login, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("of the writer")
    writer = login(server, "writer")
    run_id = log_run(writer, "of the writer", file)
    experiment_id = writer.get_run(run_id).info.experiment_id
    source = f"{writer.get_run(run_id).info.artifact_uri}/notes.txt"
    writer.create_registered_model("model")
    writer.create_model_version("model", source, run_id)
    writer.set_registered_model_alias("model", "candidate", "1")

    reader = login(server, "reader")
    assert_run_is_whole(reader, run_id, file, tmp_path)
    assert [run.info.run_id for run in reader.search_runs([experiment_id])] == [run_id]
    assert reader.get_metric_history(run_id, "loss")[0].value == 0.5
    assert reader.get_model_version_by_alias("model", "candidate").version == "1"
    assert [model.name for model in reader.search_registered_models()] == ["model"]
    for write in (
        lambda: reader.create_experiment("mine"),
        lambda: reader.create_run(experiment_id),
        lambda: reader.rename_experiment(experiment_id, "mine"),
        lambda: reader.delete_experiment(experiment_id),
        lambda: reader.log_metric(run_id, "loss", 0.0),
        lambda: reader.log_param(run_id, "name", "value"),
        lambda: reader.set_tag(run_id, "name", "value"),
        lambda: reader.set_terminated(run_id, "FAILED"),
        lambda: reader.log_artifact(run_id, str(file)),
        lambda: reader.delete_run(run_id),
        lambda: reader.create_registered_model("mine"),
        lambda: reader.create_model_version("model", source, run_id),
        lambda: reader.set_registered_model_alias("model", "candidate", "1"),
        lambda: reader.delete_registered_model_alias("model", "candidate"),
        lambda: reader.set_model_version_tag("model", "1", "name", "value"),
        lambda: reader.update_model_version("model", "1", "mine"),
        lambda: reader.delete_model_version("model", "1"),
        lambda: reader.delete_registered_model("model"),
    ):
        with pytest.raises(DENIED, match="403"):
            write()
    assert_run_is_whole(login(server), run_id, file, tmp_path)


def test_a_writer_writes_what_is_not_theirs_and_deletes_only_what_is(
    server: TrackingServer, login: Login, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("of the administrator")
    admin = login(server)
    run_id = log_run(admin, "of the administrator", file)
    experiment_id = admin.get_run(run_id).info.experiment_id
    admin.create_registered_model("shared")

    writer = login(server, "writer")
    mine = writer.create_run(experiment_id).info.run_id
    writer.log_metric(mine, "loss", 0.25)
    writer.create_model_version("shared", f"{writer.get_run(mine).info.artifact_uri}/model", mine)
    writer.set_registered_model_alias("shared", "candidate", "1")
    for delete in (
        lambda: writer.delete_run(run_id),
        lambda: writer.delete_run(mine),
        lambda: writer.delete_experiment(experiment_id),
        lambda: writer.delete_model_version("shared", "1"),
        lambda: writer.delete_registered_model_alias("shared", "candidate"),
    ):
        with pytest.raises(DENIED, match="403"):
            delete()
    own = log_run(writer, "the writer's own", file)
    writer.create_registered_model("own")
    writer.create_model_version("own", f"{writer.get_run(own).info.artifact_uri}/model", own)
    writer.set_registered_model_alias("own", "candidate", "1")
    writer.delete_registered_model_alias("own", "candidate")
    writer.delete_registered_model("own")
    writer.delete_run(own)
    writer.delete_experiment(writer.get_run(own).info.experiment_id)

    manager = login(server, "manager")
    manager.delete_registered_model_alias("shared", "candidate")
    manager.delete_model_version("shared", "1")
    manager.delete_run(mine)


def test_users_are_managed_as_documented(server: TrackingServer, tmp_path: Path) -> None:
    """The code of docs/tracking.md, as the administrator would run it."""
    text = (ROOT / "docs/tracking.md").read_text(encoding="utf-8")
    roles, user = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for code in (roles, user):
        code = code.replace("http://127.0.0.1:5000", server.uri)
        code = code.replace('"default", permission', '"default", "my " + permission')  # EDIT is there already
        code = code.replace('roles["EDIT"]', 'roles["my EDIT"]')
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            input="alice's long password\n",
            env=os.environ | server.login() | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            start_new_session=True,  # no terminal to ask for the password
        )
        assert done.returncode == 0, done.stderr
    create = ("POST", "/api/2.0/mlflow/experiments/create", "alice", "alice's long password")
    assert ask(server, *create, {"name": "of alice"})[0] == 200


def test_only_the_administrator_manages_users(server: TrackingServer) -> None:
    server.add_user("carol", PASSWORD.format("carol"), "MANAGE")
    carol = ("carol", PASSWORD.format("carol"))
    new = {"username": "mallory", "password": "a long password"}
    assert ask(server, "POST", "/api/2.0/mlflow/users/create", *carol, new)[0] == 403
    assert ask(server, "DELETE", "/api/2.0/mlflow/users/delete", *carol, {"username": "reader"})[0] == 403
    server.manage("PATCH", "2.0/mlflow/users/update-password", username="carol", password="another password")
    search = ("POST", "/api/2.0/mlflow/experiments/search", "carol")
    assert ask(server, *search, PASSWORD.format("carol"), SEARCH)[0] == 401
    assert ask(server, *search, "another password", SEARCH)[0] == 200
    server.manage("DELETE", "2.0/mlflow/users/delete", username="carol")
    assert ask(server, *search, "another password", SEARCH)[0] == 401


@pytest.mark.parametrize(
    "name",
    [
        "../{}",
        "workspaces/default/0/../../../../{}",
        "%2e%2e/{}",
        "..%2f{}",
        "%252e%252e%252f{}",
        "workspaces/default/0/%2e%2e/%2e%2e/%2e%2e/%2e%2e/{}",
        "..%2F..%2F..%2F{}",
        "{folder}/{}",
        "%2f{folder}%2f{}",
        "file://{folder}/{}",
    ],
)
def test_artifacts_stay_in_their_folder(server: TrackingServer, name: str) -> None:
    def send(method: str, target: str, body: bytes | None = None, prefix: str = "/") -> tuple[int, bytes]:
        path = name.format(target, folder=str(server.folder))
        return ask(server, method, f"{ARTIFACTS}{prefix}{path}", "admin", server.admin_password, body)

    assert send("PUT", "planted", b"x")[0] == 400
    status, content = send("GET", "secrets/admin-password")
    assert status == 400
    assert server.admin_password.encode() not in content
    status, content = send("GET", "secrets", prefix="?path=")
    assert b"admin-password" not in content
    send("DELETE", "mlflow.db")
    assert (server.folder / "mlflow.db").exists()
    for folder in (server.folder, *server.folder.parents[:2]):
        assert not (folder / "planted").exists()
    assert not list((server.folder / "artifacts").rglob("planted"))


def test_no_experiment_or_version_points_at_the_servers_files(server: TrackingServer) -> None:
    secrets = f"{server.folder}/secrets"
    who = ("writer", PASSWORD.format("writer"))
    ask(server, "POST", "/api/2.0/mlflow/registered-models/create", *who, {"name": "pointing"})
    for place in (secrets, f"file://{secrets}", "mlflow-artifacts:/../secrets"):
        experiment = {"name": place, "artifact_location": place}
        assert ask(server, "POST", "/api/2.0/mlflow/experiments/create", *who, experiment)[0] == 400
        version = {"name": "pointing", "source": place}
        assert ask(server, "POST", "/api/2.0/mlflow/model-versions/create", *who, version)[0] == 400


def test_artifacts_go_to_s3_for_a_client_that_knows_nothing_of_it(login: Login, tmp_path: Path) -> None:
    port = free_port()
    s3 = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with (tmp_path / "s3.log").open("w") as output:
        store = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        make_bucket(port, "langpose")
        variables = {
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "of-the-server",
            "AWS_SECRET_ACCESS_KEY": "of-the-server-alone",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with TrackingServer(tmp_path, artifacts="s3://langpose/runs", variables=variables) as server:
            file = tmp_path / "notes.txt"
            file.write_text("in the bucket")
            client = login(server)
            run_id = log_run(client, "on S3", file)
            assert_run_is_whole(client, run_id, file, tmp_path / "copy")
            experiment_id = client.get_run(run_id).info.experiment_id
            key = f"runs/workspaces/default/{experiment_id}/{run_id}/artifacts/notes.txt"
            digest = hashlib.md5(b"in the bucket").hexdigest()
            assert list_bucket(port, "langpose") == {key: digest}
            assert not (server.folder / "artifacts").exists()
            assert variables["AWS_SECRET_ACCESS_KEY"] not in server.log.read_text()
    finally:
        store.kill()
        store.wait()


def make_bucket(port: int, name: str) -> None:
    """A new bucket, as soon as S3 answers."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            assert ask_s3(port, "PUT", f"/{name}") == b""
            return
        time.sleep(0.1)
    raise AssertionError("no S3")


def list_bucket(port: int, name: str) -> dict[str, str]:
    """Key -> MD5 of what it holds."""
    found = re.findall(
        r"<Key>(.*?)</Key>.*?<ETag>\W*(\w+)\W*</ETag>", ask_s3(port, "GET", f"/{name}").decode()
    )
    return dict(found)


def ask_s3(port: int, method: str, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


def test_what_cannot_start_says_so_in_one_line(server: TrackingServer, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    new = ("--folder", tmp_path / "new")
    for words, message in (
        (("--folder", shared), f"chmod 700 {shared}"),
        (("--folder", "/proc/none"), "/proc/none cannot be used"),
        ((*new, "--database", "postgresql://mlflow:hunter22@db/mlflow"), "put it into ~/.pgpass"),
        ((*new, "--database=postgresql://db/mlflow?password=hunter22"), "put it into ~/.pgpass"),
        ((*new, "--registry-store-uri=mysql://a:hunter22@db/b"), "put it into ~/.pgpass"),
        ((*new, "--artifacts", "s3:/bucket"), "s3:/bucket is neither a folder nor s3://BUCKET/PATH"),
        ((*new, "--artifacts", "file:///b"), "file:///b is neither a folder nor"),
        ((*new, "--port", server.port), f"--port {server.port} cannot be used: Address already in use"),
        ((*new, "--port", "99999"), "'99999' must be a whole number from 1 to 65535"),
        ((*new, "--host", "192.0.2.1"), "--host 192.0.2.1 --port 5000 cannot be used"),
    ):
        done = call(*words)
        assert done.returncode == 2, done
        [line] = done.stderr.splitlines()
        assert line.startswith("tracking_server: error: ")
        assert message in line
        assert "hunter22" not in line
    assert not (tmp_path / "new").exists()
    assert ask(server, "GET", "/health", "", "")[0] == 200  # none of them disturbed it


def test_a_missing_package_is_named_with_the_remedy(tmp_path: Path) -> None:
    without = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "flask_wtf" else find(name)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = [sys.executable, "-c", without, str(SCRIPT), "--folder", str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "lacks flask_wtf; pip install 'langpose-dist[server]'" in done.stderr


def test_a_dry_run_prints_the_command_and_makes_nothing(tmp_path: Path) -> None:
    words = ("--artifacts", "s3://bucket/path", "--allowed-hosts", "tracking.example.org", "--dry-run")
    done = call("--folder", tmp_path / "new", *words)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "-m mlflow server --app-name basic-auth" in line
    assert "--artifacts-destination s3://bucket/path --host 127.0.0.1 --port 5000" in line
    assert line.endswith("--allowed-hosts tracking.example.org")
    assert not (tmp_path / "new").exists()


def test_the_administrators_password_may_come_from_the_environment(tmp_path: Path) -> None:
    password = "given by the environment"
    variables = {"MLFLOW_AUTH_ADMIN_PASSWORD": password}
    with TrackingServer(tmp_path, variables=variables) as server:
        search = ("POST", "/api/2.0/mlflow/experiments/search", "admin")
        assert ask(server, *search, password, SEARCH)[0] == 200
        assert not (server.folder / "secrets" / "admin-password").exists()
        assert password not in server.log.read_text()


def test_no_agent_works_on_the_servers_machine(server: TrackingServer) -> None:
    prefix = "/ajax-api/3.0/mlflow"
    for method, path in (
        ("GET", "/assistant/config"),
        ("PUT", "/assistant/config"),
        ("POST", "/assistant/message"),
        ("POST", "/%61ssistant/message"),
        ("POST", "/demo/generate"),
    ):
        for name, password in (("admin", server.admin_password), ("reader", PASSWORD.format("reader"))):
            assert ask(server, method, prefix + path, name, password, {})[0] == 403


@pytest.mark.slow
def test_no_route_that_writes_answers_a_reader(server: TrackingServer) -> None:
    # MLflow's own routes, those of the web page included.
    script = """
import json
from mlflow.server import app
from mlflow.server.fastapi_app import create_fastapi_app
rules = [(str(rule), rule.methods) for rule in app.url_map.iter_rules()]
rules += create_fastapi_app(app).openapi()["paths"].items()
print(json.dumps([[method.upper(), path] for path, methods in rules for method in methods]))
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    routes = [(method, path) for method, path in json.loads(listing.splitlines()[-1])]
    writing = [(method, path) for method, path in routes if method in ("POST", "PUT", "PATCH", "DELETE")]
    assert len(writing) > 200
    assert any("assistant" in path for _, path in writing)
    body = {"experiment_id": "0", "name": "mine", "key": "a", "value": "b", "permission": "EDIT"}
    answered = set()
    for method, route in writing:
        path = re.sub("<.*?>|{.*?}", "1", route)
        status, _ = ask(server, method, path, "reader", PASSWORD.format("reader"), body)
        if status < 400:
            answered.add(path.rpartition("/")[2])
    # The last two do nothing here: there is no gateway, and telemetry is off.
    assert answered <= {"search", "gateway-proxy", "ui-telemetry"}
