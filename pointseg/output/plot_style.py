"""How figures look: sizes, colours of the groups of classes, the lines of two runs and their names."""

from collections.abc import Sequence
from pathlib import Path

# Okabe and Ito's colours, told apart with any colour vision.
GROUP_COLORS = {"head": "#0072B2", "common": "#009E73", "tail": "#D55E00"}
ALL_COLOR = "black"
_NO_GROUP_COLOR = "#444444"
STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
_MAX_NAME_LENGTH = 28


def color_of(group: str | None) -> str:
    """The colour of a class of this group; None: the benchmark has no groups."""
    return _NO_GROUP_COLOR if group is None else GROUP_COLORS[group]


def line_of(index: int, num_runs: int) -> str:
    """How a run's lines are drawn: of two, the first is dashed."""
    return "--" if num_runs == 2 and index == 0 else "-"


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of each path that tells them apart."""
    parts = [Path(path).resolve().parts[::-1] for path in paths]
    for ends in zip(*parts, strict=False):
        if len(set(ends)) == len(paths):
            return list(ends)
    return list(paths)


def shorten(name: str) -> str:
    """A run's name that fits a title."""
    return name if len(name) <= _MAX_NAME_LENGTH else "…" + name[1 - _MAX_NAME_LENGTH :]
