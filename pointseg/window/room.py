"""What is shown of a room from any side: all of its surface but what faces away, so that one looks into it."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from pointseg.output.bare_points import faces_inwards, plane_normals
from pointseg.output.surface import disc_corners, soft_light
from pointseg.output.view import Frame, View, fit_frame, look_at, room_axes
from pointseg.output.visibility import seen_corners
from pointseg.scans.scene import Scene
from pointseg.window.turntable import Turntable

# From behind, walls, floor and ceiling are left out at once and whole, as soon as one is behind their plane. What is
# slanted or round belongs to furniture, behind whose front its back is hidden anyway: it goes later, lest holes appear.
_SLANTED_FROM_BEHIND = -0.35


@dataclass(frozen=True)
class Side:
    """Triangles that face about one way."""

    triangles: np.ndarray
    """(T, 3) int32, rows of the room's corners."""
    direction: np.ndarray | None
    """(3,) unit vector; None: they are seen from both sides."""
    hidden_from: float
    """Up to which cosine between direction and viewer it is left out."""

    def is_seen(self, towards_viewer: np.ndarray) -> bool:
        """Whether it is shown to a viewer in this direction."""
        return self.direction is None or float(self.direction @ towards_viewer) > self.hidden_from


@dataclass(frozen=True)
class Room:
    """A scene as triangles, sorted by the way they face."""

    corners: np.ndarray
    """(V, 3) float32, metres."""
    point_of_corner: np.ndarray
    """(V,) int64, points of the scene."""
    shade: np.ndarray
    """(V,) float32, 0..1: how light a corner is."""
    sides: tuple[Side, ...]

    def pick(self, camera: Turntable, x_px: float, y_px: float, width_px: int, height_px: int) -> int | None:
        """The corner that is seen at a pixel; None: nothing is there."""
        frame = camera.frame(width_px, height_px)
        step = (frame.right - frame.left) / width_px
        left, top = frame.left + (x_px - 0.5) * step, frame.top - (y_px - 0.5) * step
        spot = Frame(left, left + step, top - step, top)
        sides = [side.triangles for side in self.sides if side.is_seen(camera.view.towards_viewer)]
        if not sides:
            return None
        corner = int(seen_corners(camera.view.project(self.corners), np.concatenate(sides), spot, 1, 1)[0, 0])
        return corner if corner >= 0 else None


def lay_out_room(scene: Scene, faces: np.ndarray | None) -> tuple[Room, Turntable]:
    """The room, and the camera that one looks from at first: as in a picture.

    Args:
        scene: positions, and normals where it has them.
        faces: (F, 3) int32, or None: points are drawn as discs.
    """
    view, normal = look_at(scene, faces)
    axes = room_axes(scene.xyz)
    if faces is not None:
        assert normal is not None, "faces have normals"
        triangles, corners, point_of_corner = faces, scene.xyz, np.arange(scene.num_points)
        facing = _triangle_normals(corners, triangles)
        one_sided = np.ones(len(triangles), dtype=bool)
    else:
        is_guess = normal is None
        if normal is None:
            normal = plane_normals(scene.xyz, axes, view.towards_viewer)
        corners, triangles, point_of_corner = disc_corners(scene.xyz, normal, np.arange(scene.num_points))
        point_of_triangle = point_of_corner[triangles[:, 0]]
        facing = normal[point_of_triangle]
        # Which side of a plane is the outer one is a guess, but for walls, floor and ceiling.
        known = faces_inwards(scene.xyz, normal, axes) if is_guess else np.ones(scene.num_points, dtype=bool)
        one_sided = known[point_of_triangle]
    shade = soft_light(normal, view, wrapped=True)[point_of_corner]
    room = Room(corners.astype(np.float32), point_of_corner, shade, _sort_by_side(triangles, facing, one_sided, axes))
    return room, Turntable.from_view(view, _frame_of(room, view), scene.xyz)


def _sort_by_side(
    triangles: np.ndarray, facing: np.ndarray, one_sided: np.ndarray, axes: np.ndarray
) -> tuple[Side, ...]:
    """Triangles by the nearest of 26 directions: along the axes of the room, and between them."""
    steps = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)], dtype=np.float64)
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True) @ axes
    nearest = (facing @ directions.T).argmax(axis=1)
    sides = []
    for index, (step, direction) in enumerate(zip(steps, directions, strict=True)):
        members = triangles[one_sided & (nearest == index)]
        if len(members):
            sides.append(Side(members, direction, 0.0 if np.abs(step).sum() == 1 else _SLANTED_FROM_BEHIND))
    if not one_sided.all():
        sides.append(Side(triangles[~one_sided], None, -1.0))
    return tuple(sides)


def _triangle_normals(xyz: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) float64, as long as twice the area; their direction is all that counts here."""
    a, b, c = (xyz[faces[:, corner]].astype(np.float64) for corner in range(3))
    normals: np.ndarray = np.cross(b - a, c - a)
    return normals


def _frame_of(room: Room, view: View) -> Frame:
    """What holds all that is shown from there."""
    shown = [side.triangles.ravel() for side in room.sides if side.is_seen(view.towards_viewer)]
    corners = room.corners[np.unique(np.concatenate(shown))] if shown else room.corners
    return fit_frame(view.project(corners))
