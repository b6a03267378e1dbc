"""What one sees at each pixel of a drawing: which corner of which triangle is nearest to the viewer."""

import numpy as np

from pointseg.output.surface import Surface
from pointseg.output.view import Frame

_TESTS_AT_ONCE = 2_000_000  # bounds the memory
_ON_THE_EDGE = -1e-9  # a pixel on the edge of two triangles is in both, so that there is no crack between them


def seen_points(surface: Surface, frame: Frame, width_px: int, height_px: int) -> np.ndarray:
    """(H, W) int64: the point of the scene that is seen at each pixel's centre; -1 where nothing is.

    Args:
        surface: what is drawn.
        frame: the part of the picture plane.
        width_px: W.
        height_px: H.
    """
    corner = seen_corners(surface.projected, surface.triangles, frame, width_px, height_px)
    return np.where(corner >= 0, surface.point_of_corner[corner], -1)


def seen_corners(
    projected: np.ndarray, triangles: np.ndarray, frame: Frame, width_px: int, height_px: int
) -> np.ndarray:
    """(H, W) int64: the row of ``projected`` nearest to each pixel's centre, of the triangle that hides all others.

    Args:
        projected: (V, 3) float, metres: right, up, towards the viewer.
        triangles: (T, 3) int, rows of ``projected``.
        frame: the part of the picture plane.
        width_px: W.
        height_px: H.
    """
    pixels_per_m = np.array([width_px, height_px]) / (frame.right - frame.left, frame.top - frame.bottom)
    # Columns and rows in which a pixel's centre is a whole number.
    position = (projected[:, :2] - (frame.left, frame.top)) * (1, -1) * pixels_per_m - 0.5
    corners = position[triangles]
    low = np.maximum(np.ceil(corners.min(axis=1)), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(axis=1)), (width_px - 1, height_px - 1)).astype(np.int64)
    box = high - low + 1
    kept = np.flatnonzero((box > 0).all(axis=1))
    nearest = np.full(height_px * width_px, -np.inf)
    seen = np.full(height_px * width_px, -1, dtype=np.int64)
    num_tests = np.cumsum(box[kept].prod(axis=1))
    for first in range(0, int(num_tests[-1]) if len(kept) else 0, _TESTS_AT_ONCE):
        part = kept[(num_tests > first) & (num_tests <= first + _TESTS_AT_ONCE)]
        triangle, column, row = _pixels_of_boxes(part, low, box)
        weights = _barycentric(corners[triangle], np.stack([column, row], axis=1))
        inside = (weights > _ON_THE_EDGE).all(axis=1)
        triangle, weights = triangle[inside], weights[inside]
        pixel = row[inside] * width_px + column[inside]
        depth = (weights * projected[triangles[triangle], 2]).sum(axis=1)
        order = np.lexsort((depth, pixel))
        winner = order[np.append(np.diff(pixel[order]) > 0, True)[: len(order)]]
        winner = winner[depth[winner] > nearest[pixel[winner]]]
        nearest[pixel[winner]] = depth[winner]
        seen[pixel[winner]] = triangles[triangle[winner], weights[winner].argmax(axis=1)]
    return seen.reshape(height_px, width_px)


def _pixels_of_boxes(triangle: np.ndarray, low: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, ...]:
    """(triangle, column, row) of every pixel in the box around each triangle."""
    count = box[triangle].prod(axis=1)
    repeated = np.repeat(triangle, count)
    index = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
    row, column = np.divmod(index, box[repeated, 0])
    return repeated, low[repeated, 0] + column, low[repeated, 1] + row


def _barycentric(corners: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(R, 3) weights of the corners (R, 3, 2) at the positions (R, 2); not a number where a triangle has no area."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        area = _cross(b - a, c - a)
        of_b, of_c = _cross(position - a, c - a) / area, _cross(b - a, position - a) / area
    return np.stack([1 - of_b - of_c, of_b, of_c], axis=1)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
