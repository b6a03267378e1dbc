"""Drawing with matplotlib, what is farthest away first: for machines where Open3D can't draw. It needs no driver."""

import numpy as np

from pointseg.output.drawing import Drawing


def draw_with_matplotlib(drawing: Drawing) -> np.ndarray:
    """Draw every panel, the triangles that are farthest away first: (P, H, W, 3) uint8."""
    surface = drawing.surface
    corners = surface.projected[surface.triangles]
    order = np.argsort(corners[:, :, 2].mean(axis=1), kind="stable")
    polygons = corners[order][:, :, :2]
    triangles = surface.triangles[order]
    return np.stack([_draw_panel(drawing, polygons, surface.corner_colors(c)[triangles]) for c in drawing.colors])


def _draw_panel(drawing: Drawing, polygons: np.ndarray, corner_colors: np.ndarray) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    dots_per_inch = 100
    figure = Figure(figsize=(drawing.width_px / dots_per_inch, drawing.height_px / dots_per_inch), dpi=dots_per_inch)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(drawing.frame.left, drawing.frame.right)
    axes.set_ylim(drawing.frame.bottom, drawing.frame.top)
    colors = corner_colors.mean(axis=1) / 255.0
    # Edges of the same colour close the hairlines that anti-aliasing leaves between triangles.
    axes.add_collection(PolyCollection(list(polygons), facecolors=colors, edgecolors=colors, linewidths=0.4))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
