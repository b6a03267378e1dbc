"""How far apart points are, and normals to draw with for points that come without normals and faces."""

import numpy as np

_SMALLEST_CELL_M = 0.02
_POINTS_PER_CELL = 4
_CELL_IN_SPACINGS = 4.0  # of the cells that planes are fitted in: large enough that noise doesn't tilt them
_SHELL_M = 0.3  # how far from the outermost points walls and ceiling are looked for
_ALONG = 0.7  # cosine from which on a plane counts as parallel to a wall


def mean_spacing_m(xyz: np.ndarray) -> float:
    """Mean distance between neighbours on a surface, metres: the root of the area that a point takes.

    The area is that of the cells of a grid that hold a point, so no search for neighbours is needed. The cells
    have to hold a few points each, or the gaps between points count as holes.

    Args:
        xyz: (N, 3) float, metres.
    """
    size_m = _SMALLEST_CELL_M
    while True:
        num_cells = int(_cell_of_point(xyz, size_m).max()) + 1
        if num_cells == 1 or len(xyz) >= _POINTS_PER_CELL * num_cells:
            return float(size_m * np.sqrt(num_cells / len(xyz)))
        size_m *= 1.5


def _cell_of_point(xyz: np.ndarray, size_m: float) -> np.ndarray:
    """(N,) int64: the cell of a grid that each point is in, numbered among those that hold a point at all."""
    position = np.floor(xyz / size_m).astype(np.int64)
    position -= position.min(axis=0)
    size = position.max(axis=0) + 1
    key = (position[:, 0] * size[1] + position[:, 1]) * size[2] + position[:, 2]
    return np.unique(key, return_inverse=True)[1]


def plane_normals(xyz: np.ndarray, room_axes: np.ndarray, towards_viewer: np.ndarray) -> np.ndarray:
    """(N, 3) float32 unit normals: of the plane that fits the points of a grid's cell best.

    A plane has two sides. Walls and ceiling are turned to the inside of the room, so that those between room and
    viewer face away and can be left out; all else is turned to the viewer.

    Args:
        xyz: (N, 3) float, metres, z up.
        room_axes: (3, 3) unit rows: along the walls, and up.
        towards_viewer: (3,) unit vector.
    """
    cell_of_point = _cell_of_point(xyz, _CELL_IN_SPACINGS * mean_spacing_m(xyz))
    num_points = np.bincount(cell_of_point)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell_of_point, values) / num_points

    points = xyz.astype(np.float64)
    centers = np.stack([mean(points[:, axis]) for axis in range(3)], axis=1)
    offset = points - centers[cell_of_point]
    covariance = np.stack([mean(offset[:, i] * offset[:, j]) for i in range(3) for j in range(3)], axis=1)
    # The direction of the least variance; eigenvalues ascend.
    normal = np.linalg.eigh(covariance.reshape(-1, 3, 3))[1][:, :, 0]
    normal *= np.where(normal @ towards_viewer < 0, -1.0, 1.0)[:, None]
    along = centers @ room_axes.T
    faces_out = (_across_the_shell(along, points @ room_axes.T, normal @ room_axes.T) < 0).any(axis=1)
    normal[faces_out] *= -1.0
    return normal[cell_of_point].astype(np.float32)


def faces_inwards(xyz: np.ndarray, normal: np.ndarray, room_axes: np.ndarray) -> np.ndarray:
    """(N,) bool: points of walls, floor and ceiling whose normal is turned to the inside of the room.

    Args:
        xyz: (N, 3) float, metres, z up.
        normal: (N, 3) unit length.
        room_axes: (3, 3) unit rows: along the walls, and up.
    """
    along = xyz.astype(np.float64) @ room_axes.T
    across = _across_the_shell(along, along, normal @ room_axes.T)
    return np.any(across > 0, axis=1)


def _across_the_shell(along: np.ndarray, extent: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(M, 3) for each axis of the room: above 0 where a plane near the outermost points faces in, below where out.

    Args:
        along: (M, 3) positions along the room's axes, metres.
        extent: (N, 3) those of all points.
        across: (M, 3) normals along the room's axes.
    """
    low, high = np.percentile(extent, (1, 99), axis=0)
    inwards = (along < low + _SHELL_M).astype(int) - (along > high - _SHELL_M)
    facing: np.ndarray = np.where(np.abs(across) > _ALONG, across * inwards, 0.0)
    return facing
