"""The long tail of a data set in one picture; matplotlib is imported only when something is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import atomic_file
from pointseg.errors import UsageError
from pointseg.output.plot_style import GROUP_COLORS, STYLE, as_written, color_of, figure_style
from pointseg.output.plots import check_plot_path

_QUIET = "#777777"
# What of all classes together makes sense, so that a group has a share of it.
_ADDS_UP = ("points", "objects")
# Bigger than elsewhere: this picture is for a wall, not for a page.
_STYLE = {**STYLE, "font.size": 10, "axes.titlesize": 12, "axes.labelsize": 10, "legend.fontsize": 11}
_STYLE |= {"xtick.labelsize": 9, "ytick.labelsize": 9, "axes.linewidth": 0.8}


@dataclass(frozen=True)
class FrequencyChart:
    """How often each of the K classes occurs, in label order."""

    title: str
    """Whose classes these are."""
    names: Sequence[str]
    """(K,)."""
    groups: Sequence[str]
    """(K,) of head, common, tail."""
    counts: Mapping[str, np.ndarray]
    """What is counted -> (K,) integers: one panel each."""


def draw_class_frequency(path: str | Path, frequency: FrequencyChart) -> None:
    """Draw frequency against rank, both logarithmic, a panel for each kind of count and a dot for each class.

    Args:
        path: ``.png``, ``.pdf`` or ``.svg``, written atomically.
        frequency: the counts. A class that does not occur has no dot; the panel says how many those are. What no
            class has any of, such as objects in a tree without instances, has no panel.

    Raises:
        UsageError: matplotlib is not installed, the file's ending is no format that we write, or no class occurs.
    """
    check_plot_path(path)
    panels = {what: counts for what, counts in frequency.counts.items() if counts.any()}
    if not panels:
        raise UsageError(f"{path}: there is nothing to plot, no class occurs; check scenes that have labels")
    from matplotlib.figure import Figure

    with figure_style(_STYLE):
        figure = Figure(figsize=(4.4 * len(panels), 5.2))
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08, wspace=0.03)
        figure.suptitle(as_written(frequency.title), fontsize=14, fontweight="bold")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (what, counts) in zip(row, panels.items(), strict=True):
            draw_rank_plot(axes, what, counts, frequency)
        figure.legend(handles=_legend_of(frequency.groups), loc="outside lower center", ncols=len(GROUP_COLORS))
        with atomic_file(path) as temporary:
            figure.savefig(temporary, dpi=200)


def draw_rank_plot(axes: Any, what: str, counts: np.ndarray, frequency: FrequencyChart) -> None:
    """One panel: the classes that occur, the most frequent first; above the curve, what the groups have."""
    order = rank_classes(counts)
    rank = np.arange(1, len(order) + 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(rank, counts[order], color="#bbbbbb", linewidth=0.8, zorder=1)
    colors = [color_of(frequency.groups[label]) for label in order]
    axes.scatter(rank, counts[order], s=20, c=colors, linewidths=0, zorder=3)
    axes.set_xlim(0.8, 1.5 * len(counts))
    axes.set_ylim(counts[order].min() / 2.2, counts[order].max() * 3)
    axes.set_xlabel("rank of the class, the most frequent first")
    axes.set_ylabel(f"{what} of the class")
    axes.set_title(what, fontweight="bold", pad=22)
    ratio = round_to_two_digits(counts[order[0]] / counts[order[-1]])
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center", "va": "bottom"}
    axes.annotate(f"rarest to most frequent 1 : {ratio:,}", (0.5, 1), xytext=(0, 7), fontsize=10, color=_QUIET, **above)
    axes.grid(which="major", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)
    _name_classes(axes, counts, order, frequency)
    _describe_groups(axes, what, counts, frequency.groups)


def rank_classes(counts: np.ndarray) -> np.ndarray:
    """Labels of the classes that occur, the most frequent first, equal ones in label order."""
    order = np.argsort(-counts, kind="stable")
    return order[counts[order] > 0]


def round_to_two_digits(number: float) -> int:
    """3512.7 -> 3500; numbers below 100 to the next whole one."""
    unit = 10 ** max(len(f"{number:.0f}") - 2, 0)
    return round(number / unit) * unit


def _name_classes(axes: Any, counts: np.ndarray, order: np.ndarray, frequency: FrequencyChart) -> None:
    """Names at ranks 1, 2, 4, ... above the curve, where there is room, and of the last below it."""
    ranks = [2**power for power in range(12) if 2**power <= len(order) / 3]
    for rank in [*ranks, len(order)]:
        label = order[rank - 1]
        last = rank == len(order) and rank > 1
        axes.annotate(
            as_written(frequency.names[label]),
            (rank, counts[label]),
            xytext=(-5, -5) if last else (5, 3),
            textcoords="offset points",
            ha="right" if last else "left",
            va="top" if last else "bottom",
            fontsize=9,
            color=color_of(frequency.groups[label]),
            zorder=4,
        )


def _describe_groups(axes: Any, what: str, counts: np.ndarray, groups: Sequence[str]) -> None:
    """A line a group: its median, and its share where the counts add up."""
    lines = []
    for group in GROUP_COLORS:
        members = counts[np.array(groups) == group]
        if not len(members):
            continue
        share = f", {members.sum() / counts.sum():.1%} of all" if what in _ADDS_UP else ""
        lines.append((f"{group}: median {round_to_two_digits(np.median(members)):,}{share}", color_of(group)))
    num_absent = int((counts == 0).sum())
    if num_absent:
        lines.append((f"not drawn: {num_absent} that do not occur", _QUIET))
    right = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 9}
    for index, (text, color) in enumerate(lines):
        axes.text(1, 0.985 - 0.05 * index, text, color=color, **right)


def _legend_of(groups: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"linestyle": "", "marker": "o"}
    sizes = {group: list(groups).count(group) for group in GROUP_COLORS}
    return [Line2D([], [], color=color_of(g), label=f"{g}: {size} classes", **dot) for g, size in sizes.items()]
