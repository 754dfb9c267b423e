import json
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from langpose_dist.cli.main import main
from langpose_dist.data.corpus import Corpus
from langpose_dist.tasks.pretrain import PretrainTask
from tests.corpus import build_corpus, tiny_config
from tests.exports import load_langpose, save_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # DeepSpeed's, when it is imported


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    build_corpus(folder / "shards")
    config = tiny_config(folder / "shards", folder)
    task = PretrainTask.build(config, Corpus.open(config))
    save_weights(folder / "model.safetensors", task.model, config, {"step": "7", "data_fingerprint": "abc"})
    return folder


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")  # joining sets it; the test puts it back


def test_a_report_as_json_is_the_same_on_paper_and_on_screen(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    assert main(["evaluate", str(run_dir), "--json", "--out", str(out)]) == 0
    report = json.loads(out.read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == report
    assert report["step"] == 7
    assert report["trained_on_fingerprint"] == "abc"
    assert (
        report["data_fingerprint"]
        == json.loads((run_dir / "shards/manifest.json").read_text())["fingerprint"]
    )
    assert set(report["conditions"]) == {"clean", "noisy", "masked"}


def test_overrides_choose_data_and_conditions(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = str(run_dir / "model.safetensors")
    arguments = ["evaluation.conditions=[clean]", "data.validation_split=train"]
    assert main(["evaluate", arguments[0], weights, arguments[1]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "train"
    assert [line.split()[0] for line in lines[1:4]] == ["clean", "mean", "chance"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{missing}"], "no such file or run folder"),
        (["{empty}"], "holds no finished run"),
        (["{run}", "model.dim=32"], "model.dim belongs to the weights"),
        (["{run}", "data.path={missing}"], "manifest.json does not exist"),
        (["{run}", "data.validation_split=test"], "split 'test' has no clips"),
        (["{run}", "--out", "{missing}/report.json"], "must be a file in a folder that exists"),
        (["{run}", "evaluation.batchsize=3"], "did you mean 'evaluation.batch_size'?"),
        (["data.path=x"], "name a model"),
        (["{run}", "{run}"], "is named twice"),
        (["{run}", "{run}/model.safetensors"], "2 models compare only by a protocol"),
        (["{run}", "--format", "csv"], "--format needs --protocol"),
        (["{run}", "--protocol", "virtual"], "did you mean 'virtual_camera'?"),
        (["{run}", "--protocol", "motionbert"], "is defined on human36m"),
        (["{run}", "--protocol", "virtual_camera"], "split 'test'"),
        (["{run}", "--protocol", "virtual_camera", "target.space=image_25d"], "belongs to the weights"),
        (["{run}", "--protocol", "virtual_camera", "data.observation=stored"], "contradicts --protocol"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"run": str(run_dir), "missing": str(tmp_path / "missing"), "empty": str(tmp_path / "empty")}
    assert main(["evaluate", *(argument.format(**places) for argument in arguments)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert message in errors[0]


def test_data_at_another_frame_rate_is_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, config = load_langpose(run_dir / "model.safetensors")
    save_weights(tmp_path / "model.safetensors", model, config, {"fps": "10.0"})
    assert main(["evaluate", str(tmp_path / "model.safetensors")]) == 2
    assert "was trained at 10.0 frames per second" in capsys.readouterr().err


def test_a_model_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate"])
    assert stopped.value.code == 2
    assert "the following arguments are required: MODEL" in capsys.readouterr().err


def test_models_stand_in_one_table_of_a_protocol(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow's files of a database without a server
    other = tmp_path / "other.safetensors"
    model, config = load_langpose(run_dir / "model.safetensors")
    with torch.no_grad():
        model.encoder.head.bias.add_(0.5)
    save_weights(other, model, config, {})
    words = ["evaluate", str(run_dir), str(other), "--protocol", "virtual_camera", "--split", "validation"]
    uri = f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"
    options = ["--track", "--out", str(tmp_path / "table.json"), "--robustness", "drop_joints/zero"]
    assert main([*words, uri, *options]) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in report["models"]] == [str(run_dir), str(other)]
    assert report["data"]["split"] == "validation"
    found = report["improvements"][0]
    assert (found["metric"], found["baseline"]) == ("mpjpe_mm", str(run_dir))
    means = [one["action_mean"]["mpjpe_mm"] for one in report["models"]]
    assert found["mean"] == pytest.approx(means[0] - means[1])
    assert found["low"] <= found["mean"] <= found["high"]
    assert "mean over actions" in text
    assert "space camera" in text
    run_id = text.splitlines()[-1].removeprefix("MLflow run: ")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(run_id)
    stored = {file.path for file in client.list_artifacts(run_id)}
    assert stored == {"table.txt", "table.json", "table.csv", "table.tex", "table-robustness.png"}
    assert run.data.metrics["virtual_camera/0/mpjpe_mm"] == pytest.approx(means[0])
    assert run.data.tags["langpose.protocol"] == "virtual_camera"
    for kind, sign in (("csv", "model,metric,unit"), ("latex", r"\toprule"), ("json", '"protocol"')):
        assert main([*words, "--format", kind]) == 0
        assert sign in capsys.readouterr().out
