import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient, pyfunc
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from langpose_dist.config import UserError
from langpose_dist.host.atomic import hash_file
from langpose_dist.tracking.client import resolve_uri
from langpose_dist.tracking.registry.versions import RegisteredVersion, find_versions, list_models
from tests.tracking.registering import NUM_FRAMES, Store, check_loading, evaluation, make_store, tiny_config

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("registration"))


def only_version(store: Store, name: str) -> RegisteredVersion:
    (version,) = find_versions(store.client, name)
    return version


def stored(store: Store, version: RegisteredVersion, folder: Path) -> Path:
    source = store.client.get_model_version_download_uri(version.name, str(version.version))
    return Path(download_artifacts(source, dst_path=str(folder), tracking_uri=store.uri))


def test_a_version_says_what_it_was_made_from(store: Store) -> None:
    run_id = store.start_run()
    content = evaluation()
    name = store.register(
        "origin", content, run_id=run_id, licence="CC BY-NC 4.0", parents=("a" * 32, "older/3")
    )
    assert name == "origin/1"
    version = only_version(store, "origin")
    assert (version.run_id, version.status, version.aliases) == (run_id, "READY", ("candidate",))
    assert version.evaluation == content
    assert version.metrics == {
        "clean/mpjpe_mm": 70.0,
        "clean/r_at_1": 0.5,
        "masked/mpjpe_mm": 80.0,
        "masked/r_at_1": 0.25,
    }
    assert version.licence == "CC BY-NC 4.0"
    assert version.parents == ("a" * 32, "older/3")
    assert version.settings["noise.gaussian_std"] == 0.015
    assert version.settings["window.num_frames"] == NUM_FRAMES
    assert not any(key.endswith("enabled") for key in version.settings)
    assert version.tags["git_commit"] == "abc"
    assert version.tags["weights_sha256"] == hash_file(store.weights())
    assert json.loads(json.dumps(version.to_dict()))["metrics"] == version.metrics


def test_the_stored_model_is_plain_files_with_their_hashes(store: Store, tmp_path: Path) -> None:
    store.register("plain", evaluation())
    version = only_version(store, "plain")
    folder = stored(store, version, tmp_path)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "MLmodel",
        "artifacts/config.yaml",
        "artifacts/evaluation.json",
        "artifacts/langpose_dist.zip",
        "artifacts/model.safetensors",
        "conda.yaml",
        "input_example.json",
        "model_card.md",
        "pyfunc.py",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }
    assert version.files == {name: hash_file(folder / name) for name in files}
    assert json.loads((folder / "artifacts/evaluation.json").read_text()) == evaluation()
    assert f"num_frames: {NUM_FRAMES}" in (folder / "artifacts/config.yaml").read_text()
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert not any(line.startswith("langpose-dist") for line in requirements)
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements


def test_the_model_card_tells_a_stranger_what_it_is(store: Store, tmp_path: Path) -> None:
    store.register("card", evaluation(), licence="CC BY 4.0")
    version = only_version(store, "card")
    card = (stored(store, version, tmp_path) / "model_card.md").read_text(encoding="utf-8")
    for text in (
        'mlflow.pyfunc.load_model("models:/card/VERSION")',
        "metres",
        "| `mpjpe_mm` | 70 | 80 |",
        "`mpjpe_mm`: mean per-joint position error",
        "2D input: synthetic: ground-truth 3D through a virtual camera",
        "f" * 64,
        "licence of the training data: CC BY 4.0",
        "commit: abc\n",
        f"MLflow run: {version.run_id}",
        version.tags["weights_sha256"],
    ):
        assert text in card, text


def test_without_licence_or_evaluation_the_version_says_so(store: Store, tmp_path: Path) -> None:
    store.register("bare", None)
    version = only_version(store, "bare")
    assert version.licence == "not stated; ask for it before use"
    assert (version.evaluation, version.metrics, version.parents) == ({}, {}, ())
    card = (stored(store, version, tmp_path) / "model_card.md").read_text(encoding="utf-8")
    assert "This model was never evaluated." in card
    assert "licence of the training data: not stated; ask for it before use" in card


