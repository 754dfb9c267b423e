import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.host.arguments import count, local_path, place, port, positive_number, whole_number


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (count, {"1": 1, "64": 64}, ("0", "-1", "1.0", "1e3", "1_000", "010", " 1", "²", "true", "9" * 5000)),
        (whole_number, {"0": 0, "7": 7}, ("-1", "+1", "00", "1.5", "", "nan")),
        (port, {"1": 1, "65535": 65535}, ("0", "65536", "http", "8_080")),
        (
            positive_number,
            {"0.5": 0.5, "2": 2.0, "1e-3": 1e-3, ".5": 0.5},
            ("0", "-1", "nan", "inf", "1e999", "1_0", "true", "1:30", "", "0x10"),
        ),
    ],
)
def test_only_a_number_is_a_number(
    parse: Callable[[str], Any], good: dict[str, Any], bad: tuple[str, ...]
) -> None:
    assert {text: parse(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="must be a"):
            parse(text)


def test_places_know_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("~/run") == Path("/home/me/run")
    assert place("sqlite:///~/x.db") == "sqlite:////home/me/x.db"
    for text in ("", "~nobody-here/x"):
        with pytest.raises(argparse.ArgumentTypeError):
            local_path(text)
