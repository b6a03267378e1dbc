"""Figures of an analysis, drawn with matplotlib, which is imported only here and only when something is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import atomic_file
from pointseg.errors import UsageError, missing_library
from pointseg.output.plot_style import (
    ALL_COLOR,
    GROUP_COLORS,
    STYLE,
    as_written,
    color_of,
    figure_style,
    line_of,
    shorten,
)
from pointseg.output.plots_over_training import History, draw_over_training, has_course, panels_with_values

SUFFIXES = (".png", ".pdf", ".svg")
# With more classes, names beside a matrix can't be read.
_MAX_NAMED_CLASSES = 40
# Of the row of measures over training: one alone would be as wide as the figure.
_FEWEST_COLUMNS = 3


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
    history: History | None = None
    """What was measured during training."""


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
        raise UsageError(missing_library(f"{path}: plotting it", "matplotlib", "viz")) from None


def draw_analysis(path: str | Path, runs: Sequence[RunFigures], classes: ClassFigures) -> None:
    """Draw one figure: the two cosine matrices of each run, IoU against class frequency, the measures over training.

    Of the last there is what any run has logged; without any they are left out.

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
    from matplotlib.figure import Figure

    histories = [run.history for run in runs]
    panels = panels_with_values(histories)
    with figure_style(STYLE):
        # As wide as a slide, and as high as one where everything is there.
        figure = Figure(figsize=(12, 6.75 if panels or len(runs) == 2 else 4))
        figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06, hspace=0.04, wspace=0.02)
        if len(runs) == 1:
            _lay_out_one(figure, runs, classes, len(panels))
        else:
            _lay_out_two(figure, runs, classes, len(panels))
        has_lines, has_goal = has_course(panels, histories), any(panel.at_collapse is not None for panel in panels)
        handles = _legend_of(runs, classes, has_lines, has_goal)
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=3.2)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, dpi=200)


def _lay_out_one(figure: Any, runs: Sequence[RunFigures], classes: ClassFigures, num_panels: int) -> None:
    """Matrices and IoU side by side; below, where there are any, the measures over training in one row."""
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 0.6]) if num_panels else figure.add_gridspec(1, 1)
    upper = rows[0].subgridspec(1, 3, width_ratios=[1, 1, 1.35])
    _draw_matrices(figure, [upper[0], upper[1]], runs, classes)
    draw_iou_against_frequency(figure.add_subplot(upper[2]), runs, classes)
    if num_panels:
        num_columns = max(num_panels, _FEWEST_COLUMNS)
        draw_over_training(figure, rows[1].subgridspec(1, num_columns), [run.history for run in runs], num_columns)


def _lay_out_two(figure: Any, runs: Sequence[RunFigures], classes: ClassFigures, num_panels: int) -> None:
    """The matrices of both runs in one row; below IoU and, right of it, the measures over training in two rows."""
    rows = figure.add_gridspec(2, 1, height_ratios=[1, 1.05])
    upper = rows[0].subgridspec(1, 4)
    _draw_matrices(figure, [upper[column] for column in range(4)], runs, classes)
    lower = rows[1].subgridspec(1, 2, width_ratios=[1, 1.4]) if num_panels else rows[1].subgridspec(1, 1)
    draw_iou_against_frequency(figure.add_subplot(lower[0]), runs, classes)
    if num_panels:
        num_columns = (num_panels + 1) // 2
        grid = lower[1].subgridspec(-(-num_panels // num_columns), num_columns)
        draw_over_training(figure, grid, [run.history for run in runs], num_columns)


def _draw_matrices(figure: Any, cells: Sequence[Any], runs: Sequence[RunFigures], classes: ClassFigures) -> None:
    """The centers' and the classifier's matrix of each run, with one colour bar."""
    matrices: list[Any] = []
    image: Any = None
    pictures = [(run, what, cosines) for run in runs for what, cosines in _matrices_of(run)]
    for cell, (run, what, cosines) in zip(cells, pictures, strict=True):
        axes = figure.add_subplot(cell)
        image = draw_cosines(axes, cosines, run.present, classes)
        # The strip of groups stands between the matrix and its title.
        title = what if len(runs) == 1 else f"{as_written(shorten(run.name))}\n{what}"
        axes.set_title(title, pad=12 if classes.groups else 6)
        matrices.append(axes)
    figure.colorbar(image, ax=matrices, label="cosine", shrink=0.7, aspect=25, ticks=[-1, -0.5, 0, 0.5, 1])


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
        names = [as_written(classes.names[label]) for label in ordered]
        size = min(7.0, 140 / len(names))
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
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
    color = np.array([color_of(group) for group in groups])
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
        axes.plot(center, 100 * mean, color="black", linewidth=1.5, linestyle=line_of(index, len(runs)), zorder=4)
    axes.set_xscale("log")
    if len(seen) and frequency[rated].max() > 10 * frequency[rated].min():
        axes.xaxis.set_minor_formatter("")  # the powers of ten are enough, and the others would run together
    axes.set_ylim(-3, 103)
    axes.set_xlabel(as_written(classes.frequency_unit) + (" (leftmost: none)" if has_unseen else ""))
    axes.set_ylabel("IoU, %")
    axes.set_title("IoU by class; lines: running mean")
    axes.grid(axis="y", linewidth=0.3, alpha=0.6)
    axes.set_axisbelow(True)


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
                    corner, width, height, transform=axes.transAxes, color=color_of(group), linewidth=0, clip_on=False
                )
            )


def _legend_of(runs: Sequence[RunFigures], classes: ClassFigures, has_lines: bool, has_goal: bool) -> list[Any]:
    """One legend for dots and lines of all panels: groups by colour, runs by line and by hollow or filled dots."""
    from matplotlib.lines import Line2D

    line: dict[str, Any] = {"linestyle": "-" if has_lines else "", "linewidth": 0.8, "marker": "o", "markersize": 4}
    groups = [group for group in GROUP_COLORS if group in (classes.groups or ())]
    handles = [Line2D([], [], color=color_of(group), label=group, **line) for group in groups]
    what = "running mean; all classes" if has_lines else "running mean"
    for index, run in enumerate(runs):
        handle = Line2D([], [], color=ALL_COLOR, linewidth=1.5, linestyle=line_of(index, len(runs)), label=what)
        if len(runs) == 2:
            handle.set(marker="o", markersize=4, markerfacecolor="white" if index == 0 else ALL_COLOR)
            handle.set_label(as_written(shorten(run.name)))
        handles.append(handle)
    if has_goal:
        handles.append(Line2D([], [], color="#888888", linewidth=0.8, linestyle=":", label="at collapse"))
    return handles
