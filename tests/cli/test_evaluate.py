import json
from pathlib import Path

import pytest

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
    assert main(["evaluate", "--run", str(run_dir), "--json", "--out", str(out)]) == 0
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
    assert main(["evaluate", arguments[0], "--weights", weights, arguments[1]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "train"
    assert [line.split()[0] for line in lines[1:4]] == ["clean", "mean", "chance"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "{missing}"], "holds no finished run"),
        (["--weights", "{missing}/model.safetensors"], "model.safetensors"),
        (["--run", "{run}", "model.dim=32"], "model.dim belongs to the weights"),
        (["--run", "{run}", "data.path={missing}"], "manifest.json does not exist"),
        (["--run", "{run}", "data.validation_split=test"], "split 'test' has no clips"),
        (["--run", "{run}", "--out", "{missing}/report.json"], "does not exist"),
        (["--run", "{run}", "evaluation.batchsize=3"], "did you mean 'evaluation.batch_size'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    places = {"run": str(run_dir), "missing": str(tmp_path / "missing")}
    assert main(["evaluate", *(argument.format(**places) for argument in arguments)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert message in errors[0]


def test_data_at_another_frame_rate_is_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, config = load_langpose(run_dir / "model.safetensors")
    save_weights(tmp_path / "model.safetensors", model, config, {"fps": "10.0"})
    assert main(["evaluate", "--weights", str(tmp_path / "model.safetensors")]) == 2
    assert "was trained at 10.0 frames per second" in capsys.readouterr().err


def test_weights_or_run_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate"])
    assert stopped.value.code == 2
    assert "one of the arguments --run --weights is required" in capsys.readouterr().err
