"""The measures of neural collapse over training: small multiples, one panel a measure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pointseg.output.plot_style import ALL_COLOR, GROUP_COLORS, line_of

Row = Mapping[str, float | None]
"""``step``, and names to values, as a line of ``metrics.jsonl``."""
History = Mapping[str, Sequence[Row]]
"""``collapse`` and ``val``: rows in the order of their step."""

# With more points, markers run together.
_MAX_MARKED_POINTS = 15


class Panel(NamedTuple):
    """What one small picture shows."""

    title: str
    kind: str
    """Of the rows: collapse or val."""
    name: str
    """Of the value over all classes."""
    at_collapse: float | None
    """Drawn as a dotted line; None: there is no such value."""
    name_in_group: str
    """Of the value in a group, with ``{}`` for the group."""
    percent: bool = False


PANELS = (
    Panel("within-class variability", "collapse", "within_class_variability", 0, "within_class_variability_{}"),
    Panel("centers: equiangularity", "collapse", "centers_equiangularity", 0, "centers_equiangularity_{}"),
    Panel("centers: separation", "collapse", "centers_separation", 0, "centers_separation_{}"),
    Panel("classifier: separation", "collapse", "classifier_separation", 0, "classifier_separation_{}"),
    Panel("center-classifier alignment", "collapse", "alignment", 1, "alignment_{}"),
    Panel("mIoU, %", "val", "miou", None, "{}", percent=True),
)


def has_history(histories: Sequence[History | None]) -> bool:
    """Whether any run measured anything during training."""
    return any(history is not None and len(history["collapse"]) > 0 for history in histories)


def draw_over_training(figure: Any, grid: Any, histories: Sequence[History | None], num_columns: int) -> list[Any]:
    """Draw all panels in a grid of ``num_columns``; return their axes, in the order of :data:`PANELS`.

    Black is the value over all classes; thin lines in the colours of head, common and tail are those of the groups.
    Of two runs, the first is dashed; one without a history has no line. The dotted line is the value at collapse.

    Args:
        figure: of matplotlib.
        grid: a grid of that figure, of at least as many cells as there are panels.
        histories: one a run.
        num_columns: of the grid.
    """
    drawn = []
    for index, panel in enumerate(PANELS):
        axes = figure.add_subplot(grid[index // num_columns, index % num_columns])
        draw_panel(axes, panel, histories)
        if index + num_columns < len(PANELS):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("step")
        drawn.append(axes)
    last_step = max((row["step"] or 0 for history in histories if history for row in history["collapse"]), default=1)
    for axes in drawn:
        axes.set_xlim(0, 1.03 * max(last_step, 1))
    return drawn


def draw_panel(axes: Any, panel: Panel, histories: Sequence[History | None]) -> None:
    """One measure of all runs against the step; a value that is not defined leaves a gap."""
    factor = 100 if panel.percent else 1
    if panel.at_collapse is not None:
        axes.axhline(panel.at_collapse, color="#888888", linewidth=0.8, linestyle=":", zorder=1)
    for index, history in enumerate(histories):
        rows = [] if history is None else history[panel.kind]
        steps = [row["step"] for row in rows]
        names = [(panel.name_in_group.format(group), color, 0.8) for group, color in GROUP_COLORS.items()]
        for name, color, width in [*names, (panel.name, ALL_COLOR, 1.7)]:
            values = [None if row.get(name) is None else factor * float(row[name] or 0) for row in rows]
            if all(value is None for value in values):
                continue
            marker = "o" if len(rows) <= _MAX_MARKED_POINTS else ""
            axes.plot(
                steps,
                [float("nan") if value is None else value for value in values],
                color=color,
                linewidth=width,
                linestyle=line_of(index, len(histories)),
                marker=marker,
                markersize=1.4 * width,
                zorder=2 + width,
            )
    axes.set_title(panel.title, fontsize=8)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0), max(high, panel.at_collapse or 0))
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 4), useMathText=True)
    axes.locator_params(axis="y", nbins=4)
    axes.locator_params(axis="x", nbins=3)
