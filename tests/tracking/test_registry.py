from pathlib import Path

import pytest

from langpose_dist.config import UserError
from langpose_dist.tracking.client import connect, resolve_uri
from langpose_dist.tracking.registry import RegisteredName, find_versions, find_versions_of_run, list_models
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