def test_the_metrics_are_on_the_model_s_page_with_their_data(store: Store) -> None:
    run_id = store.start_run()
    content = evaluation()
    content["conditions"]["clean"]["p_mpjpe_mm"] = float("nan")
    store.register("page", content, run_id=run_id)
    model, metrics = store.stored_model(run_id)
    assert {metric.key: metric.value for metric in metrics} == {
        "validation/clean/mpjpe_mm": 70.0,
        "validation/clean/r_at_1": 0.5,
        "validation/masked/mpjpe_mm": 80.0,
        "validation/masked/r_at_1": 0.25,
    }
    assert {(metric.dataset_name, metric.dataset_digest, metric.step) for metric in metrics} == {
        ("toy (validation)", "f" * 36, 7)
    }
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "page", "version": 1}]
    # The version itself keeps what MLflow's metrics cannot.
    assert np.isnan(only_version(store, "page").metrics["clean/p_mpjpe_mm"])


def test_the_stored_model_carries_its_step_and_an_example_that_it_takes(store: Store, tmp_path: Path) -> None:
    run_id = store.start_run()
    store.register("example", evaluation(), run_id=run_id)
    outputs = store.client.get_run(run_id).outputs
    assert outputs is not None
    assert [output.step for output in outputs.model_outputs] == [7]
    model = pyfunc.load_model(str(stored(store, only_version(store, "example"), tmp_path)))
    example = model.input_example
    assert isinstance(example, np.ndarray)
    assert (example.shape, example.dtype) == ((1, 1, 17, 3), np.float32)
    assert model.predict(example).shape == (1, 1, 17, 3)


def test_each_step_of_the_run_keeps_one_value_of_each_metric(store: Store) -> None:
    run_id = store.start_run()
    names = {"validation/clean/mpjpe_mm": 70.0, "validation/masked/mpjpe_mm": 999.0}
    for name, value in names.items():
        store.client.log_metric(run_id, name, value, timestamp=1, step=7)
    for seed in (0, 1):
        store.register("single", evaluation(), run_id=run_id, seed=seed)
    for name, value in {**names, "validation/clean/r_at_1": 0.5}.items():
        (metric,) = store.client.get_metric_history(run_id, name)
        assert (metric.value, metric.step) == (value, 7)
    for output in store.client.get_run(run_id).outputs.model_outputs:  # pyright: ignore[reportOptionalMemberAccess]
        metrics = store.client.get_logged_model(output.model_id).metrics or []
        assert {metric.key: metric.value for metric in metrics} == {
            "validation/clean/mpjpe_mm": 70.0,
            "validation/clean/r_at_1": 0.5,
            "validation/masked/r_at_1": 0.25,
        }


def test_a_fresh_process_loads_it_by_alias_without_pickle(store: Store, tmp_path: Path) -> None:
    store.register("loaded", evaluation())
    check_loading(store, "models:/loaded@candidate", tmp_path, MLFLOW_TRACKING_URI=store.uri)


def test_the_same_registration_twice_is_one_version(store: Store) -> None:
    run_id = store.start_run()
    assert store.register("twice", evaluation(), run_id=run_id) == "twice/1"
    before = only_version(store, "twice")
    assert store.register("twice", evaluation(), run_id=run_id) == "twice/1"
    assert only_version(store, "twice") == before
    # Other weights, another run or another name is another version.
    assert store.register("twice", evaluation(), run_id=run_id, seed=1) == "twice/2"
    assert store.register("twice", evaluation()) == "twice/3"
    assert store.register("twice again", evaluation(), run_id=run_id) == "twice again/1"


def test_a_late_repetition_does_not_take_the_alias_back(store: Store) -> None:
    run_id = store.start_run()
    store.register("late", evaluation(), run_id=run_id)
    store.register("late", evaluation())
    assert store.register("late", evaluation(), run_id=run_id) == "late/1"
    assert find_versions(store.client, "late", "candidate")[0].version == 2


