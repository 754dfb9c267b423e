import re
from pathlib import Path

from langpose_dist.report.plots import new_figure, plain_text, save_figure
from langpose_dist.report.render import to_html
from langpose_dist.report.sections import Section, Table

EVIL = "<script>alert(1)</script> \x1b[31m http://me:hunter2@host/"


def test_text_of_others_is_escaped_wherever_it_stands() -> None:
    table = Table([EVIL, "n"], [[EVIL, "1"]], EVIL)
    page = to_html([Section(EVIL, [EVIL], [table, Table([EVIL], [[EVIL]], EVIL, True)], [EVIL])])
    assert "<script" not in page
    assert "hunter2" not in page
    assert "\x1b" not in page
    assert page.count("&lt;script&gt;") == 10  # the title twice


def test_numbers_stand_to_the_right_and_names_to_the_left() -> None:
    table = Table(["", "a", "b", "c"], [["1", "-0.5", "[0, 1]", "3 mm"], ["2", "-", "-", "4 mm"]])
    assert table.number_columns == [False, True, False, True]
    assert Table(["a", "b"], []).number_columns == [False, True]


def draw(path: Path) -> bytes:
    figure = new_figure(3.0, 2.0)
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label=plain_text("$\\broken <b>"))
    axes.legend()
    save_figure(figure, path)
    return path.read_bytes()


def test_a_drawing_is_the_same_twice_and_keeps_its_text(tmp_path: Path) -> None:
    one = draw(tmp_path / "one.svg")
    assert one == draw(tmp_path / "two.svg")
    assert b"$\\broken &lt;b&gt;</text>" in one
    assert not re.search(rb"dc:date|<script", one)
