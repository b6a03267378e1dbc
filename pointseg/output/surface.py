"""A scan as triangles to draw: faces where it has them, small discs where it has points only."""

from dataclasses import dataclass

import numpy as np

from pointseg.output.bare_points import mean_spacing_m
from pointseg.output.view import View

_DISC_CORNERS = 6
_DISC_RADIUS = 1.05  # of the mean distance between points: discs overlap enough to look solid
_LIGHT = np.array([-0.30, 0.45, 0.84])  # in the axes of the view: over the viewer's left shoulder
_AMBIENT = 0.72


@dataclass(frozen=True)
class Surface:
    """Triangles seen from a view. A corner takes its colour from a point of the scene."""

    projected: np.ndarray
    """(V, 3) float32, metres: right, up, towards the viewer."""
    triangles: np.ndarray
    """(T, 3) int32, rows of ``projected``."""
    point_of_corner: np.ndarray
    """(V,) int64, points of the scene."""
    shade: np.ndarray
    """(V,) float32, 0..1: how light a corner is."""

    def corner_colors(self, colors: np.ndarray) -> np.ndarray:
        """(V, 3) uint8, shaded, from (N, 3) uint8 colours of the points."""
        return np.rint(colors[self.point_of_corner] * self.shade[:, None]).astype(np.uint8)


def make_surface(xyz: np.ndarray, faces: np.ndarray | None, normal: np.ndarray, view: View) -> Surface:
    """What is drawn of a scene. What faces away is left out: the ceiling, and the walls between viewer and room.

    Args:
        xyz: (N, 3) float32, metres, z up.
        faces: (F, 3) int32, or None: points are drawn as discs.
        normal: (N, 3) float32, unit length.
        view: where it is looked at from.
    """
    shade = soft_light(normal, view)
    towards_viewer = view.towards_viewer.astype(np.float32)
    if faces is None:
        return _discs(xyz, normal, np.flatnonzero(normal @ towards_viewer > 0), shade, view)
    a, b, c = (xyz[faces[:, corner]] for corner in range(3))
    triangles = faces[np.cross(b - a, c - a) @ towards_viewer > 0]
    return Surface(view.project(xyz), triangles, np.arange(len(xyz)), shade)


def soft_light(normal: np.ndarray, view: View, wrapped: bool = False) -> np.ndarray:
    """Light on (N, 3) normals from over the viewer's shoulder: Lambert's cosine over an even ambient light.

    Args:
        normal: unit length.
        view: where the viewer is.
        wrapped: the cosine is stretched from -1..1 to 0..1, so that what faces away from the light has relief, too.

    Returns:
        (N,) float32, 0.72..1.
    """
    light = (_LIGHT / np.linalg.norm(_LIGHT)) @ view.axes
    cosine = normal @ light.astype(np.float32)
    lit = (1 + cosine) / 2 if wrapped else np.clip(cosine, 0, 1)
    return (_AMBIENT + (1 - _AMBIENT) * lit).astype(np.float32)


def disc_corners(xyz: np.ndarray, normal: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A small polygon at each of the points, in the plane of its normal.

    Args:
        xyz: (N, 3) float, metres.
        normal: (N, 3) unit length.
        points: (P,) int, rows of both.

    Returns:
        corners (V, 3) float64, triangles (T, 3) int32, and the point of each corner (V,) int64.
    """
    radius = _DISC_RADIUS * mean_spacing_m(xyz)
    n = normal[points].astype(np.float64)
    # Any vector that is not along the normal gives the disc's plane.
    helper = np.where(np.abs(n[:, 2:]) < 0.9, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    u = np.cross(n, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(n, u)
    angle = 2 * np.pi * np.arange(_DISC_CORNERS) / _DISC_CORNERS
    offset = np.cos(angle)[:, None] * u[:, None] + np.sin(angle)[:, None] * v[:, None]
    corners = (xyz[points, None] + radius * offset).reshape(-1, 3)
    fan = np.array([(0, i, i + 1) for i in range(1, _DISC_CORNERS - 1)])
    triangles = (_DISC_CORNERS * np.arange(len(points))[:, None, None] + fan).reshape(-1, 3).astype(np.int32)
    return corners, triangles, np.repeat(points, _DISC_CORNERS)


def _discs(xyz: np.ndarray, normal: np.ndarray, points: np.ndarray, shade: np.ndarray, view: View) -> Surface:
    corners, triangles, point_of_corner = disc_corners(xyz, normal, points)
    return Surface(view.project(corners), triangles, point_of_corner, shade[point_of_corner])
