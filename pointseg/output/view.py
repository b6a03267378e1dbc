"""From where a room is looked at: from above, over a corner, in parallel projection.

A parallel projection fits exactly into a picture and is the same in every panel and for every way to draw.
"""

from dataclasses import dataclass

import numpy as np

from pointseg.scans.extent import extent_without_strays
from pointseg.scans.normals import vertex_normals
from pointseg.scans.scene import Scene

_ELEVATION = np.deg2rad(48.0)
# Off the diagonal, so that the two far walls don't look alike.
_AZIMUTH_FROM_WALL = np.deg2rad(33.0)
_MARGIN = 0.02
_FLOOR_PERCENTILE = 1.0
_MAX_POINTS = 20_000  # that the walls are found from


@dataclass(frozen=True)
class View:
    """A direction to look from, as axes of the picture in the space of the scene."""

    axes: np.ndarray
    """(3, 3) float64, unit rows: to the right and up in the picture, and towards the viewer."""

    @property
    def towards_viewer(self) -> np.ndarray:
        """(3,) unit vector."""
        return self.axes[2]

    def project(self, xyz: np.ndarray) -> np.ndarray:
        """(N, 3) float32, metres: right, up, and height towards the viewer."""
        return (xyz.astype(np.float64) @ self.axes.T).astype(np.float32)


@dataclass(frozen=True)
class Frame:
    """The part of the picture plane that is shown, in metres."""

    left: float
    right: float
    bottom: float
    top: float

    @property
    def aspect(self) -> float:
        """Width by height."""
        return (self.right - self.left) / (self.top - self.bottom)


def view_from_corner(azimuth: float, elevation: float = _ELEVATION) -> View:
    """The view from a direction, in radians: ``azimuth`` from x to y, ``elevation`` above the floor."""
    towards = np.array(
        [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)],
    )
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return View(axes=np.stack([right, np.cross(towards, right), towards]))


def choose_view(xyz: np.ndarray, normal: np.ndarray | None) -> View:
    """The view over one of the room's corners that shows most of what stands in the room.

    Args:
        xyz: (N, 3) float, metres, z up.
        normal: (N, 3) float, unit length; None: one corner is as good as another.
    """
    wall = wall_direction(xyz[:, :2])
    corners = [wall + side * _AZIMUTH_FROM_WALL + turn * np.pi / 2 for turn in range(4) for side in (1, -1)]
    views = [view_from_corner(azimuth) for azimuth in corners]
    if normal is None:
        return views[0]
    height = xyz[:, 2] - np.percentile(xyz[:, 2], _FLOOR_PERCENTILE)
    standing = normal[(height > 0.2) & (height < 1.6)]
    facing = [np.clip(standing @ view.towards_viewer, 0, None).sum() for view in views]
    return views[int(np.argmax(facing))]


def look_at(scene: Scene, faces: np.ndarray | None) -> tuple[View, np.ndarray | None]:
    """The view that a scene is looked at from at first, and its normals.

    Args:
        scene: positions, and normals where it has them.
        faces: (F, 3) int32, or None.

    Returns:
        the view, and (N, 3) float32 normals of the scene or its faces; None where it has neither.
    """
    normal = scene.normal
    if normal is None and faces is not None:
        normal = vertex_normals(scene.xyz, faces)
    return choose_view(scene.xyz, normal), normal


def fit_frame(projected: np.ndarray) -> Frame:
    """The frame that holds (N, 3) projected points but strays, for which all else would be small; with a margin."""
    low, high = (corner[:2].astype(float) for corner in extent_without_strays(projected))
    margin = max(_MARGIN * float((high - low).max()), 1e-3)
    low, high = low - margin, high + margin
    return Frame(left=low[0], right=high[0], bottom=low[1], top=high[1])


def room_axes(xyz: np.ndarray) -> np.ndarray:
    """(3, 3) unit rows: along the walls, and up, of points (N, 3), z up."""
    angle = wall_direction(xyz[:, :2])
    return np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def wall_direction(xy: np.ndarray) -> float:
    """Angle of the smallest rectangle around the floor plan, in radians: rooms are rarely parallel to the axes.

    Args:
        xy: (N, 2) float, metres.
    """
    xy = xy[:: max(1, len(xy) // _MAX_POINTS)].astype(np.float64)
    angles = np.deg2rad(np.arange(0, 90, 1.0))
    areas = []
    for angle in angles:
        along = xy @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # Percentiles, because a scan has strays behind windows and mirrors.
        low, high = np.percentile(along, (1, 99), axis=0)
        areas.append(np.prod(high - low))
    return float(angles[int(np.argmin(areas))])
