import json
from pathlib import Path

import pytest

from langpose_dist.cli.main import main
from tests.report.sweep.folders import make_table1, write_sweep


def test_a_sweep_is_reported_on_the_terminal_and_in_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_table1(tmp_path / "sweep")
    assert main(["report", "sweep", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "Difference to the median" in printed.out
    assert f"written to {folder / 'report'}: sweep.md, sweep.html, report.json" in printed.out
    assert printed.err == ""
    assert (folder / "report" / "curves.png").exists()


def test_the_whole_report_is_json_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_table1(tmp_path / "sweep")
    (folder / "trials" / "t009").mkdir()
    assert main(["report", "sweep", str(folder), "--json", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert [one["params"]["loss.contrastive"] for one in content["configurations"]] == [
        "modified",
        "infonce",
        "none",
    ]
    assert content == json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert printed.err.startswith("warning: left out: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("place", ["missing", "run", "damaged"])
def test_what_is_no_sweep_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    write_sweep(tmp_path / "damaged", [], objective=3)
    assert main(["report", "sweep", str(tmp_path / place)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("langpose: error: ")
    assert printed.err.count("\n") == 1


def test_help_names_the_reports(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", "--help"])
    assert stop.value.code == 0
    assert "langpose report sweep runs/weights --json" in capsys.readouterr().out
