"""Normals of a point cloud without faces: planes through neighbours, turned to the side from which they were seen."""

import numpy as np

from pointseg.errors import UsageError, missing_library

NUM_NEIGHBOURS = 16
_CELL_M = 0.1
_MOST_CELLS, _MOST_CELLS_ALONG = 2**28, 4096  # a scan in a wrong unit is thousands of metres wide: larger cells then
_START = 2  # cells, of a ray, so that it leaves the surface that it begins on
_EYE_HEIGHT_M = 1.6
_EYE_PLACES = (0.2, 0.5, 0.8)  # shares of the scan's width and depth
_UNDECIDED = 0.1  # sum of cosines below which it is the middle of the room that decides


def estimate_normals(xyz: np.ndarray) -> np.ndarray:
    """Unit normals of a scanned room, from its points alone.

    The direction is that of the plane through each point's nearest neighbours (Open3D's ``estimate_normals``). The side
    is the one that is seen from inside the room (:func:`turn_to_viewpoints`).

    Args:
        xyz: (N, 3) float, metres, z up, finite.

    Returns:
        (N, 3) float32.

    Raises:
        UsageError: Open3D is not installed.
    """
    try:
        import open3d
    except ImportError:
        what = "estimating normals of a scan without faces"
        raise UsageError(missing_library(what, "Open3D", "viz")) from None
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.asarray(xyz, dtype=np.float64)))
    cloud.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(NUM_NEIGHBOURS))
    return turn_to_viewpoints(xyz, np.asarray(cloud.normals))


def turn_to_viewpoints(xyz: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Turn normals to where their surfaces are seen from: a scanner saw them from inside the room.

    Nine places at eye height stand for its way. Each that is in sight of a point has a vote, the cosine between the
    normal and the direction to the place; the middle of the room decides where they are at odds or see nothing. On the
    demo's rooms, with planes through 16 neighbours, 87.4 % of the normals get the right side; 85.3 % if all are turned
    to the middle of the room, and 80.3 % by Open3D's consistent tangent planes, which take 20 s for 100,000 points.

    Args:
        xyz: (N, 3) float, metres, z up, finite.
        normal: (N, 3) float, unit length, of either side.

    Returns:
        (N, 3) float32, the same normals or their opposites.
    """
    xyz = np.asarray(xyz, dtype=np.float64)
    low, high = np.quantile(xyz, (0.001, 0.999), axis=0)  # without strays
    cell_m = _choose_cell(high - low)
    grid, center, cell_of_point = _occupied_cells(xyz, low, high, cell_m)
    vote = np.zeros(len(xyz))
    for x in _EYE_PLACES:
        for y in _EYE_PLACES:
            eye = np.array([*(low + (high - low) * (x, y, 0))[:2], low[2] + _EYE_HEIGHT_M])
            vote += _is_in_sight(center, eye, grid, low, cell_m)[cell_of_point] * _cosine(eye - xyz, normal)
    middle = np.array([*(low + high)[:2] / 2, low[2] + _EYE_HEIGHT_M])
    vote = np.where(np.abs(vote) > _UNDECIDED, vote, _cosine(middle - xyz, normal))
    return np.where((vote < 0)[:, None], -normal, normal).astype(np.float32)


def _cosine(vector: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """(N,) cosines between (N, 3) vectors of any length and unit vectors."""
    return np.einsum("ij,ij->i", vector, unit) / np.sqrt(np.einsum("ij,ij->i", vector, vector)).clip(min=1e-9)


def _choose_cell(extent: np.ndarray) -> float:
    """Edge of the grid's cells, metres: so that memory holds it, and a ray ends."""
    return float(max(_CELL_M, extent.max() / _MOST_CELLS_ALONG, np.cbrt(extent.prod() / _MOST_CELLS)))


def _occupied_cells(
    xyz: np.ndarray, low: np.ndarray, high: np.ndarray, cell_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells of a grid from ``low`` to ``high``; points outside count in the cell at the edge that is nearest.

    Returns:
        the grid, bool, which cells hold a point; (C, 3) the mean of the points of each of these; (N,) the cell of each
        point.
    """
    size = np.floor((high - low) / cell_m).astype(np.int64) + 1
    cell = np.clip(np.floor((xyz - low) / cell_m), 0, size - 1).astype(np.int64)
    key = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    occupied, cell_of_point, num_points = np.unique(key, return_inverse=True, return_counts=True)
    grid = np.zeros(size, dtype=bool)
    grid.reshape(-1)[occupied] = True
    center = np.stack([np.bincount(cell_of_point, column) / num_points for column in np.clip(xyz, low, high).T], axis=1)
    return grid, center, cell_of_point


def _is_in_sight(start: np.ndarray, eye: np.ndarray, grid: np.ndarray, low: np.ndarray, cell_m: float) -> np.ndarray:
    """(C,) bool: whether no occupied cell lies between (C, 3) points and a place."""
    distance = np.linalg.norm(eye - start, axis=1)
    step = (eye - start) / distance.clip(min=1e-9)[:, None]
    in_sight = np.ones(len(start), dtype=bool)
    row = np.arange(len(start))
    for length in np.arange(_START * cell_m, float(distance.max(initial=0)), cell_m):
        row = row[length < distance[row] - cell_m]
        if not len(row):
            break
        cell = np.floor((start[row] + length * step[row] - low) / cell_m).astype(np.int64)
        inside = ((cell >= 0) & (cell < grid.shape)).all(axis=1)
        is_hit = np.zeros(len(row), dtype=bool)
        is_hit[inside] = grid[tuple(cell[inside].T)]
        in_sight[row[is_hit]] = False
        row = row[~is_hit]
    return in_sight
