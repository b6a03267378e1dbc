"""What the window shows: one room in several colourings, and what is known of each of its points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointseg.output.panels import (
    LegendEntry,
    Panel,
    PanelTitle,
    list_classes,
    make_panels,
    rank_classes,
    with_distinct_colors,
)
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, Taxonomy
from pointseg.window.room import Room, lay_out_room
from pointseg.window.turntable import Turntable

KEY_OF_PANEL: dict[PanelTitle, int] = {"Scan": 1, "Ground truth": 2, "Prediction": 3, "Errors": 4}
"""What is known is always at the same key, whatever else is not."""


@dataclass(frozen=True)
class Content:
    """All that the window needs to know."""

    name: str
    """Of the scene."""
    room: Room
    camera: Turntable
    """That one looks from at first."""
    panels: dict[int, Panel]
    """Key -> colouring, in the order of the keys."""
    legend: tuple[LegendEntry, ...]
    """All classes of the scene, most frequent first."""
    class_names: tuple[str, ...]

    def describe(self, corner: int) -> list[str]:
        """What is known of a corner of the room, a line each: its class in the ground truth and in the prediction."""
        point = int(self.room.point_of_corner[corner])
        labels = {panel.title: int(panel.label[point]) for panel in self.panels.values() if panel.label is not None}
        lines = [f"{title}: {self._name_class(label)}" for title, label in labels.items()]
        return lines or ["no class is known; give a prediction by --pred"]

    def _name_class(self, label: int) -> str:
        return "not annotated" if label == IGNORE else self.class_names[label]


def make_content(scene: Scene, faces: np.ndarray | None, prediction: np.ndarray | None, taxonomy: Taxonomy) -> Content:
    """Lay out a scene for the window.

    Args:
        scene: its ``label`` is the ground truth, where there is one.
        faces: (F, 3) int32, or None: points are drawn as discs.
        prediction: (N,) integer labels, or None.
        taxonomy: names and colours of the classes.

    Raises:
        ValueError: the prediction is not one label a point.
    """
    labels: Sequence[np.ndarray] = [label for label in (scene.label, prediction) if label is not None]
    ranked = rank_classes(labels, taxonomy.num_classes)
    taxonomy = with_distinct_colors(taxonomy, ranked)
    panels = {KEY_OF_PANEL[panel.title]: panel for panel in make_panels(scene, prediction, taxonomy)}
    room, camera = lay_out_room(scene, faces)
    return Content(scene.name, room, camera, panels, tuple(list_classes(ranked, taxonomy)), taxonomy.class_names)
