import json
import shutil
from pathlib import Path
from urllib.request import url2pathname

import numpy as np
import pytest
import torch
from mlflow import pyfunc

from langpose_dist.config import UserError
from langpose_dist.host.atomic import hash_file
from langpose_dist.models.lifting import lift
from langpose_dist.tracking.registry.pull import pull
from langpose_dist.tracking.registry.references import resolve
from tests.exports import load_langpose
from tests.tracking.registering import NUM_FRAMES, Store, evaluation, make_store

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

WEIGHTS = "artifacts/model.safetensors"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("pull"))


@pytest.fixture
def name(store: Store, request: pytest.FixtureRequest) -> str:
    """A fresh version of a model of its own."""
    name = request.node.name.replace("/", "_").replace(":", "_")[-60:]
    store.register(name, evaluation())
    return name


def stored(store: Store, name: str) -> Path:
    """Where the store keeps the files."""
    source = store.client.get_model_version_download_uri(name, "1")
    return Path(url2pathname(source.removeprefix("file://")))


def refusal(store: Store, name: str, folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        pull(store.client, f"{name}/1", folder)
    return str(caught.value).replace(name, "NAME")


def test_a_pulled_model_is_whole_and_usable(store: Store, name: str, tmp_path: Path) -> None:
    pulled = pull(store.client, f"models:/{name}@candidate", tmp_path / "new" / "champion")
    assert (pulled.folder, pulled.is_new) == (tmp_path / "new" / "champion", True)
    files = {path for path in pulled.folder.rglob("*") if path.is_file()}
    assert {
        path.relative_to(pulled.folder).as_posix(): hash_file(path) for path in files
    } == pulled.version.files
    assert pulled.weights == pulled.folder / WEIGHTS
    assert [path.name for path in pulled.folder.parent.iterdir()] == ["champion"]
    assert pulled.folder.stat().st_mode & 0o777 == 0o755
    model, _ = load_langpose(pulled.weights)
    clip = np.random.default_rng(0).random((1, NUM_FRAMES, 17, 3)).astype(np.float32)
    expected = lift(model, torch.from_numpy(clip), NUM_FRAMES).numpy()
    np.testing.assert_allclose(pyfunc.load_model(str(pulled.folder)).predict(clip), expected, atol=1e-6)


def test_the_same_again_is_verified_and_left_alone(store: Store, name: str, tmp_path: Path) -> None:
    client = store.client
    pull(client, f"{name}/1", tmp_path / "model")
    pyfunc.load_model(str(tmp_path / "model"))  # leaves its compiled code there
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "model").rglob("*")}
    assert not pull(client, f"{name}/1", tmp_path / "model").is_new
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "model").rglob("*")} == before


def test_a_folder_of_something_else_is_not_touched(store: Store, name: str, tmp_path: Path) -> None:
    client = store.client
    folder = tmp_path / "model"
    pull(client, f"{name}/1", folder)
    start = f"{folder} is there and does not hold NAME/1: "
    (folder / "notes.txt").write_text("mine")
    assert refusal(store, name, folder) == f"{start}'notes.txt' is too much; choose another folder"
    (folder / "notes.txt").unlink()
    (folder / WEIGHTS).write_bytes(b"other")
    assert refusal(store, name, folder) == f"{start}'{WEIGHTS}' has another SHA-256; choose another folder"
    (folder / WEIGHTS).unlink()
    assert refusal(store, name, folder) == f"{start}'{WEIGHTS}' is missing; choose another folder"
    (folder / WEIGHTS).symlink_to(store.weights())
    assert refusal(store, name, folder) == f"{start}'{WEIGHTS}' is no plain file; choose another folder"
    (tmp_path / "link").symlink_to(folder)
    assert "it is no folder" in refusal(store, name, tmp_path / "link")
    (tmp_path / "file").write_text("mine")
    assert "it is no folder" in refusal(store, name, tmp_path / "file")
    assert "cannot be written" in refusal(store, name, tmp_path / "file" / "model")


def test_loading_from_the_store_itself_does_not_spoil_it(store: Store, name: str, tmp_path: Path) -> None:
    folder = stored(store, name)
    pyfunc.load_model(str(folder))
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / "pyfunc.cpython-311.pyc").write_bytes(b"not ours")
    (folder / "registered_model_meta").write_text("model_name: x")
    pulled = pull(store.client, f"{name}/1", tmp_path / "model")
    assert not (pulled.folder / "__pycache__").exists()
    assert not (pulled.folder / "registered_model_meta").exists()


@pytest.mark.parametrize("what", ["changed", "missing", "extra", "extra folder", "link"])
def test_a_store_that_was_tampered_with_is_refused(
    store: Store, name: str, tmp_path: Path, what: str
) -> None:
    folder = stored(store, name)
    if what == "changed":
        (folder / "pyfunc.py").write_text("import os\n")
        expected = "'pyfunc.py' has another SHA-256"
    elif what == "missing":
        (folder / WEIGHTS).unlink()
        expected = f"{WEIGHTS!r} is missing"
    elif what == "extra":
        (folder / "artifacts" / "more.py").write_text("import os\n")
        expected = "'artifacts/more.py' is too much"
    elif what == "extra folder":
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "more.txt").write_text("x")
        expected = "'deep/er/more.txt' is too much"
    else:
        (folder / WEIGHTS).unlink()
        (folder / WEIGHTS).symlink_to(store.weights(seed=5))
        expected = None  # MLflow itself follows none out of the folder
    message = refusal(store, name, tmp_path / "model")
    if expected is None:
        assert message.startswith("NAME/1 cannot be fetched: ")
    else:
        assert message == f"NAME/1 is not what was registered: {expected}; nothing was kept"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "a//b", "", "a\0b", "a\x1b[2J\n.safetensors"])
def test_a_name_that_is_no_file_of_the_folder_is_refused(
    store: Store, name: str, tmp_path: Path, path: str
) -> None:
    files = {**resolve(store.client, f"{name}/1").files, path: "0" * 64}
    store.client.set_model_version_tag(name, "1", "files_sha256", json.dumps(files))
    assert f"{path!r} is missing; nothing was kept" in refusal(store, name, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_version_without_hashes_is_refused(store: Store, name: str, tmp_path: Path) -> None:
    store.client.delete_model_version_tag(name, "1", "files_sha256")
    assert refusal(store, name, tmp_path / "model") == (
        "NAME/1 has no record of its files' hashes and cannot be verified: langpose did not register it; "
        "langpose registry register RUN_DIR does"
    )


def test_files_that_the_store_has_lost_are_one_line(store: Store, name: str, tmp_path: Path) -> None:
    shutil.rmtree(stored(store, name))
    message = refusal(store, name, tmp_path / "model")
    assert message.startswith("NAME/1 ")
    assert "\n" not in message
    assert not list(tmp_path.iterdir())
