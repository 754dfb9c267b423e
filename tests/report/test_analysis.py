from pathlib import Path

from langpose_dist.analysis.table3 import printed_table
from langpose_dist.report.analysis import draw_table3


def test_every_action_is_a_point_in_every_panel(tmp_path: Path) -> None:
    table = printed_table()
    table["rows"]["Eating"]["visibility"] = None
    figure = draw_table3(tmp_path / "table3.png", table)
    assert [len(axes.texts) for axes in figure.axes] == [15, 15, 14]
    assert figure.axes[2].get_title() == "Spearman -0.60 [-0.86, -0.08], p 0.018, n 15"
    assert (tmp_path / "table3.png").stat().st_size > 10_000
