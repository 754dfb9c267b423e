"""The sweep's command line: what it refuses, in one line, before anything is started; and what it shows."""

from pathlib import Path

import pytest
import yaml

from langpose_dist.datasets.build import build_shards
from langpose_dist.runs.folder import RunFolder
from tests.corpus import MadeClip
from tests.tuning.sweeps import STEPS, run_command, write_config
from tuning.sweep import main


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Path:
    return write_config(tmp_path, shards)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a refused command prints."""
    assert main(words) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert printed.out == ""
    assert line.startswith("sweep: error: ")
    return line.removeprefix("sweep: error: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep.objective=loss", "objective"),
        ("sweep.objective=total", "objective"),
        ("sweep.searchr=grid", "did you mean 'sweep.searcher'?"),
        ("sweep.space={loss.temprature: {uniform: [0.1, 0.2]}}", "did you mean 'loss.temperature'?"),
        ("sweep.space={loss.temperature: {uniform: [0.2, 0.1]}}", "0.2"),
        ("train.max_steps=ten", "train.max_steps"),
        ("data.path=/nowhere", "/nowhere"),
        ("tracking.uri=postgresql://me:hunter2@host/db", "holds credentials"),
    ],
)
def test_a_mistake_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    if "hunter2" in override:  # on the command line it is refused by the parser, in a file by the sweep
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        content["tracking"]["uri"] = override.partition("=")[2]
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        line = refusal(capsys, "--config", str(config))
    else:
        line = refusal(capsys, "--config", str(config), override)
    assert message in line
    assert "hunter2" not in line
    assert not (config.parent / "sweep").exists()


def test_a_folder_is_told_from_a_sweep(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config.parent / "sweep"
    line = refusal(capsys, "--resume", f"output={output}")
    assert line == f"{output} holds no sweep to resume; name it with output=FOLDER"
    line = refusal(capsys, "--config", str(config), "--resume")
    assert line == f"{output} holds no sweep to resume; leave out --resume"
    output.mkdir()
    (output / "sweep.json").touch()
    assert "already holds a sweep; resume with --resume" in refusal(capsys, "--config", str(config))


def test_a_folder_has_one_sweep_at_a_time(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.folder._LOCK_TIMEOUT_S", 0.2)
    output = config.parent / "sweep"
    output.mkdir()
    with RunFolder(output).lock(0.0):
        line = refusal(capsys, "--config", str(config))
    assert line == f"{output}: another sweep is running there; stop it first"
    assert [path.name for path in output.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1"),
        ("cluster", "--ray-address 'cluster' must be auto, HOST:PORT"),
        ("ray://127.0.0.1:10001", "a sweep's driver must run on the cluster"),
        ("auto", "RAY_ADDRESS 'nonsense' must be"),
    ],
)
def test_a_cluster_that_is_none_is_one_line(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    message: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    words = ("--config", str(config), "tracking.enabled=false", "--ray-address", address)
    assert message in refusal(capsys, *words)
    assert not (config.parent / "sweep" / "sweep.json").exists()


def test_a_resumed_sweep_stays_what_it_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config.parent / "sweep"
    output.mkdir()
    (output / "sweep.json").write_text("{}", encoding="utf-8")
    (output / "sweep.yaml").write_bytes(config.read_bytes())
    line = refusal(capsys, "--resume", f"output={output}", "sweep.num_trials=9")
    assert "sweep.num_trials was 3 and is now 9" in line
    assert "leave it as it was" in line


def test_a_restarted_job_starts_a_sweep_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--config", str(config), "--resume-if-started")
    assert main([*words, "--dry-run"]) == 0
    assert "trials of" in capsys.readouterr().out
    output = config.parent / "sweep"
    output.mkdir()
    (output / "sweep.json").write_text("{}", encoding="utf-8")
    (output / "sweep.yaml").write_bytes(config.read_bytes())
    assert "sweep.num_trials was 3 and is now 9" in refusal(capsys, *words, "sweep.num_trials=9")


def test_a_sweep_resumes_with_its_own_data_and_folder_alone(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = config.parent / "sweep"
    output.mkdir()
    (output / "sweep.yaml").write_bytes(config.read_bytes())
    (output / "sweep.json").write_text(
        '{"origin": {"data_fingerprint": "0123456789abcdef0"}}', encoding="utf-8"
    )
    line = refusal(capsys, "--resume", "--dry-run", f"output={output}")
    assert "data fingerprint was '0123456789abcdef0' and is now" in line
    (output / "sweep.json").write_text('{"a', encoding="utf-8")
    assert "sweep.json is damaged" in refusal(capsys, "--resume", f"output={output}")
    (output / "sweep.json").write_text("{}", encoding="utf-8")
    moved = output.rename(config.parent / "moved")
    line = refusal(capsys, "--resume", f"output={moved}")
    assert f"output was '{output}' and is now '{moved}'" in line


def test_an_output_that_is_no_text_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "5 holds no sweep to resume" in refusal(capsys, "--resume", "output=5")


def test_an_objective_that_needs_labels_is_refused_without_them(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = config.parent / "bare"
    clips = [("train", MadeClip("kick", "kick", 12)), ("train", MadeClip("stand", "stand", 12))]
    clips.append(("validation", MadeClip("bare", None, 12)))
    build_shards(clips, data, dataset="m", source="s", fps=30.0, options={}, shard_size=4)
    words = (f"data.path={data}", "sweep.objective=clean/any_r_at_1", f"output={config.parent / 'other'}")
    line = refusal(capsys, "--config", str(config), "--dry-run", *words)
    assert "sweep.objective=clean/any_r_at_1: evaluation does not give any_r_at_1: no window of split" in line


def test_a_trial_that_would_not_have_the_objective_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "sweep.objective=masked/r_at_1",
        "sweep.space={loss.contrastive: {choice: [none, modified]}}",
        "sweep.searcher=grid",
        f"output={config.parent / 'other'}",
    )
    line = refusal(capsys, "--config", str(config), "--dry-run", *words)
    assert "sweep.objective=masked/r_at_1: evaluation does not give r_at_1: loss.contrastive=none" in line


def test_a_plan_names_every_trial_and_starts_none(config: Path) -> None:
    words = ("--config", str(config), "--dry-run")
    shown = run_command(*words)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    first, second, baseline, *trials, last = shown.stdout.splitlines()
    assert second.endswith("compared at steps 10, 20, 40")
    assert baseline.endswith("the configuration as it is")
    assert len(trials) == 3
    assert all("loss.temperature=" in line and "loss.lambda_con=" in line for line in trials)
    assert last.startswith("recorded in ")
    assert first.startswith(f"4 trials of {STEPS} steps, 1 x (1 CPUs, 0 GPUs) each, ")
    assert not (config.parent / "sweep").exists()
    assert not (config.parent / "mlflow.db").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for word in (
        "examples:",
        "Exit status:",
        "--resume",
        'sweep.scheduler.name="asha"',
        "sweep.max_failures=3",
    ):
        assert word in text
