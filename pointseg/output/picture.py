"""Pictures of scenes: colours, ground truth, prediction and errors side by side, and the classes in view."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.atomic import atomic_file
from pointseg.errors import UsageError, missing_library
from pointseg.output.bare_points import plane_normals
from pointseg.output.canvas import compose_picture
from pointseg.output.drawing import Drawing
from pointseg.output.offscreen import OffscreenError, draw_offscreen
from pointseg.output.painter import draw_with_matplotlib
from pointseg.output.panels import Panel, make_legend, make_panels
from pointseg.output.surface import make_surface
from pointseg.output.view import choose_view, fit_frame, wall_direction
from pointseg.scans.normals import vertex_normals
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy

ENGINES = ("auto", "open3d", "matplotlib")
DEFAULT_PANEL_WIDTH_PX = 640


@dataclass(frozen=True)
class Picture:
    """A picture to be made: a scene with what is known of it."""

    path: Path
    """The PNG file."""
    scene: Scene
    """Its ``label`` is the ground truth, where there is one."""
    taxonomy: Taxonomy
    faces: np.ndarray | None = None
    """(F, 3) int32; without faces, points are drawn as discs."""
    prediction: np.ndarray | None = None
    """(N,) integer labels."""


def save_pictures(
    pictures: Sequence[Picture], engine: str = "auto", panel_width_px: int = DEFAULT_PANEL_WIDTH_PX
) -> None:
    """Draw pictures and write them as PNG files, atomically. Many at once take less time than one by one.

    Args:
        pictures: what to draw.
        engine: ``open3d``, ``matplotlib``, or ``auto``: Open3D, and matplotlib with one line on stderr where
            Open3D can't draw.
        panel_width_px: width of one panel.

    Raises:
        UsageError: the engine is not known, can't draw here, or matplotlib is not installed.
        ValueError: a prediction is not one label a point.
    """
    if engine not in ENGINES:
        raise UsageError(f"engine {engine!r} is not known; choose one of {', '.join(ENGINES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(missing_library("drawing pictures", "matplotlib", "viz"))
    panels = [make_panels(picture.scene, picture.prediction, picture.taxonomy) for picture in pictures]
    drawings = [
        plan_drawing(picture.scene, picture.faces, row, panel_width_px)
        for picture, row in zip(pictures, panels, strict=True)
    ]
    images = _draw(drawings, engine)
    for picture, row, drawing, image in zip(pictures, panels, drawings, images, strict=True):
        in_view = [
            label[drawing.surface.drawn] for label in (picture.scene.label, picture.prediction) if label is not None
        ]
        legend = make_legend(in_view, picture.taxonomy)
        composed = compose_picture(picture.scene.name, row, list(image), legend)
        with atomic_file(picture.path) as temporary:
            composed.save(temporary, format="PNG")


def plan_drawing(
    scene: Scene, faces: np.ndarray | None, panels: Sequence[Panel], width_px: int = DEFAULT_PANEL_WIDTH_PX
) -> Drawing:
    """Choose a view of the scene, and lay out what is seen from it.

    Args:
        scene: positions, and normals where it has them.
        faces: (F, 3) int32, or None: points are drawn as discs.
        panels: colours of the points.
        width_px: width of a panel; the height follows from what is in view.
    """
    normal = scene.normal
    if normal is None and faces is not None:
        normal = vertex_normals(scene.xyz, faces)
    view = choose_view(scene.xyz, normal)
    if normal is None:
        angle = wall_direction(scene.xyz[:, :2])
        room_axes = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        normal = plane_normals(scene.xyz, room_axes, view.towards_viewer)
    surface = make_surface(scene.xyz, faces, normal, view)
    frame = fit_frame(surface.projected[surface.triangles.ravel()])
    height_px = round(width_px / frame.aspect)
    return Drawing(surface, frame, width_px, height_px, np.stack([panel.colors for panel in panels]))


def _draw(drawings: Sequence[Drawing], engine: str) -> list[np.ndarray]:
    if engine != "matplotlib":
        try:
            return draw_offscreen(drawings)
        except OffscreenError as error:
            if engine == "open3d":
                raise UsageError(str(error)) from None
            print(f"pointseg: {error}. Drawing with matplotlib instead", file=sys.stderr)
    return [draw_with_matplotlib(drawing) for drawing in drawings]
