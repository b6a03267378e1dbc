"""What is seen at a pixel is what is nearest to the viewer there."""

import numpy as np
import pytest

from pointseg.output.painter import draw_with_matplotlib
from pointseg.output.panels import Panel
from pointseg.output.view import Frame
from pointseg.output.visibility import seen_corners, seen_points
from tests.output.drawings import plan_drawing


def _nearest_corner(projected: np.ndarray, triangles: np.ndarray, x: float, y: float) -> int:
    """One triangle after another, by solving for the weights of its corners."""
    best, seen = -np.inf, -1
    for triangle in triangles:
        corners = projected[triangle]
        system = np.vstack([corners[:, :2].T, np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-12:
            continue
        weights = np.linalg.solve(system, (x, y, 1))
        depth = weights @ corners[:, 2]
        if weights.min() >= 0 and depth > best:
            best, seen = depth, triangle[weights.argmax()]
    return seen


@pytest.mark.parametrize("size", [0.05, 0.6, 5.0])
def test_each_pixel_has_the_nearest_corner_of_the_triangle_that_hides_all_others(size: float) -> None:
    """Against a loop, with triangles below a pixel, and larger than the picture; some of no area."""
    rng = np.random.default_rng(0)
    middles = rng.uniform(-0.2, 1.2, (60, 1, 3))
    projected = (middles + rng.uniform(-size, size, (60, 3, 3))).reshape(-1, 3)
    triangles = np.arange(180).reshape(60, 3)
    triangles[7] = triangles[7, 0]
    width, height = 13, 9
    seen = seen_corners(projected, triangles, Frame(0.0, 1.0, 0.1, 0.9), width, height)
    assert seen.shape == (height, width)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5) / width, 0.9 - 0.8 * (row + 0.5) / height
            assert seen[row, column] == _nearest_corner(projected, triangles, x, y)


def test_nothing_is_seen_where_nothing_is() -> None:
    projected = np.array([[5.0, 5, 0], [6, 5, 0], [5, 6, 0]])
    for triangles in (np.array([[0, 1, 2]]), np.empty((0, 3), int)):
        assert (seen_corners(projected, triangles, Frame(0, 1, 0, 1), 4, 3) == -1).all()


@pytest.mark.parametrize("with_faces", [True, False])
def test_what_is_seen_is_what_is_drawn(room, with_faces: bool) -> None:
    """The top of the box in black: dark in the drawing where its points are seen, and nowhere else."""
    colors = np.where((room.part == "top")[:, None], 0, 255).repeat(3, 1).astype(np.uint8)
    drawing = plan_drawing(room.scene, room.faces if with_faces else None, [Panel("top", colors)], 200)
    point = seen_points(drawing.surface, drawing.frame, drawing.width_px, drawing.height_px)
    seen = (point >= 0) & (room.part[point] == "top")
    dark = draw_with_matplotlib(drawing)[0].max(axis=2) < 128
    assert seen.sum() > 500
    assert (seen != dark).mean() < 0.01
