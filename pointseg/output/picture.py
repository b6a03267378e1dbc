"""Pictures of scenes: colours, ground truth, prediction and errors side by side, and the classes in view."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.atomic import atomic_file
from pointseg.commands import complain
from pointseg.errors import UsageError, missing_library
from pointseg.output.bare_points import plane_normals
from pointseg.output.canvas import compose_picture, measure_name
from pointseg.output.drawing import Drawing
from pointseg.output.object_names import ObjectName, place_names
from pointseg.output.offscreen import OffscreenError, draw_offscreen
from pointseg.output.painter import draw_with_matplotlib
from pointseg.output.panels import LegendEntry, Panel, make_legend, make_panels, rank_classes, with_distinct_colors
from pointseg.output.surface import Surface, make_surface
from pointseg.output.view import Frame, fit_frame, look_at, room_axes
from pointseg.output.visibility import seen_points
from pointseg.scans.scene import Scene
from pointseg.taxonomy import Taxonomy

ENGINES = ("auto", "open3d", "matplotlib")
DEFAULT_PANEL_WIDTH_PX = 640
_SEEN_COLUMNS = 320  # of the grid in which is looked what hides what
_FEWEST_SEEN = 2e-4  # of a panel, a square of its width: a patch of nine by nine pixels of 640


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
    plans = [_plan_picture(picture, panel_width_px) for picture in pictures]
    images = _draw([plan.drawing for plan in plans], engine)
    for picture, plan, image in zip(pictures, plans, images, strict=True):
        composed = compose_picture(picture.scene.name, plan.panels, list(image), plan.legend, plan.names)
        with atomic_file(picture.path) as temporary:
            composed.save(temporary, format="PNG")


@dataclass(frozen=True)
class _Plan:
    """What stands in a picture."""

    panels: list[Panel]
    drawing: Drawing
    legend: list[LegendEntry]
    names: list[list[ObjectName]]
    """Of objects, a list for each panel."""


def _plan_picture(picture: Picture, panel_width_px: int) -> _Plan:
    scene, taxonomy = picture.scene, picture.taxonomy
    surface, frame = lay_out_scene(scene, picture.faces)
    height_px = round(panel_width_px / frame.aspect)
    num_columns = min(panel_width_px, _SEEN_COLUMNS)
    point = seen_points(surface, frame, num_columns, max(1, round(num_columns / frame.aspect)))
    labels = [label[point[point >= 0]] for label in (scene.label, picture.prediction) if label is not None]
    ranked = rank_classes(labels, taxonomy.num_classes)
    taxonomy = with_distinct_colors(taxonomy, ranked)
    panels = make_panels(scene, picture.prediction, taxonomy)
    # Of a class that nobody would find in the picture, a legend is no help.
    legend = make_legend(labels, taxonomy, fewest=max(1, round(_FEWEST_SEEN * num_columns**2)))
    pixels_per_cell = panel_width_px / num_columns

    def name_objects(panel: Panel) -> list[ObjectName]:
        if panel.label is None:
            return []
        seen = np.where(point >= 0, panel.label[point], -1)
        return place_names(seen, taxonomy.class_names, pixels_per_cell, lambda text: measure_name(text, panel_width_px))

    drawing = Drawing(surface, frame, panel_width_px, height_px, np.stack([panel.colors for panel in panels]))
    return _Plan(panels, drawing, legend, [name_objects(panel) for panel in panels])


def lay_out_scene(scene: Scene, faces: np.ndarray | None) -> tuple[Surface, Frame]:
    """Choose a view of the scene; what is seen from it, and the part of the picture plane that holds it.

    Args:
        scene: positions, and normals where it has them.
        faces: (F, 3) int32, or None: points are drawn as discs.
    """
    view, normal = look_at(scene, faces)
    if normal is None:
        normal = plane_normals(scene.xyz, room_axes(scene.xyz), view.towards_viewer)
    surface = make_surface(scene.xyz, faces, normal, view)
    return surface, fit_frame(surface.projected[surface.triangles.ravel()])


def _draw(drawings: Sequence[Drawing], engine: str) -> list[np.ndarray]:
    if engine != "matplotlib":
        try:
            return draw_offscreen(drawings)
        except OffscreenError as error:
            if engine == "open3d":
                raise UsageError(str(error)) from None
            complain(f"{error}. Drawing with matplotlib instead")
    return [draw_with_matplotlib(drawing) for drawing in drawings]
