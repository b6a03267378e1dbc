"""What the panels of a picture show, as colours of points: the scan, ground truth, prediction, errors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pointseg.output.palette import WRONG_COLORS, choose_wrong_color, tell_apart
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy

Color = tuple[int, int, int]

UNANNOTATED: Color = (225, 225, 225)
CORRECT: Color = (156, 186, 160)
WRONG: Color = WRONG_COLORS[0]
"""Where no class of the scene looks like it."""
PLAIN: Color = (200, 200, 200)
MAX_LEGEND_CLASSES = 24


@dataclass(frozen=True)
class LegendEntry:
    """A colour and what it means."""

    name: str
    color: Color


PanelTitle = Literal["Scan", "Ground truth", "Prediction", "Errors"]


@dataclass(frozen=True)
class Panel:
    """One drawing of the scene."""

    title: PanelTitle
    colors: np.ndarray
    """(N, 3) uint8."""
    key: tuple[LegendEntry, ...] = ()
    """Colours that are explained beside the title; those of classes are in the picture's legend."""
    label: np.ndarray | None = None
    """(N,) integer: the classes that the colours are of."""


def class_colors(label: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(N, 3) uint8 colours of (N,) labels; IGNORE is light grey."""
    assert IGNORE == -1, "the appended row is found by the index -1"
    return np.append(taxonomy.colors, np.array([UNANNOTATED], dtype=np.uint8), axis=0)[label]


def make_panels(scene: Scene, prediction: np.ndarray | None, taxonomy: Taxonomy) -> list[Panel]:
    """The panels for what is known: colours, ground truth, prediction, errors.

    Args:
        scene: its ``label`` is the ground truth.
        prediction: (N,) integer labels, or None.
        taxonomy: names and colours of the classes.

    Raises:
        ValueError: the prediction is not one label a point.
    """
    if prediction is not None and prediction.shape != (scene.num_points,):
        raise ValueError(f"prediction is {prediction.shape}, expected ({scene.num_points},)")
    panels = []
    if scene.rgb is not None:
        panels.append(Panel("Scan", scene.rgb))
    if scene.label is not None:
        panels.append(Panel("Ground truth", class_colors(scene.label, taxonomy), label=scene.label))
    if prediction is not None:
        panels.append(Panel("Prediction", class_colors(prediction, taxonomy), label=prediction))
    if scene.label is not None and prediction is not None:
        present = np.union1d(scene.label, prediction)
        wrong = choose_wrong_color(taxonomy.colors[present[present != IGNORE]])
        panels.append(_error_panel(scene.label, prediction, wrong))
    return panels or [Panel("Scan", np.tile(np.array(PLAIN, dtype=np.uint8), (scene.num_points, 1)))]


def with_distinct_colors(taxonomy: Taxonomy, present: np.ndarray) -> Taxonomy:
    """The classes in colours that can be told apart.

    Args:
        taxonomy: of the scene.
        present: labels of the classes that are shown, those to keep their colours first.
    """
    colors = taxonomy.colors.copy()
    colors[present] = tell_apart(colors[present], np.array([UNANNOTATED], dtype=np.uint8))
    return replace(taxonomy, colors=colors)


def rank_classes(labels: Sequence[np.ndarray], num_classes: int, fewest: int = 1) -> np.ndarray:
    """Labels of the classes that occur ``fewest`` times in one of the arrays, most frequent in all of them first."""
    counts = np.zeros((1, num_classes), dtype=np.int64)
    if len(labels):
        counts = np.stack([np.bincount(label[label != IGNORE], minlength=num_classes) for label in labels])
    ranked = np.argsort(-counts.sum(axis=0), kind="stable")
    return ranked[counts.max(axis=0)[ranked] >= fewest]


def make_legend(labels: Sequence[np.ndarray], taxonomy: Taxonomy, fewest: int = 1) -> list[LegendEntry]:
    """The classes that occur ``fewest`` times in any of the label arrays, most frequent first; not more than 24.

    A last entry, in white, says how many classes are not listed.
    """
    return shorten_legend(
        list_classes(rank_classes(labels, taxonomy.num_classes, fewest), taxonomy), MAX_LEGEND_CLASSES
    )


def list_classes(present: np.ndarray, taxonomy: Taxonomy) -> list[LegendEntry]:
    """An entry for each of the labels, in their order."""
    return [LegendEntry(taxonomy.class_names[k], as_color(taxonomy.colors[k])) for k in present]


def shorten_legend(entries: Sequence[LegendEntry], most: int) -> list[LegendEntry]:
    """The first entries; what is left out is counted by a last one, in white."""
    if len(entries) <= most:
        return list(entries)
    return [*entries[:most], LegendEntry(f"+{len(entries) - most} more", (255, 255, 255))]


def _error_panel(label: np.ndarray, prediction: np.ndarray, wrong: Color) -> Panel:
    known = label != IGNORE
    is_right = label == prediction
    colors = np.where(is_right[:, None], np.array(CORRECT, np.uint8), np.array(wrong, np.uint8))
    colors[~known] = UNANNOTATED
    num_known = np.count_nonzero(known)
    share = f" ({np.count_nonzero(is_right & known) / num_known:.1%})" if num_known else ""
    key = [LegendEntry(f"correct{share}", CORRECT), LegendEntry("wrong", wrong)]
    if num_known < len(label):
        key.append(LegendEntry("not annotated", UNANNOTATED))
    return Panel("Errors", colors, tuple(key))


def as_color(row: np.ndarray) -> Color:
    """A row (3,) uint8 of a table of colours."""
    red, green, blue = row.tolist()
    return red, green, blue
