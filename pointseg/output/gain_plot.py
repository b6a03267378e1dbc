"""What a method gains by training budget; matplotlib is imported only when something is drawn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pointseg.atomic import atomic_file
from pointseg.output.plot_style import ALL_COLOR, GROUP_COLORS, STYLE, as_written, figure_style
from pointseg.output.plots import check_plot_path

_PANELS = (("miou", "all classes"), ("head", "head"), ("common", "common"), ("tail", "tail"))
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")


class GainPoint(NamedTuple):
    """One budget of one line."""

    line: str
    """What the legend calls it."""
    passes: int
    gain: Mapping[str, Mapping[str, Any] | None]
    """Key -> ``mean``, ``low`` and ``high``, shares of 1."""


def draw_gains(path: str | Path, points: Sequence[GainPoint], title: str) -> None:
    """A panel for all classes and for each group: gain in points of IoU against passes.

    Args:
        path: ``.png``, ``.pdf`` or ``.svg``, written atomically.
        points: at least one.
        title: what gains over what.

    Raises:
        UsageError: matplotlib is not installed, or the file's ending is no format that we write.
    """
    check_plot_path(path)
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys(point.line for point in points))
    budgets = sorted({point.passes for point in points})
    with figure_style(STYLE):
        figure = Figure(figsize=(9.0, 2.7), layout="constrained")
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (key, name) in zip(panels, _PANELS, strict=True):
            color = GROUP_COLORS.get(key, ALL_COLOR)
            axes.set_title(name, color=color, fontweight="bold")
            axes.axhline(0, color="#8a8a8a", linewidth=0.8)
            for number, line in enumerate(lines):
                _draw_line(axes, [point for point in points if point.line == line], key, color, number, len(lines))
            axes.set_xscale("log")
            axes.set_xticks(budgets, [str(budget) for budget in budgets])
            axes.minorticks_off()
            axes.margins(x=0.12)
            axes.grid(axis="y", linewidth=0.3, alpha=0.6)
            axes.set_xlabel("passes")
        panels[0].set_ylabel(f"{as_written(title)}, points of IoU")
        panels[0].legend(fontsize=7, frameon=False)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, dpi=200)


def _draw_line(axes: Any, points: Sequence[GainPoint], key: str, color: str, number: int, num_lines: int) -> None:
    """Means joined, intervals as bars; lines stand a little beside each other."""
    known = [(point.passes, gain) for point in points if (gain := point.gain[key]) is not None]
    if not known:
        return
    shift = 1.08 ** (number - (num_lines - 1) / 2)
    x = [passes * shift for passes, _ in known]
    mean = [100 * gain["mean"] for _, gain in known]
    style = {"color": color, "linestyle": _LINES[number % len(_LINES)], "marker": _MARKERS[number % len(_MARKERS)]}
    axes.plot(x, mean, linewidth=1.2, markersize=4, label=as_written(points[0].line.replace("_", " ")), **style)
    for position, (_, gain) in zip(x, known, strict=True):
        if gain["low"] is not None:
            axes.vlines(position, 100 * gain["low"], 100 * gain["high"], color=color, linewidth=1.0, alpha=0.7)