def test_a_metric_that_is_refused_is_noticed_also_where_mlflow_logs_in_the_background(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("no room for metrics")

    run_id = store.start_run()
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore.log_batch", refuse)
    with pytest.raises(MlflowException, match="no room for metrics"):
        store.register("in the background", evaluation(), run_id=run_id)


class FailingClient(MlflowClient):
    """Fails at its n-th call: before the store has heard of it, or when only the answer is lost."""

    def __init__(self, uri: str, fail_at: int, *, is_answer_lost: bool) -> None:
        super().__init__(uri, registry_uri=uri)
        self._left = fail_at
        self._is_answer_lost = is_answer_lost

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or not callable(value):
            return value
        return self._wrap(name, value)

    def _wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            is_chosen = self._left == 0
            if is_chosen and not self._is_answer_lost:
                if name == "log_model_artifacts":  # half of it arrives
                    shutil.rmtree(Path(arguments[1]) / "artifacts")
                    call(*arguments, **options)
                raise ConnectionError(f"no {name}")
            result = call(*arguments, **options)
            if is_chosen:
                raise ConnectionError(f"no answer to {name}")
            return result

        return wrapped

    @property
    def has_failed(self) -> bool:
        return self._left <= 0


@pytest.mark.parametrize("is_answer_lost", [False, True])
def test_a_registration_that_fails_at_any_call_is_finished_by_the_next(
    store: Store, tmp_path: Path, is_answer_lost: bool
) -> None:
    uri = resolve_uri(store.uri)
    client = store.client
    reference = f"whole-{is_answer_lost}"
    store.register(reference, evaluation())
    whole = only_version(store, reference)
    failures = []
    for fail_at in itertools.count(1):
        name, run_id = f"broken-{is_answer_lost}-{fail_at}", store.start_run()
        failing = FailingClient(uri, fail_at, is_answer_lost=is_answer_lost)
        try:
            store.register(name, evaluation(), run_id=run_id, client=failing)
        except ConnectionError as error:
            failures.append(str(error).split()[-1])
        assert failing.has_failed == bool(len(failures) == fail_at)
        if not failing.has_failed:
            break
        # The alias moves only at the end.
        if failures[-1] != "set_registered_model_alias":
            with pytest.raises(MlflowException):
                client.get_model_version_by_alias(name, "candidate")
        assert store.register(name, evaluation(), run_id=run_id) == f"{name}/1"
        version = only_version(store, name)
        assert (
            dataclasses.replace(
                version, name=whole.name, run_id=whole.run_id, created=whole.created, files=whole.files
            )
            == whole
        )
        folder = stored(store, version, tmp_path / name)
        assert version.files == {
            path.relative_to(folder).as_posix(): hash_file(path)
            for path in folder.rglob("*")
            if path.is_file()
        }
        model, metrics = store.stored_model(run_id)
        assert len(metrics) == 4
        assert model.status == "READY"
        assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": name, "version": 1}]
        models = client.search_logged_models([model.experiment_id], f"source_run_id = '{run_id}'")
        assert [found.model_id for found in models] == [model.model_id]
    assert {"create_logged_model", "log_model_artifacts", "create_model_version", "log_batch"} <= set(
        failures
    )
    assert "set_registered_model_alias" in failures


def test_missing_weights_are_refused_before_anything_is_stored(store: Store) -> None:
    class Nothing(Store):
        def weights(self, seed: int = 0) -> Path:
            return self.folder / "missing.safetensors"

    with pytest.raises(UserError, match="there are no weights"):
        Nothing(store.uri, store.folder).register("none", evaluation())
    assert "none" not in [model.name for model in list_models(store.client)]


@pytest.mark.parametrize(
    ("name", "alias", "message"),
    [
        ("a/b", "candidate", "must not be empty or hold any of"),
        ("fine", "v1", "and not be 'latest' or 'v1'"),
        ("fine", "champion", "only langpose registry promote gives this alias"),
    ],
)
def test_a_name_or_alias_that_cannot_be_is_refused(store: Store, name: str, alias: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        store.register(name, evaluation(), alias=alias, run_id="unused")


def test_credentials_are_not_stored(store: Store, tmp_path: Path) -> None:
    config = tiny_config(data={"path": "s3://user:s3cret@bucket/x"})
    store.register("secret", evaluation(), config=config)
    text = (stored(store, only_version(store, "secret"), tmp_path) / "artifacts/config.yaml").read_text()
    assert "s3cret" not in text
