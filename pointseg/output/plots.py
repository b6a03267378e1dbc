"""Figures of an analysis, drawn with matplotlib, which is imported only here and only when something is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import atomic_file
from pointseg.errors import UsageError

SUFFIXES = (".png", ".pdf", ".svg")
# Okabe and Ito's colours, told apart with any colour vision.
GROUP_COLORS = {"head": "#0072B2", "common": "#009E73", "tail": "#D55E00"}
_NO_GROUP_COLOR = "#444444"
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
# With more classes, names beside a matrix can't be read.
_MAX_NAMED_CLASSES = 40
_MAX_NAME_LENGTH = 28


@dataclass(frozen=True)
class RunFigures:
    """What is drawn of one run."""

    name: str
    present: np.ndarray
    """(P,) int64: the labels of the classes present."""
    center_cosines: np.ndarray
    """(P, P): cosines of the centred class centers."""
    classifier_cosines: np.ndarray
    """(P, P): cosines of the centred rows of the classifier."""
    iou: np.ndarray
    """(K,), NaN where the class is not in the ground truth."""


@dataclass(frozen=True)
class ClassFigures:
    """What is known of the classes, in label order."""

    names: Sequence[str]
    groups: Sequence[str] | None
    """(K,) of head, common, tail; None: the benchmark has no groups."""
    frequency: np.ndarray
    """(K,) counts."""
    frequency_unit: str


def check_plot_path(path: str | Path) -> None:
    """Raise before the work begins, not after it.

    Raises:
        UsageError: matplotlib is not installed, or the file's ending is no format that we write.
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: a plot ends in {', '.join(SUFFIXES)}; name it so")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError(f"{path}: plots need matplotlib; pip install 'pointseg[viz]'") from None


def draw_analysis(path: str | Path, runs: Sequence[RunFigures], classes: ClassFigures) -> None:
    """Draw one figure: for each run the two cosine matrices, and the IoU of all runs against class frequency.

    Args:
        path: ``.png``, ``.pdf`` or ``.svg``, written atomically.
        runs: one or two, over the same classes.
        classes: of the taxonomy.

    Raises:
        UsageError: as :func:`check_plot_path`.
        ValueError: no run, or more than two.
    """
    if not 1 <= len(runs) <= 2:
        raise ValueError(f"expected one or two runs, got {len(runs)}")
    check_plot_path(path)
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 2.9 + 2.9 * len(runs)), layout="constrained")
        grid = figure.add_gridspec(len(runs) + 1, 2, height_ratios=[1.0] * len(runs) + [0.85])
        matrices: list[Any] = []
        image: Any = None
        for row, run in enumerate(runs):
            for column, (what, cosines) in enumerate(_matrices_of(run)):
                axes = figure.add_subplot(grid[row, column])
                image = draw_cosines(axes, cosines, run.present, classes)
                # The strip of groups stands between the matrix and its title.
                axes.set_title(
                    what if len(runs) == 1 else f"{what}, {_shorten(run.name)}", pad=12 if classes.groups else 6
                )
                matrices.append(axes)
        figure.colorbar(image, ax=matrices, label="cosine", shrink=0.6, aspect=30, ticks=[-1, -0.5, 0, 0.5, 1])
        draw_iou_against_frequency(figure.add_subplot(grid[-1, :]), runs, classes)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, dpi=200)


