"""The panels in a window that one can turn and zoom, with Open3D."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pointseg.errors import UsageError, first_line, install_command
from pointseg.output.drawing import Drawing
from pointseg.output.offscreen import SYSTEM_PACKAGES

_GAP = 1.08  # from one panel to the next, in widths of a panel
_WINDOW_PX = (1600, 800)
_DISTANCE = 0.6  # of the viewer, in widths of all panels: they fill Open3D's field of view of 60 degrees


def has_screen() -> bool:
    """Whether a window can be opened: X11 or Wayland on Linux, always elsewhere."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show_window(name: str, titles: Sequence[str], drawing: Drawing) -> None:
    """Show the panels side by side until the window is closed. What faces away at first is left out, as in pictures.

    Args:
        name: of the scene, for the window's title.
        titles: of the panels.
        drawing: what to show.

    Raises:
        UsageError: Open3D is not installed or can't be loaded.
    """
    try:
        import open3d as o3d
    except (ImportError, OSError) as error:
        raise UsageError(
            f"a window needs Open3D, which can't be loaded ({first_line(error)}); use --save, or type: "
            f"{install_command('viz')} and apt-get install -y --no-install-recommends {SYSTEM_PACKAGES}"
        ) from None
    surface, frame = drawing.surface, drawing.frame
    step = _GAP * (frame.right - frame.left)
    material = o3d.visualization.rendering.MaterialRecord()
    material.shader = "defaultUnlit"
    geometries = []
    for i, (title, colors) in enumerate(zip(titles, drawing.colors, strict=True)):
        corners = surface.projected + np.array([i * step, 0.0, 0.0])
        mesh = o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(corners), o3d.utility.Vector3iVector(surface.triangles)
        )
        mesh.vertex_colors = o3d.utility.Vector3dVector(surface.corner_colors(colors) / 255.0)
        # As in offscreen.py: Open3D 0.20 takes missing texture coordinates from uninitialised memory.
        mesh.triangle_uvs = o3d.utility.Vector2dVector(np.zeros((3 * len(surface.triangles), 2)))
        geometries.append({"name": f"{i + 1}. {title}", "geometry": mesh, "material": material})
    middle = np.append(surface.projected[surface.triangles.ravel()].mean(axis=0)[:2], 0.0)
    middle[0] += step * (drawing.num_panels - 1) / 2
    distance = _DISTANCE * step * max(drawing.num_panels, 2)
    with _silent_terminal():
        o3d.visualization.draw(
            geometries,
            title=name,
            width=_WINDOW_PX[0],
            height=_WINDOW_PX[1],
            lookat=middle,
            eye=middle + np.array([0.0, 0.0, distance]),
            up=np.array([0.0, 1.0, 0.0]),
            bg_color=(1.0, 1.0, 1.0, 1.0),
            show_skybox=False,
            show_ui=True,
            raw_mode=True,  # colours as they are given, so that they are those of the classes
        )


@contextmanager
def _silent_terminal() -> Iterator[None]:
    """Nothing reaches the terminal: Open3D writes to it past ``sys.stdout`` and ``sys.stderr``."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
        for descriptor in (*kept, nowhere):
            os.close(descriptor)
