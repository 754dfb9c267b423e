import getpass
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mlflow import MlflowClient

from langpose_dist.config import UserError
from langpose_dist.tracking.client import resolve_uri
from langpose_dist.tracking.registry.promotion import Promotion, list_promotions, promote
from langpose_dist.tracking.registry.references import resolve
from tests.tracking.registering import Store, evaluation, make_store, tiny_config

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

METRICS = ("masked/mpjpe_mm", "clean/mpjpe_mm")
_names = (f"gate-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("promotion"))


@pytest.fixture
def name() -> str:
    return next(_names)


def move(client: MlflowClient, reference: str, **changes: Any) -> Promotion:
    return promote(client, reference, **({"metrics": METRICS, "tolerance": 0.0} | changes))


def champion(store: Store, name: str) -> int | None:
    target = store.client.get_registered_model(name).aliases.get("champion")
    return None if target is None else int(target)


def traces(store: Store, name: str) -> tuple[object, ...]:
    """All that a promotion writes."""
    client = store.client
    model = client.get_registered_model(name)
    versions = client.search_model_versions(f"name='{name}'")
    return (
        dict(model.tags),
        dict(model.aliases),
        [(version.version, dict(version.tags)) for version in versions],
    )


def test_the_first_needs_the_named_metrics_only(store: Store, name: str) -> None:
    store.register(name, evaluation())
    promotion = move(store.client, f"{name}@candidate")
    assert champion(store, name) == 1
    assert (promotion.from_version, promotion.to_version, promotion.is_new) == (None, 1, True)
    assert promotion.metrics == {"masked/mpjpe_mm": 80.0, "clean/mpjpe_mm": 70.0}
    assert promotion.replaced_metrics == {}
    assert promotion.user == getpass.getuser()
    assert abs(datetime.fromisoformat(promotion.time) - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_first_without_a_named_metric_is_refused(store: Store, name: str) -> None:
    store.register(name, None)
    before = traces(store, name)
    with pytest.raises(UserError) as caught:
        move(store.client, f"{name}/1")
    assert str(caught.value) == (
        f"{name}/1 is not promoted to {name}@champion: {name}/1 has no masked/mpjpe_mm; "
        f"{name}/1 has no clean/mpjpe_mm; --force --reason TEXT overrides this"
    )
    assert traces(store, name) == before


def test_a_better_or_equal_one_takes_the_place(store: Store, name: str) -> None:
    store.register(name, evaluation(80.0, 70.0))
    store.register(name, evaluation(79.0, 70.0))
    move(store.client, f"{name}/1")
    promotion = move(store.client, f"{name}/2")
    assert champion(store, name) == 2
    assert (promotion.from_version, promotion.objections, promotion.reason) == (1, (), None)
    assert promotion.replaced_metrics == {"masked/mpjpe_mm": 80.0, "clean/mpjpe_mm": 70.0}


@pytest.mark.parametrize(
    ("content", "options", "objection"),
    [
        (evaluation(81.0), {}, "worse masked/mpjpe_mm: 81 against 80"),
        (
            evaluation(84.1),
            {"tolerance": 0.05},
            "worse masked/mpjpe_mm: 84.1 against 80, at most 84 is allowed",
        ),
        (
            evaluation(conditions={"masked": {"r_at_1": 0.2}}),
            {"metrics": ("masked/r_at_1",)},
            "worse masked/r_at_1: 0.2 against 0.25",
        ),
        (evaluation(float("nan")), {}, "masked/mpjpe_mm of NAME/2 is nan"),
        (evaluation(conditions={"clean": {"mpjpe_mm": 1.0}}), {}, "NAME/2 has no masked/mpjpe_mm"),
        (evaluation(1.0, split="test"), {}, "other split: test against validation"),
        (
            evaluation(1.0, source_2d="detected"),
            {},
            "other 2D source: detected against synthetic: ground-truth 3D through a virtual camera",
        ),
        (
            evaluation(1.0, data_fingerprint="e" * 64),
            {},
            f"other evaluation data (fingerprint): {'e' * 64} against {'f' * 64}",
        ),
        (evaluation(1.0, num_windows=11), {}, "other number of windows: 11 against 12"),
        (
            evaluation(num_labels=39),
            {"metrics": ("masked/r_at_1",)},
            "other number of labels for masked/r_at_1: 39 against 40",
        ),
        (evaluation(1.0, data_fingerprint=None), {}, "unknown evaluation data (fingerprint) of NAME/2"),
        (evaluation(1.0, protocol={}), {}, "unknown protocol"),
        (
            evaluation(1.0, protocol={"mpjpe_mm": "after alignment", "r_at_k": "share of windows"}),
            {},
            "other protocol of mpjpe_mm: after alignment against mean per-joint position error",
        ),
        (None, {}, "NAME/2 was never evaluated"),
    ],
)
def test_a_worse_or_incomparable_one_is_refused_and_nothing_written(
    store: Store, name: str, content: dict[str, Any] | None, options: dict[str, Any], objection: str
) -> None:
    store.register(name, evaluation(num_labels=40))
    move(store.client, f"{name}/1")
    store.register(name, content)
    before = traces(store, name)
    with pytest.raises(UserError) as caught:
        move(store.client, f"{name}/2", **options)
    assert objection.replace("NAME", name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert traces(store, name) == before


@pytest.mark.parametrize(
    ("num_labels", "metric"),
    [(40, "masked/r_at_1"), (None, "masked/r_at_1"), (39, "masked/mpjpe_mm")],  # of old versions unknown
)
def test_the_number_of_labels_matters_where_they_are_ranked(
    store: Store, name: str, num_labels: int | None, metric: str
) -> None:
    store.register(name, evaluation(num_labels=40))
    move(store.client, f"{name}/1")
    store.register(name, evaluation(num_labels=num_labels))
    assert move(store.client, f"{name}/2", metrics=(metric,)).to_version == 2


def test_numbers_under_other_noise_are_not_comparable(store: Store, name: str) -> None:
    store.register(name, evaluation())
    move(store.client, f"{name}/1")
    store.register(name, evaluation(1.0), config=tiny_config(noise={"gaussian_std": 0.0}))
    with pytest.raises(UserError, match=r"other evaluation setting of noise.gaussian_std: 0.0 against 0.015"):
        move(store.client, f"{name}/2")
    # What belongs to training alone does not matter.
    store.register(name, evaluation(), config=tiny_config(noise={"enabled": False}, loss={"gamma": 1.0}))
    assert move(store.client, f"{name}/3").to_version == 3


def test_every_reason_is_named(store: Store, name: str) -> None:
    store.register(name, evaluation())
    move(store.client, f"{name}/1")
    store.register(name, evaluation(90.0, 90.0, split="test"))
    with pytest.raises(UserError) as caught:
        move(store.client, f"{name}/2")
    assert str(caught.value) == (
        f"{name}/2 is not promoted to {name}@champion ({name}/1): other split: test against validation; "
        "worse masked/mpjpe_mm: 90 against 80; worse clean/mpjpe_mm: 90 against 70; "
        "--force --reason TEXT overrides this"
    )


def test_worse_within_the_tolerance_is_let_pass(store: Store, name: str) -> None:
    content = evaluation(84.0, 73.0)
    content["conditions"]["masked"]["r_at_1"] = 0.24
    store.register(name, evaluation())
    store.register(name, content)
    metrics = (*METRICS, "masked/r_at_1")
    move(store.client, f"{name}/1", metrics=metrics)
    assert move(store.client, f"{name}/2", metrics=metrics, tolerance=0.05).to_version == 2


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
def test_force_needs_a_reason(store: Store, name: str, reason: str) -> None:
    store.register(name, evaluation())
    before = traces(store, name)
    with pytest.raises(UserError, match="a forced promotion needs a reason of 1 to 500 characters"):
        move(store.client, f"{name}/1", force_reason=reason)
    assert traces(store, name) == before


def test_a_forced_one_records_why_and_against_what(store: Store, name: str) -> None:
    store.register(name, evaluation())
    store.register(name, evaluation(90.0))
    move(store.client, f"{name}/1")
    promotion = move(store.client, f"{name}/2", force_reason="faster on phones\n")
    assert champion(store, name) == 2
    assert promotion.reason == "faster on phones"
    assert promotion.objections == ("worse masked/mpjpe_mm: 90 against 80",)
    record = list_promotions(store.client, name)[-1]
    assert (record["reason"], record["objections"]) == (promotion.reason, list(promotion.objections))
    # A reason that was not needed is none.
    assert move(store.client, f"{name}/1", force_reason="back").reason is None


def test_the_history_stays_in_order_on_model_and_versions(store: Store, name: str) -> None:
    for _ in range(3):
        store.register(name, evaluation())
    for number in (1, 3, 2, 1):
        move(store.client, f"{name}/{number}")
    history = list_promotions(store.client, name)
    assert [(record["from_version"], record["to_version"]) for record in history] == [
        (None, 1),
        (1, 3),
        (3, 2),
        (2, 1),
    ]
    assert {record["state"] for record in history} == {"done"}
    assert [record["to_version"] for record in resolve(store.client, f"{name}/1").promotions] == [1, 1]
    tags = store.client.get_model_version(name, "3").tags
    (record,) = (json.loads(value) for key, value in tags.items() if key.startswith("promotion."))
    assert record["metrics"] == {"masked/mpjpe_mm": 80.0, "clean/mpjpe_mm": 70.0}
    assert record["alias"] == "champion"


def test_what_holds_the_alias_already_is_left_alone(store: Store, name: str) -> None:
    store.register(name, evaluation())
    move(store.client, f"{name}/1")
    before = traces(store, name)
    assert not move(store.client, f"{name}/1").is_new
    assert traces(store, name) == before


def test_other_aliases_have_gates_of_their_own(store: Store, name: str) -> None:
    store.register(name, evaluation())
    store.register(name, evaluation(90.0))
    move(store.client, f"{name}/1")
    assert move(store.client, f"{name}/2", alias="experimental").from_version is None
    with pytest.raises(UserError, match="must consist of letters"):
        move(store.client, f"{name}/2", alias="v1")
    assert champion(store, name) == 1


class Failing(MlflowClient):
    """Loses its server in the middle of a promotion."""

    def __init__(self, store: Store) -> None:
        uri = resolve_uri(store.uri)
        super().__init__(uri, registry_uri=uri)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        raise ConnectionError("the server is away")


def test_a_crash_in_between_leaves_a_pending_record(store: Store, name: str) -> None:
    store.register(name, evaluation())
    with pytest.raises(UserError, match="cannot be promoted: the server is away"):
        move(Failing(store), f"{name}/1")
    assert champion(store, name) is None
    assert resolve(store.client, f"{name}/1").promotions == ()
    assert move(store.client, f"{name}/1").is_new
    assert champion(store, name) == 1
    assert [record["state"] for record in list_promotions(store.client, name)] == ["pending", "done"]


def test_records_that_others_wrote_do_not_break_a_lookup(store: Store, name: str) -> None:
    store.register(name, evaluation())
    store.client.set_registered_model_tag(name, "promotion.1", "not JSON")
    store.client.set_model_version_tag(name, "1", "evaluation", "[1]")
    store.client.set_model_version_tag(name, "1", "files_sha256", "{")
    version = resolve(store.client, f"{name}/1")
    assert (version.evaluation, version.files, version.metrics) == ({}, {}, {})