def draw_cosines(axes: Any, cosines: np.ndarray, present: np.ndarray, classes: ClassFigures) -> Any:
    """One (P, P) cosine matrix, the most frequent class first; returns the image, for a colour bar.

    A strip along the left and the top has the colour of each class's group. At collapse every cell off the diagonal
    is -1/(P-1).
    """
    order = order_by_frequency(present, classes.frequency)
    image = axes.imshow(cosines[np.ix_(order, order)], vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    ordered = present[order]
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(ordered) <= _MAX_NAMED_CLASSES:
        names = [classes.names[label] for label in ordered]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
        axes.set_yticks(range(len(names)), names, fontsize=5)
        axes.tick_params(length=0, pad=4 if classes.groups else 1)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{len(ordered)} classes, the most frequent first")
    if classes.groups is not None:
        _draw_group_strips(axes, [classes.groups[label] for label in ordered])
    return image


def draw_iou_against_frequency(axes: Any, runs: Sequence[RunFigures], classes: ClassFigures) -> None:
    """A dot a class: IoU over frequency (log), in the colour of its group; with two runs, hollow and filled."""
    groups: Sequence[str | None] = classes.groups or [None] * len(classes.names)
    color = np.array([_color_of(group) for group in groups])
    rated = ~np.isnan([run.iou for run in runs]).all(axis=0)
    seen = classes.frequency[rated & (classes.frequency > 0)]
    # A class of frequency 0 has no place on a log axis: it stands left of the others.
    frequency = np.maximum(classes.frequency, seen.min() / 3 if len(seen) else 1)
    has_unseen = bool((classes.frequency[rated] == 0).any())
    if len(runs) == 2:
        low, high = np.fmin(runs[0].iou, runs[1].iou), np.fmax(runs[0].iou, runs[1].iou)
        axes.vlines(frequency, 100 * low, 100 * high, colors=color, linewidth=0.5, alpha=0.4, zorder=1)
    for index, run in enumerate(runs):
        hollow = len(runs) == 2 and index == 0
        face = "white" if hollow else color
        axes.scatter(frequency, 100 * run.iou, s=10, c=face, edgecolors=color, linewidths=0.7, zorder=2 + index)
        center, mean = smooth_iou(frequency, run.iou)
        axes.plot(center, 100 * mean, color="black", linewidth=1.1, linestyle="--" if hollow else "-", zorder=4)
    axes.set_xscale("log")
    axes.set_ylim(-3, 103)
    axes.set_xlabel(classes.frequency_unit + (" (leftmost: none)" if has_unseen else ""))
    axes.set_ylabel("IoU, %" if len(runs) == 1 else "IoU, %; lines: running mean")
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    # Above the axes: rare classes with a high IoU are what one looks for, and must not be covered.
    legend = axes.legend(
        handles=_legend_of(runs, classes), loc="lower left", bbox_to_anchor=(0, 1), frameon=False, ncols=5
    )
    # A wide legend would narrow everything else; the empty title keeps its height free.
    legend.set_in_layout(False)
    axes.set_title(" ")


def order_by_frequency(present: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Positions in ``present`` (P,), the most frequent class first, equal ones in label order."""
    return np.argsort(-frequency[present], kind="stable")


def smooth_iou(frequency: np.ndarray, iou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running mean of IoU over neighbours in frequency: (geometric mean of their frequency, mean of their IoU).

    The window is a fifth of the classes that have an IoU, at least 3; fewer than 6 such classes have no curve.
    """
    rated = np.flatnonzero(~np.isnan(iou))
    rated = rated[np.argsort(frequency[rated], kind="stable")]
    if len(rated) < 6:
        return np.empty(0), np.empty(0)
    window = max(3, len(rated) // 5)
    kernel = np.full(window, 1 / window)
    middle = np.exp(np.convolve(np.log(frequency[rated]), kernel, mode="valid"))
    return middle, np.convolve(iou[rated], kernel, mode="valid")


def _matrices_of(run: RunFigures) -> list[tuple[str, np.ndarray]]:
    return [("feature centers", run.center_cosines), ("classifier rows", run.classifier_cosines)]


def _shorten(name: str) -> str:
    """A name that fits a title."""
    return name if len(name) <= _MAX_NAME_LENGTH else "…" + name[1 - _MAX_NAME_LENGTH :]


def _color_of(group: str | None) -> str:
    return _NO_GROUP_COLOR if group is None else GROUP_COLORS[group]


def _draw_group_strips(axes: Any, groups: Sequence[str]) -> None:
    """Thin bars outside the left and upper edges, one cell a class."""
    from matplotlib.patches import Rectangle

    size = len(groups)
    thickness = 0.025
    for index, group in enumerate(groups):
        start = index / size
        for corner, width, height in (
            ((-0.01 - thickness, 1 - start - 1 / size), thickness, 1 / size),
            ((start, 1.01), 1 / size, thickness),
        ):
            axes.add_patch(
                Rectangle(
                    corner, width, height, transform=axes.transAxes, color=_color_of(group), linewidth=0, clip_on=False
                )
            )


def _legend_of(runs: Sequence[RunFigures], classes: ClassFigures) -> list[Any]:
    from matplotlib.lines import Line2D

    groups = [group for group in GROUP_COLORS if group in (classes.groups or ())]
    handles = [Line2D([], [], marker="o", linestyle="", markersize=4, color=_color_of(g), label=g) for g in groups]
    for index, run in enumerate(runs):
        hollow = len(runs) == 2 and index == 0
        line = Line2D([], [], color="black", linewidth=1.1, linestyle="--" if hollow else "-", label="running mean")
        if len(runs) == 2:
            line.set(marker="o", markersize=4, markerfacecolor="white" if hollow else "black")
            line.set_label(_shorten(run.name))
        handles.append(line)
    return handles
