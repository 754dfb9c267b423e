import io
import sys

import pytest

from langpose_dist.host import bars
from langpose_dist.host.bars import Bar, tracked


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    text = capsys.readouterr().err
    assert "\r" not in text
    return text.splitlines()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds_per_step", "num_lines"),
    [(0.001, 0), (0.1, 3), (1.0, 20), (100.0, 166)],
    ids=["quick", "30 s are rarer", "5 % are rarer", "slow"],
)
def test_a_log_gets_a_line_every_30_s_or_5_percent(
    capsys: pytest.CaptureFixture[str], clock: list[float], seconds_per_step: float, num_lines: int
) -> None:
    with Bar(1000, "train", "step") as bar:
        for _ in range(1000):
            clock[0] += seconds_per_step
            bar.update()
    assert len(lines_of(capsys)) == num_lines


def test_a_line_says_how_far_the_work_is(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Bar(100, "train", "step", done=40) as bar:
        bar.note({"loss": "0.25"})
        clock[0] += 40
        bar.update(20)
    assert lines_of(capsys) == ["train: 60 of 100 steps (60%), 0.5 a second, 0:01:20 left, loss=0.25"]


def test_other_ranks_show_nothing(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Bar(2, "train", "step", is_shown=False) as bar:
        clock[0] += 100
        bar.update()
    assert lines_of(capsys) == []
    assert list(tracked([1, 2], "verifying", "shard")) == [1, 2]


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with Bar(2, "train", "step") as bar:
        bar.update()
        bar.note({"loss": "0.5"})
        bar.update()
    shown = sys.stderr.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "train: 100%" in shown
    assert "\r" in shown
