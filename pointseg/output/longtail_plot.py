"""The table of the laboratory as a dot plot; matplotlib is imported only when something is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointseg.atomic import atomic_file
from pointseg.errors import UsageError
from pointseg.output.plot_style import GROUP_COLORS, as_written, figure_style
from pointseg.output.plots import check_plot_path

_COLUMNS = (("miou", "all classes"), ("head", "head"), ("common", "common"), ("tail", "tail"))
_ALL_COLOR = "#333333"
_SMALLEST_RANGE = 2.0  # percent, of an axis: less would make noise look large
_QUIET = "#8a8a8a"
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "xtick.labelsize": 7,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def draw_longtail(path: str | Path, table: Mapping[str, Any], baseline: str) -> None:
    """Draw a row a method and a column a group of classes: a small dot a seed, a large one and a bar mean and std.

    A group that no run has a score of, as where the classes have no groups, has no column.

    Args:
        path: ``.png``, ``.pdf`` or ``.svg``, written atomically.
        table: ``split``, ``num_seeds``, ``rooms`` and ``rows``, each with ``method``, ``runs``, ``mean`` and ``std``
            (key -> share of 1), as ``table.json`` of the laboratory has them.
        baseline: the method whose mean is a vertical line in each column, where it has one.

    Raises:
        UsageError: matplotlib is not installed, the file's ending is no format that we write, or no run has a score.
    """
    check_plot_path(path)
    rows = table["rows"]
    columns = [column for column in _COLUMNS if any(run[column[0]] is not None for row in rows for run in row["runs"])]
    if not columns:
        raise UsageError(f"{path}: there is nothing to plot, no run has a score")
    from matplotlib.figure import Figure

    with figure_style(_STYLE):
        figure = Figure(figsize=(max(5.6, 1.8 + 1.8 * len(columns)), 1.35 + 0.27 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axes, (key, title) in zip(panels, columns, strict=True):
            axes.set_title(title, color=GROUP_COLORS.get(key, _ALL_COLOR), fontweight="bold", pad=8)
            draw_column(axes, rows, key, baseline)
        panels[0].set_yticks(range(len(rows)), [as_written(row["method"]) for row in rows])
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        figure.supxlabel(as_written(_describe(table, baseline)), fontsize=7, color=_QUIET)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, dpi=200)


def draw_column(axes: Any, rows: Sequence[Mapping[str, Any]], key: str, baseline: str) -> None:
    """The IoU of one group of classes, in percent, for each method; its mean in figures at the right."""
    color = GROUP_COLORS.get(key, _ALL_COLOR)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", linewidth=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    for position in range(1, len(rows), 2):
        axes.axhspan(position - 0.5, position + 0.5, color="#f4f4f4", linewidth=0, zorder=0)
    for position, row in enumerate(rows):
        mean, std = row["mean"][key], row["std"][key]
        if row["method"] == baseline and mean is not None:
            axes.axvline(100 * mean, color=_QUIET, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        values = [100 * run[key] for run in row["runs"] if run[key] is not None]
        # A little below the mean, which would hide them.
        below = [position + 0.24] * len(values)
        axes.scatter(values, below, s=9, color=color, alpha=0.45, linewidths=0, zorder=3, clip_on=False)
        if mean is None:
            continue
        if std is not None:
            # No IoU is below 0 or above 1, whatever the spread.
            low, high = 100 * max(mean - std, 0.0), 100 * min(mean + std, 1.0)
            axes.hlines(position, low, high, color=color, linewidth=1.4, zorder=2)
        dot = {"s": 34, "color": color, "edgecolors": "white", "linewidths": 0.8, "zorder": 4, "clip_on": False}
        axes.scatter([100 * mean], [position], **dot)
        right = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "left", "fontsize": 7}
        axes.annotate(f"{100 * mean:.1f}", (1.02, position), color=color, annotation_clip=False, **right)
    axes.margins(x=0.1)
    left, right = axes.get_xlim()
    left = max(left, 0.0)
    axes.set_xlim(left, min(max(right, left + _SMALLEST_RANGE), 100.0))


def _describe(table: Mapping[str, Any], baseline: str) -> str:
    rooms, seeds = table["rooms"], table["num_seeds"]
    spread = f"large dot and bar: mean and standard deviation of {seeds} seeds" if seeds > 1 else "one seed"
    has_baseline = any(row["method"] == baseline and row["runs"] for row in table["rows"])
    dashed = f"; dashed: {baseline}" if has_baseline else ""
    return f"mIoU, %, {table['split']} split of {rooms[table['split']]} rooms; {spread}{dashed}"
