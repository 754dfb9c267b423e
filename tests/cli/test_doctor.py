import importlib.metadata
import json
from pathlib import Path

import pytest

from langpose_dist.cli import doctor
from langpose_dist.cli.doctor import (
    Check,
    check_device,
    check_packages,
    check_text_encoder,
    check_tracking,
    format_check,
)
from langpose_dist.cli.main import main
from langpose_dist.config import UserError

OK = Check("python", "ok", True, "3.11")
ABSENT = Check("C++ compiler", "missing", False, "none found", "install g++")
MISSING = Check("torch", "missing", True, "not installed", "install it")


def write_distribution(folder: Path, *requirements: str) -> None:
    info = folder / "made_up-1.0.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: made-up", "Version: 1.0"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_versions_are_held_against_the_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_distribution(
        tmp_path,
        "pytest>=1",
        "pytest<1",
        "no-such-package>=3",
        'no-such-extra>=3; extra == "test"',
        'no-such-system>=3; sys_platform == "none"',
    )
    monkeypatch.syspath_prepend(tmp_path)
    right, wrong, absent = check_packages("made-up")
    version = importlib.metadata.version("pytest")
    assert (right.status, right.detail) == ("ok", f"{version} (supported: >=1)")
    assert (wrong.status, wrong.detail) == ("missing", f"{version}; supported: <1")
    assert (absent.status, absent.detail) == ("missing", "not installed; supported: >=3")
    assert wrong.remedy
    assert absent.remedy


def test_a_project_that_is_not_installed_is_missing() -> None:
    (check,) = check_packages("no-such-distribution")
    assert (check.status, check.required) == ("missing", True)
    assert check.remedy


def test_a_cpu_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    check = check_device()
    assert check.status == "ok"
    assert check.detail.startswith("CPU, ")
    assert check.remedy is None


def test_a_gpu_that_torch_cannot_use_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "CUDA build of torch" in (check_device().remedy or "")


def test_the_offline_text_encoder_is_loaded_for_real() -> None:
    assert check_text_encoder() == Check(
        "text encoder", "ok", False, "offline all-MiniLM-L6-v2, SHA-256 53aa51172d14..."
    )


def test_a_text_encoder_that_cannot_be_used_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: object) -> None:
        raise UserError("its hash is wrong")

    monkeypatch.setattr("langpose_dist.models.text.load_text_encoder", fail)
    check = check_text_encoder()
    assert (check.status, check.required, check.detail) == ("missing", False, "its hash is wrong")
    assert "offline-text" in (check.remedy or "")


def test_a_tracking_database_that_can_be_created_is_ok_and_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    assert check_tracking(f"sqlite:///{path}").status == "ok"
    assert not path.parent.exists()


def test_a_tracking_database_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = check_tracking(f"sqlite:///{tmp_path}/file/mlflow.db")
    assert (check.status, check.required) == ("missing", True)
    assert f"{tmp_path}/file is no folder" in check.detail


def test_a_tracking_uri_without_a_store_is_missing() -> None:
    check = check_tracking("ftp://host/mlruns")
    assert check.status == "missing"
    assert "ftp://host/mlruns" in check.detail


@pytest.mark.parametrize(("checks", "status"), [([OK, ABSENT], 0), ([OK, MISSING, ABSENT], 1)])
def test_only_something_required_changes_the_exit_status(
    checks: list[Check], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda uri: iter(checks))
    assert main(["doctor"]) == status
    assert capsys.readouterr().out == "".join(format_check(check) + "\n" for check in checks)
    assert main(["doctor", "--json"]) == status
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (status == 0)
    assert [check["name"] for check in report["checks"]] == [check.name for check in checks]


def test_every_line_tells_its_remedy() -> None:
    assert format_check(OK) == "ok      python: 3.11"
    assert format_check(MISSING) == "missing torch: not installed\n        -> install it"
    assert format_check(ABSENT) == "absent  C++ compiler: none found\n        -> install g++"
