"""The measures of neural collapse over training: small multiples, one panel a measure."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from pointseg.output.plot_style import ALL_COLOR, GROUP_COLORS, line_of

Row = Mapping[str, float | None]
"""``step``, and names to values, as a line of ``metrics.jsonl``."""
History = Mapping[str, Sequence[Row]]
"""``collapse`` and ``val``: rows in the order of their step."""

# With more points, markers run together.
_MAX_MARKED_POINTS = 15
_SINGLE_DOT = 4.0


class CoursePanel(NamedTuple):
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
    CoursePanel("within-class variability", "collapse", "within_class_variability", 0, "within_class_variability_{}"),
    CoursePanel("centers: equiangularity", "collapse", "centers_equiangularity", 0, "centers_equiangularity_{}"),
    CoursePanel("centers: separation", "collapse", "centers_separation", 0, "centers_separation_{}"),
    CoursePanel("classifier: separation", "collapse", "classifier_separation", 0, "classifier_separation_{}"),
    CoursePanel("center-classifier alignment", "collapse", "alignment", 1, "alignment_{}"),
    CoursePanel("mIoU, %", "val", "miou", None, "{}", percent=True),
)


def panels_with_values(histories: Sequence[History | None]) -> list[CoursePanel]:
    """Those of which any run has measured anything during training."""
    return [panel for panel in PANELS if any(_steps(panel, history) for history in histories)]


def has_course(panels: Sequence[CoursePanel], histories: Sequence[History | None]) -> bool:
    """Whether anything was measured more than once by one run, so that there are lines."""
    return any(len(_steps(panel, history)) > 1 for panel in panels for history in histories)


def draw_over_training(figure: Any, grid: Any, histories: Sequence[History | None], num_columns: int) -> list[Any]:
    """Draw the panels that have values in a grid of ``num_columns``; return their axes, in the order of :data:`PANELS`.

    Black is the value over all classes; thin lines in the colours of head, common and tail are those of the groups.
    Of two runs, the first is dashed; one without a history has no line. The dotted line is the value at collapse.
    What no run has measured more than once has no line: a dot for all classes and for each group, and the step.

    Args:
        figure: of matplotlib.
        grid: a grid of that figure, of at least as many cells as there are panels.
        histories: one a run.
        num_columns: of the grid.
    """
    panels = panels_with_values(histories)
    last_step = max((step for panel in panels for history in histories for step in _steps(panel, history)), default=1)
    drawn = []
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(grid[index // num_columns, index % num_columns])
        drawn.append(axes)
        if not has_course([panel], histories):
            draw_single_values(axes, panel, histories)
            continue
        draw_panel(axes, panel, histories)
        axes.set_xlim(0, 1.03 * max(last_step, 1))
        if index + num_columns < len(panels):
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("step")
    return drawn


def draw_panel(axes: Any, panel: CoursePanel, histories: Sequence[History | None]) -> None:
    """One measure of all runs against the step; a value that is not defined leaves a gap."""
    for index, history in enumerate(histories):
        rows = [] if history is None else history[panel.kind]
        steps = [row["step"] for row in rows]
        for _, name, color, width in _series(panel):
            values = [_value(panel, row, name) for row in rows]
            num_values = sum(value is not None for value in values)
            if not num_values:
                continue
            marker = "o" if len(rows) <= _MAX_MARKED_POINTS else ""
            axes.plot(
                steps,
                [float("nan") if value is None else value for value in values],
                color=color,
                linewidth=width,
                linestyle=line_of(index, len(histories)),
                marker=marker,
                markersize=_SINGLE_DOT if num_values == 1 else 1.4 * width,
                markerfacecolor=_face(color, index, histories) if num_values == 1 else color,
                zorder=2 + width,
            )
    _finish(axes, panel)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 4), useMathText=True)
    axes.locator_params(axis="x", nbins=3)


def draw_single_values(axes: Any, panel: CoursePanel, histories: Sequence[History | None]) -> None:
    """One measure that each run has once at most: a dot for all classes and for each group, with its value."""
    *groups, whole = _series(panel)
    labels: list[str] = []
    steps: set[int] = set()
    text: dict[str, Any] = {"textcoords": "offset points", "xytext": (5, 0), "va": "center", "fontsize": 6.5}
    for index, history in enumerate(histories):
        rows = [] if history is None else history[panel.kind]
        for row, (label, name, color, _) in product(rows, (whole, *groups)):
            value = _value(panel, row, name)
            if value is None:
                continue
            if label not in labels:
                labels.append(label)
            steps.add(int(row["step"] or 0))
            spot = (labels.index(label), value)
            axes.plot(*spot, "o", color=color, markersize=5, markerfacecolor=_face(color, index, histories))
            axes.annotate(f"{value:.1f}" if panel.percent else f"{value:.2f}", spot, color=color, **text)
    _finish(axes, panel)
    axes.set_xlim(-0.5, len(labels) - 0.3)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(f"measured once, at step {' and '.join(map(str, sorted(steps)))}")


def _finish(axes: Any, panel: CoursePanel) -> None:
    """Title, the value at collapse, and a vertical axis from 0."""
    if panel.at_collapse is not None:
        axes.axhline(panel.at_collapse, color="#888888", linewidth=0.8, linestyle=":", zorder=1)
    axes.set_title(panel.title, fontsize=8)
    low, high = axes.get_ylim()
    axes.set_ylim(0 if panel.percent else min(low, 0), max(high, panel.at_collapse or 0))
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    axes.locator_params(axis="y", nbins=4)


def _series(panel: CoursePanel) -> list[tuple[str, str, str, float]]:
    """(label, name of the value, colour, width of the line) of each line, that over all classes last, on top."""
    groups = [(group, panel.name_in_group.format(group), color, 0.8) for group, color in GROUP_COLORS.items()]
    return [*groups, ("all", panel.name, ALL_COLOR, 1.7)]


def _value(panel: CoursePanel, row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None else (100 if panel.percent else 1) * float(value)


def _steps(panel: CoursePanel, history: History | None) -> list[int]:
    """Steps at which a run has a value of the panel."""
    rows = [] if history is None else history[panel.kind]
    return [int(row["step"] or 0) for row in rows if any(_value(panel, row, s[1]) is not None for s in _series(panel))]


def _face(color: str, index: int, histories: Sequence[History | None]) -> str:
    """Of two runs, the dots of the first are hollow."""
    return "white" if len(histories) == 2 and index == 0 else color
