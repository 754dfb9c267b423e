"""The registry through a real server with users, as the people who look models up reach it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from langpose_dist.config import UserError
from langpose_dist.tracking.client import connect, resolve_uri
from langpose_dist.tracking.registry.promotion import list_promotions, promote
from langpose_dist.tracking.registry.pull import pull
from langpose_dist.tracking.registry.references import resolve
from tests.tracking.registering import Store, check_loading, evaluation
from tests.tracking.servers import TrackingServer, missing_postgresql

METRICS = ("masked/mpjpe_mm", "clean/mpjpe_mm")


@pytest.fixture(scope="module", params=[pytest.param("sqlite", marks=pytest.mark.slow), "postgresql"])
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[TrackingServer]:
    if request.param == "postgresql" and (reason := missing_postgresql()):
        pytest.skip(reason)
    with TrackingServer(tmp_path_factory.mktemp("server"), store=request.param) as server:
        server.add_user("reader", "only-reads-models", "READ")
        yield server


@pytest.fixture
def store(
    server: TrackingServer, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Store:
    for name, value in server.login().items():
        monkeypatch.setenv(name, value)
    return Store(server.uri, tmp_path_factory.mktemp("weights"))


def test_who_only_reads_loads_the_champion_from_another_folder(
    server: TrackingServer, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register("shared", evaluation(80.0))
    run_id = store.start_run()
    assert store.register("shared", evaluation(79.0), run_id=run_id) == "shared/2"
    assert store.register("shared", evaluation(79.0), run_id=run_id) == "shared/2"
    for number in (1, 2):
        promote(store.client, f"shared/{number}", metrics=METRICS, tolerance=0.0)
    for name, value in server.login("reader", "only-reads-models").items():
        monkeypatch.setenv(name, value)
    client = connect(resolve_uri(None), create=False)
    version = resolve(client, "shared@champion")
    assert version == resolve(client, "models:/shared/2") == resolve(client, run_id)
    assert version.evaluation == evaluation(79.0)
    assert [record["state"] for record in list_promotions(client, "shared")] == ["done", "done"]
    pulled = pull(client, "shared@champion", tmp_path / "champion")
    assert pulled.is_new
    assert not pull(client, "shared@champion", tmp_path / "champion").is_new
    with pytest.raises(UserError, match="shared/1 cannot be promoted: "):
        promote(client, "shared/1", metrics=METRICS, tolerance=0.1)
    with pytest.raises(MlflowException):
        client.set_registered_model_alias("shared", "mine", "1")
    (tmp_path / "elsewhere").mkdir()
    check_loading(store, "models:/shared@champion", tmp_path / "elsewhere")


def test_the_longest_record_fits(store: Store) -> None:
    protocol = {f"{number:02}" + "m" * 60: "é" * 200 for number in range(20)}
    store.register("long", evaluation())
    store.register("long", evaluation(90.0, protocol=protocol))
    promote(store.client, "long/1", metrics=METRICS, tolerance=0.0)
    promote(store.client, "long/2", metrics=METRICS, tolerance=0.0, force_reason='"é"' * 166)
    record = list_promotions(store.client, "long")[-1]
    assert (record["state"], record["reason"], len(record["objections"])) == ("done", '"é"' * 166, 8)


def test_the_metrics_are_on_the_model_s_page(store: Store) -> None:
    run_id = store.start_run()
    store.register("page", evaluation(), run_id=run_id)
    _, metrics = store.stored_model(run_id)
    assert {metric.key for metric in metrics} >= {"validation/clean/mpjpe_mm", "validation/masked/mpjpe_mm"}
    assert {(metric.dataset_name, metric.dataset_digest) for metric in metrics} == {
        ("toy (validation)", "f" * 36)
    }


def test_files_that_changed_on_the_server_are_refused(
    server: TrackingServer, store: Store, tmp_path: Path
) -> None:
    store.register("changed", evaluation())
    found = server.folder.rglob("model.safetensors")
    weights = max(found, key=lambda path: path.stat().st_mtime)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"changed/1 is not what was registered: .* has another SHA-256"):
        pull(store.client, "changed/1", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_unavailable_is_one_line(
    server: TrackingServer, store: Store, tmp_path: Path
) -> None:
    store.register("away", evaluation())
    client = store.client
    server.stop()
    try:
        for action in (
            lambda: connect(resolve_uri(None), create=False),
            lambda: resolve(client, "away@candidate"),
            lambda: pull(client, "away/1", tmp_path / "model"),
        ):
            start = time.monotonic()
            with pytest.raises(UserError) as caught:
                action()
            assert "\n" not in str(caught.value)
            assert time.monotonic() - start < 30
    finally:
        server.start()
    assert not list(tmp_path.iterdir())
