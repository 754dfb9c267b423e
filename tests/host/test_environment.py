import getpass
import subprocess
import sys
from pathlib import Path

import pytest

from langpose_dist import __version__
from langpose_dist.host.environment import _describe_checkout, describe_environment, user_name
from langpose_dist.host.redaction import printable, redact, redact_values


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(("git", "-C", str(tmp_path), *identity, *arguments), check=True, capture_output=True)

    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    git("init")
    git("add", "package")
    git("commit", "-m", "first")
    return tmp_path


def test_commit_and_changes_of_a_checkout(checkout: Path) -> None:
    commit, dirty = _describe_checkout(checkout / "package")
    assert len(commit) == 40
    assert dirty == "false"
    (checkout / "package" / "__init__.py").write_text("changed = True")
    assert _describe_checkout(checkout / "package") == (commit, "true")


def test_a_package_that_is_only_installed_inside_a_checkout_has_no_commit(checkout: Path) -> None:
    installed = checkout / "venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert _describe_checkout(installed) == ("unknown", "unknown")


def test_no_commit_outside_a_checkout_or_without_git(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _describe_checkout(tmp_path / "missing") == ("unknown", "unknown")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _describe_checkout(checkout / "package") == ("unknown", "unknown")


def test_the_description_names_versions_and_machine() -> None:
    description = describe_environment(devices=("GPU A", "GPU B"), world_size=2)
    assert description["langpose_dist"] == __version__
    assert description["python"] == ".".join(map(str, sys.version_info[:3]))
    assert description["devices"] == "GPU A, GPU B"
    assert description["world_size"] == "2"
    assert description["torch"][0].isdigit()
    assert describe_environment()["devices"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:pa/ss@host/db", "postgresql://REDACTED@host/db"),
        ("postgresql://u:p#w?d@host/db", "postgresql://REDACTED@host/db"),
        ("postgresql://host/db?sslpassword=word", "postgresql://host/db?sslpassword=REDACTED"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("postgresql://user:pass@host:5432/db", "postgresql://REDACTED@host:5432/db"),
        ("postgresql+psycopg://user:p@ss@host/db", "postgresql+psycopg://REDACTED@host/db"),
        (
            "failed at https://token@host/x and http://a:b@c",
            "failed at https://REDACTED@host/x and http://REDACTED@c",
        ),
        (
            "https://host/f.tar?X-Amz-Signature=abc&part=2",
            "https://host/f.tar?X-Amz-Signature=REDACTED&part=2",
        ),
        ("models:/name@alias", "models:/name@alias"),
    ],
)
def test_redact_hides_the_credentials_of_urls(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_values_with_a_name_like_a_credential_are_hidden() -> None:
    values = {"HF_TOKEN": "a", "api_key": "b", "text.max_tokens": "20", "uri": "http://u:p@h", "author": "c"}
    assert redact_values(values) == {
        "HF_TOKEN": "REDACTED",
        "api_key": "REDACTED",
        "text.max_tokens": "20",
        "uri": "http://REDACTED@h",
        "author": "c",
    }


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail() -> str:
        raise error

    assert user_name() == getpass.getuser()
    monkeypatch.setattr(getpass, "getuser", fail)
    assert user_name() == "unknown"


def test_control_characters_are_not_printed() -> None:
    assert printable("\x1b[2J a\nb\tc\x9b\x7f\u202e\ud800 é 姿") == "?[2J a b c???? é 姿"
