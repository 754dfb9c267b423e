import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from langpose_dist.config import UserError
from langpose_dist.tracking.client import connect, one_line, resolve_uri
from langpose_dist.tracking.registry import versions as registry
from langpose_dist.tracking.registry.versions import (
    RegisteredName,
    find_versions,
    find_versions_of_run,
    list_models,
)
from tests.tracking.registering import Store, evaluation, make_store

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """``lifter`` in two versions."""
    store = make_store(tmp_path_factory.mktemp("registry"))
    store.register("lifter", evaluation(80.5))
    store.register("lifter", evaluation(70.5))
    return store


def test_versions_are_found_newest_first_with_their_aliases(store: Store) -> None:
    client = store.client
    newest, oldest = find_versions(client, "lifter")
    assert (newest.label, newest.aliases, newest.metrics["masked/mpjpe_mm"]) == (
        "lifter/2",
        ("candidate",),
        70.5,
    )
    assert (oldest.label, oldest.aliases, oldest.metrics["masked/mpjpe_mm"]) == ("lifter/1", (), 80.5)
    assert find_versions(client, "lifter", "candidate") == [newest]
    assert find_versions_of_run(client, str(oldest.run_id)) == [oldest]
    assert find_versions_of_run(client, "f" * 32) == []
    assert list_models(client) == [RegisteredName("lifter", (2, 1), {"candidate": 2})]


def test_more_versions_than_a_page_holds_are_all_found(store: Store) -> None:
    client = store.client
    client.create_registered_model("many's")
    for _ in range(101):
        client.create_model_version("many's", store.folder.as_uri())
    assert [version.version for version in find_versions(client, "many's")] == list(range(101, 0, -1))
    client.delete_registered_model("many's")


@pytest.mark.parametrize(
    ("name", "alias", "message"),
    [
        ("liftr", None, "the registry has no model 'liftr'; it has lifter"),
        ("lifter", "best", "model 'lifter' has no alias 'best'; it has candidate"),
    ],
)
def test_a_missing_name_or_alias_is_one_line(
    store: Store, name: str, alias: str | None, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        find_versions(store.client, name, alias)
    assert str(caught.value) == message


def test_a_lookup_creates_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no tracking database"):
        connect(resolve_uri(f"sqlite:///{tmp_path}/mlflow.db"), create=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["[" * 90_000, "1" * 9000])
def test_a_tag_that_is_absurd_is_as_good_as_none(store: Store, content: str) -> None:
    client, name = store.client, "absurd"
    client.create_registered_model(name)
    client.create_model_version(name, store.folder.as_uri())
    for key in ("evaluation", "evaluation_settings", "files_sha256"):
        client.set_model_version_tag(name, "1", key, f'{{"x": {content}}}')
    client.set_model_version_tag(name, "1", "parents", f"[{content}]")
    client.set_model_version_tag(name, "1", "promotion.1", content)
    client.set_registered_model_tag(name, "promotion.2", content[:5000])
    try:
        (version,) = find_versions(client, name)
        assert (version.evaluation, version.settings, version.files, version.parents) == ({}, {}, {}, ())
        assert version.promotions == ({"key": "promotion.1"},)
        json.dumps(version.to_dict(), indent=2)
    finally:
        client.delete_registered_model(name)


def test_a_version_that_cannot_be_described_hides_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(tags: Mapping[str, str], key: str, empty: Any) -> Any:
        if "poisoned" in tags:
            raise TypeError("nobody foresaw this")
        return original(tags, key, empty)

    client, original = store.client, registry._read
    run_id = store.start_run()
    store.register("pair", evaluation(), run_id=run_id)
    store.register("pair", evaluation(), alias="other")
    client.set_model_version_tag("pair", "2", "poisoned", "yes")
    monkeypatch.setattr(registry, "_read", read)
    assert [version.version for version in find_versions(client, "pair", "candidate")] == [1]
    assert [version.version for version in find_versions(client, "pair", number=1)] == [1]
    assert [version.version for version in find_versions_of_run(client, run_id)] == [1]
    with pytest.raises(UserError, match="nobody foresaw this"):
        find_versions(client, "pair")
    client.delete_registered_model("pair")


def test_what_a_server_says_holds_no_control_characters() -> None:
    problem = "\x1b[2J\x1b]0;title\x07 no\nsuch\x9b thing"
    assert one_line(RuntimeError(problem)) == "?[2J?]0;title? no such? thing"
    lost = OSError(111, problem)
    lost.__cause__ = requests.ConnectionError()
    assert one_line(lost) == "the server does not answer (?[2J?]0;title? no such? thing)"
