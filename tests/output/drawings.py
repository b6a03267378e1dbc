"""Drawings of a scene without the rest of a picture."""

from collections.abc import Sequence

import numpy as np

from pointseg.output.drawing import Drawing
from pointseg.output.panels import Panel
from pointseg.output.picture import lay_out_scene
from pointseg.scans.scene import Scene


def plan_drawing(scene: Scene, faces: np.ndarray | None, panels: Sequence[Panel], width_px: int) -> Drawing:
    """What is seen of the scene from where pictures look at it, in the colours of the panels."""
    surface, frame = lay_out_scene(scene, faces)
    colors = np.stack([panel.colors for panel in panels])
    return Drawing(surface, frame, width_px, round(width_px / frame.aspect), colors)
