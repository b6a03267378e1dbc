"""How figures look: sizes, colours of the groups of classes, the lines of two runs and their names."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pointseg.commands import complain

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


@contextmanager
def figure_style(style: Mapping[str, Any]) -> Iterator[None]:
    """Draw and save a figure in a style; of signs that the font lacks, which become boxes, one line on stderr tells.

    Args:
        style: of ``matplotlib.rcParams``.
    """
    import matplotlib

    with matplotlib.rc_context(dict(style)), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", category=UserWarning)
        yield
    if any("missing from" in str(warning.message) for warning in caught):
        complain("warning: the font of the plot lacks signs of some names, and has a box for each of them")


def as_written(text: str) -> str:
    r"""A text for matplotlib that is drawn sign by sign: between two ``$`` it would read a formula.

    ``text.parse_math`` is not the way: matplotlib writes the powers of ten along an axis as formulas. A name of a file
    can have bytes that are no text, which no font has.
    """
    return text.encode(errors="replace").decode().replace("$", r"\$")


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
