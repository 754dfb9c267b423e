import json
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from langpose_dist.host.atomic import hash_file
from langpose_dist.tracking.registry.pull import pull
from tests.export.trained import make_run
from tests.tracking.registering import evaluation, make_store

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_safetensors_is_the_run_s_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.safetensors"
    assert main(["export", "safetensors", str(run), "--out", str(out)]) == 0
    digest = hash_file(run / "model.safetensors")
    assert hash_file(out) == digest
    assert capsys.readouterr().out == (
        f"{out}: windows of at most 9 frames, poses in camera (metres), weights {digest[:12]}\n"
    )


def test_onnx_is_one_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnx = pytest.importorskip("onnx")
    out = tmp_path / "small.onnx"
    words = ["export", "onnx", str(run), "--out", str(out), "--licence", "mine", "--json"]
    assert main(words) == 0
    said, _ = capsys.readouterr()
    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert facts["training_data_licence"] == "mine"
    assert json.loads(said).items() >= facts.items()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "small.onnx"]


def test_a_registered_model_goes_to_hugging_face_with_its_licence_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = make_store(tmp_path)
    store.register("small", evaluation(), licence="CC BY-NC 4.0")
    out, fetched = tmp_path / "hub", tmp_path / "fetched"
    words = ["export", "huggingface", "models:/small@candidate", "--tracking-uri", store.uri]
    assert main([*words, "--out", str(out)]) == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "training_data_licence: CC BY-NC 4.0" in card
    assert "| `mpjpe_mm` | 70 | 80 |" in card
    # Folders that we made are models, too.
    pull(store.client, "small@candidate", fetched)
    for number, folder in enumerate((out, fetched)):
        target = tmp_path / f"{number}.safetensors"
        assert main(["export", "safetensors", str(folder), "--out", str(target)]) == 0
        assert hash_file(target) == hash_file(store.weights())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/none", "--out", "x"], "model runs/none: no such file or run folder"),
        ([".", "--out", "x"], "holds no finished run"),
        (["run", "--out", "run"], "--out run exists; name another place, or remove it first"),
        (["run", "--out", "none/x"], "must be in a folder that exists; none does not"),
        (["run", "--out", "/proc/x"], "/proc/x cannot be written: "),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    message: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "safetensors", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
