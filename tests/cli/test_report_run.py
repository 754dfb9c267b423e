"""``langpose report run`` from the command line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from langpose_dist.cli.main import main
from tests.report.run.made import SMALL_MODEL, make_run, protocol_report, robustness
from tests.report.sweep.folders import make_table1

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run with reports: two evaluations, an analysis that is known, and one that is not."""
    folder = tmp_path_factory.mktemp("made")
    rows = {"sit": 0.1, "<script>alert(1)</script>": 0.2, "run $x": 0.3, "walk": 0.4}
    rank = {"spearman": 1.0, "p": 0.0, "low": 1.0, "high": 1.0}
    rest = {"without_largest": {"action": "walk", "spearman": 1.0, "p": 0.0}}
    table3 = {
        "analysis": "table3",
        "commit": "b" * 40,
        "columns": ["visibility"],
        "rows": {name: {"improvement_mm": value, "visibility": value} for name, value in rows.items()},
        "correlations": [{"column": "visibility", "num_actions": 4, "pearson": 1.0, **rank, **rest}],
        "notes": [],
    }
    other = protocol_report("ours")
    other["data"] = other["data"] | {"fingerprint": "0" * 64}
    contents = {
        "evaluation": protocol_report("base", "ours") | {"robustness": robustness("base", "ours")},
        "other": other,
        "table3": table3,
        "new": {"analysis": "dancing", "pairs": [{"a": "<b>sit</b>", "auc": 0.75}]},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    files = [str(folder / f"{name}.json") for name in contents]
    return [str(make_run(folder / "one")), "--with", *files, "--title", "Table <1>"]


def report(out: Path, *words: str) -> str:
    assert main(["report", "run", *words, "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> str:
    return report(tmp_path_factory.mktemp("page") / "report.html", *words)


def test_a_page_has_a_section_for_all_that_is_there_and_says_what_is_not(page: str, words: list[str]) -> None:
    assert re.findall(r"<h\d>(.*?)</h\d>", page) == [
        "Table &lt;1&gt;",
        "Training",
        "Lifting in training",
        "Lifting by protocol",
        "Errors by action",
        "Comparison with intervals",
        "Robustness",
        "Lifted poses",
        "Label retrieval",
        "What goes along with the improvement (Table 3)",
        "dancing",
        "Not run",
    ]
    last = page.rpartition("<h2>Not run")[2]
    assert "langpose analyse mmd" in last
    assert "langpose report run RUN --measure" in last
    assert "langpose analyse table3" not in last
    for text in ("made &lt;b&gt;up&lt;/b&gt;, 10 Hz, fingerprint ffff", "<td>&lt;b&gt;sit&lt;/b&gt;</td>"):
        assert text in page


def test_a_page_runs_and_loads_nothing(page: str) -> None:
    assert "default-src 'none'; img-src data:;" in page
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") == 1
    sources = re.findall(r'src="(.{22})', page)
    assert sorted(set(sources)) == ["data:image/png;base64,", "data:image/svg+xml;bas"]
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))


def test_the_same_inputs_give_the_same_bytes(
    tmp_path: Path, page: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(tmp_path / "two.html", *words) == page
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"written to {tmp_path / 'two.html'}"
    assert printed.err == ""
    command = [sys.executable, "-m", "langpose_dist.cli.main", "report", "run", *words]
    subprocess.run(
        [*command, "--out", str(tmp_path / "three.html")],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert (tmp_path / "three.html").read_text(encoding="utf-8") == page


def test_reports_of_other_data_or_commits_are_shown_and_said(page: str) -> None:
    assert "from evaluation.json; data ffffffffffffffff; commit aaaaaaaaaaaa<" in page
    assert (
        "from table3.json; data not stated; commit bbbbbbbbbbbb (differs: the run has aaaaaaaaaaaa)" in page
    )
    assert "data 0000000000000000 (differs: the run has ffffffffffffffff); commit aaaaaaaaaaaa<" in page


def test_an_unfinished_run_has_what_there_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    for name in ("evaluation.json", "metrics.jsonl", "run.json", "status.json"):
        (run / name).unlink()
    page = report(tmp_path / "report.html", str(run))
    assert "<td>unknown</td>" in page
    assert "langpose train --config" in page.rpartition("<h2>Not run")[2]


def test_a_page_says_nothing_of_the_machine_that_made_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, shards = tmp_path / "pretrain" / "model.safetensors", "s3://user:secret@host/shards"
    config = {"model": SMALL_MODEL | {"initial_weights": str(weights)}, "data": {"path": shards}}
    run = make_run(tmp_path / "one", config=config)
    page = report(tmp_path / "report.html", str(run), "--json")
    assert "<td>pretrain/model.safetensors</td>" in page
    for text in (page, capsys.readouterr().out):
        assert str(tmp_path) not in text
        assert "host/shards" not in text
        assert "secret" not in text


def test_cost_is_measured_here_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "one")
    out = tmp_path / "report.html"
    assert main(["report", "run", str(run), "--measure", "--json", "--out", str(out)]) == 0
    sections = {section["title"]: section for section in json.loads(capsys.readouterr().out)}
    parts, speeds = sections["Efficiency"]["tables"]
    assert [row[0] for row in parts["rows"]] == ["encoder", "pose head", "total"]
    assert [row[1] for row in speeds["rows"]] == ["float32", "bfloat16"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/none"], "is no run's folder: it holds no config.yaml"),
        (["{tmp}/sweep"], "is the folder of a sweep; use langpose report sweep"),
        (["{tmp}/one", "{tmp}/one/"], "is named twice"),
        (["{tmp}/one", "--with", "{tmp}/none.json"], "none.json: No such file"),
        (["{tmp}/one", "--with", "{tmp}/one/config.yaml"], "is not JSON"),
        (["{tmp}/one", "--with", "{tmp}/list.json"], "must hold a JSON object"),
        (["{tmp}/one", "--with", "{tmp}/old.json"], "old.json is not as this version's langpose analyse mmd"),
        (["{tmp}/one", "--out", "{tmp}"], "must be a file in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    make_run(tmp_path / "one")
    make_table1(tmp_path / "sweep")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "old.json").write_text('{"analysis": "mmd"}')
    assert main(["report", "run", *(word.format(tmp=tmp_path) for word in words)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def record(run: Path, **content: str) -> None:
    known = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(known | content))


def test_the_page_is_stored_with_the_run_that_mlflow_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("made", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    known, unknown = make_run(tmp_path / "known"), make_run(tmp_path / "unknown")
    record(known, run_id=run_id, tracking_uri=uri)
    page = report(tmp_path / "page.html", str(known), str(unknown), "--track")
    assert [file.path for file in client.list_artifacts(run_id)] == ["report.html"]
    (stored,) = (tmp_path / "artifacts").rglob("report.html")
    assert stored.read_text(encoding="utf-8") == page
    err = capsys.readouterr().err
    assert f"known: stored with MLflow run {run_id}" in err
    assert "unknown: no MLflow run, so not stored there" in err


def test_a_store_that_does_not_answer_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = make_run(tmp_path / "one")
    record(run, run_id="1" * 32)
    report(tmp_path / "page.html", str(run), "--track")
    err = capsys.readouterr().err
    assert err.startswith("warning: tracking.uri='http://127.0.0.1:9' cannot be used")
    assert err.count("\n") == 1


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", "run", "--help"])
    assert stop.value.code == 0
    assert "langpose report run runs/scratch runs/finetuned --with" in capsys.readouterr().out
