import pytest

from langpose_dist.config import UserError
from langpose_dist.tracking.registry.references import Reference, find_referenced, parse_reference, resolve
from langpose_dist.tracking.runs import RUN_UID
from tests.tracking.registering import Store, evaluation, make_store

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

RUN = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """``lifter`` in two versions, of which 2 is the candidate, and ``empty``."""
    store = make_store(tmp_path_factory.mktemp("references"))
    store.register("lifter", evaluation())
    store.register("lifter", evaluation())
    store.client.create_registered_model("empty")
    return store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lifter", Reference("lifter")),
        ("my lifter-2.1", Reference("my lifter-2.1")),
        ("lifter@champion", Reference("lifter", alias="champion")),
        ("lifter/3", Reference("lifter", version=3)),
        ("models:/lifter@champion", Reference("lifter", alias="champion")),
        ("models:/lifter/3", Reference("lifter", version=3)),
        (RUN, Reference(run_id=RUN)),
        (f"runs:/{RUN}", Reference(run_id=RUN)),
        (f"models:/{RUN}", Reference(RUN)),
    ],
)
def test_every_form_is_understood(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a/b",
        "a@",
        "a/",
        "a@b/3",
        "a@b@c",
        "models:/",
        "models://a/3",
        "runs:/1",
        "a/-1",
        "a/latest",
        "../a",
    ],
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_reference(text)
    assert str(caught.value) == (
        f"{text!r} is no reference to a model; write NAME@ALIAS, NAME/VERSION, models:/ before either, "
        "runs:/RUN_ID or a run id"
    )


def test_alias_version_and_run_name_the_same_version(store: Store) -> None:
    client = store.client
    version = resolve(client, "lifter@candidate")
    assert version.label == "lifter/2"
    assert version.run_id is not None
    for text in (
        "lifter/2",
        "models:/lifter@candidate",
        "models:/lifter/2",
        version.run_id,
        f"runs:/{version.run_id}",
    ):
        assert resolve(client, text) == version
    assert [found.version for found in find_referenced(client, "lifter")] == [2, 1]


def test_a_run_is_found_by_the_name_that_its_weights_carry(store: Store) -> None:
    client = store.client
    version = resolve(client, "lifter/1")
    client.set_tag(str(version.run_id), RUN_UID, RUN)
    assert resolve(client, RUN) == version


def test_what_there_is_not_is_answered_with_what_there_is(store: Store) -> None:
    client = store.client
    idle = store.start_run()
    for text, message in {
        "lifer@candidate": "the registry has no model 'lifer'; it has empty, lifter",
        "lifter@best": "model 'lifter' has no alias 'best'; it has candidate",
        "lifter/9": "model 'lifter' has no version 9; it has 2, 1",
        "empty/1": "model 'empty' has no version 1; it has none",
        "lifter": "lifter does not say which version; choose one of lifter/2, lifter/1, lifter@candidate",
        "empty": "empty does not say which version; choose one of none: it has no versions",
        "f" * 32: f"the tracking store has no run {'f' * 32}",
        idle: f"run {idle} has registered no model; langpose registry register RUN_DIR does that",
    }.items():
        with pytest.raises(UserError) as caught:
            resolve(client, text)
        assert str(caught.value) == message


def test_a_run_with_several_versions_names_them(store: Store) -> None:
    client = store.client
    run_id = store.start_run()
    store.register("several", evaluation(), run_id=run_id)
    store.register("several", evaluation(), run_id=run_id, seed=1)
    with pytest.raises(UserError, match=r"does not say which version; choose one of several/2, several/1"):
        resolve(client, run_id)
