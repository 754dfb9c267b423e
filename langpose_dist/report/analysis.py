"""Pictures of what goes along with a model's improvement."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from langpose_dist.report.plots import new_figure, plain_text, save_figure, tidy


def draw_table3(path: Path, table: Mapping[str, Any]) -> Figure:
    """Draw the improvement over each column: a panel per column, a named point per action.

    ``table`` is what ``join_columns`` of the analysis returns.
    """
    figure = new_figure(4.2 * len(table["columns"]), 3.8)
    panels = figure.subplots(1, len(table["columns"]), sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, table["correlations"], strict=True):
        for action, row in table["rows"].items():
            if (value := row[found["column"]]) is not None:
                axes.plot(value, row["improvement_mm"], "o", color="#2166ac", markersize=4)
                axes.annotate(
                    plain_text(action),
                    (value, row["improvement_mm"]),
                    xytext=(3, 3),
                    textcoords="offset points",
                    fontsize=6,
                )
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_xlabel(plain_text(found["column"]), fontsize=9)
        axes.set_title(
            f"Spearman {found['spearman']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}], "
            f"p {found['p']:.2g}, n {found['num_actions']}",
            fontsize=9,
        )
        axes.margins(x=0.15)
        tidy(axes)
    panels[0].set_ylabel("improvement (mm)", fontsize=9)
    return save_figure(figure, path)
