"""How far a scan reaches without its strays: single points, of reflections or flying pixels, far from all others."""

import numpy as np

CELL_M = 1.0
"""Edge of the coarse cells in which points count as together."""
_POINTS_PER_STRAY_GROUP = 1000
"""A group of cells is astray if it holds at most one point in so many of the scan."""
_POINTS_PER_STRAY = 100
"""If more than one point in so many would be astray, the scan is a scattered one, and none of them is."""
_SAMPLE = 2048
# Half of the 26 neighbours of a cell: the other half has these as theirs.
_NEIGHBOURS = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]


def extent_without_strays(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest coordinates of a scan, its strays (:func:`find_strays`) not counted.

    For a scan without strays these are exactly its smallest and its largest coordinates.

    Args:
        xyz: (N, 3) float, metres, finite, N > 0.

    Returns:
        low and high, (3,) each, of the dtype of ``xyz``.
    """
    columns = xyz.T
    outermost = np.array([column.argmin() for column in columns] + [column.argmax() for column in columns])
    # Of most scans a few points show that the outermost ones are of one piece, and more points can't part it again.
    # That is many times faster than to look at each point.
    sample = np.concatenate([outermost, np.arange(0, len(xyz), max(1, len(xyz) // _SAMPLE))])
    group = _group_points(xyz[sample])
    if (group[:6] == np.bincount(group).argmax()).all():
        rows = xyz[outermost]
        return np.diagonal(rows[:3]).copy(), np.diagonal(rows[3:]).copy()
    kept = xyz[~find_strays(xyz)]
    return kept.min(axis=0), kept.max(axis=0)


def find_strays(xyz: np.ndarray) -> np.ndarray:
    """Which points are astray: few, and far from all others.

    Points lie in cells of a metre, and cells that touch, at a corner at least, form a group. A group of at most
    0.1 % of the points (or of one point) is astray, unless more than 1 % of the points would be.

    Args:
        xyz: (N, 3) float, metres, finite, N > 0.

    Returns:
        (N,) bool.
    """
    group = _group_points(xyz)
    num_points = np.bincount(group)
    is_stray = num_points <= max(1, len(xyz) // _POINTS_PER_STRAY_GROUP)
    if num_points[is_stray].sum() * _POINTS_PER_STRAY > len(xyz):
        is_stray[:] = False
    return is_stray[group]


def _group_points(xyz: np.ndarray) -> np.ndarray:
    """(N,) int64: the group of touching cells that each point is in; the numbers mean nothing else."""
    columns, sizes = [], []
    for axis in range(3):
        # Empty slices of cells become one, so that a point at the other end of the world makes no large numbers.
        position, rank = np.unique(np.floor(xyz[:, axis] / CELL_M), return_inverse=True)
        place = np.concatenate([[1], np.minimum(np.diff(position), 2)]).cumsum().astype(np.int64)
        columns.append(place[rank])
        sizes.append(int(place[-1]) + 2)  # with an empty slice at either end
    key = (columns[0] * sizes[1] + columns[1]) * sizes[2] + columns[2]
    occupied, cell_of_point = np.unique(key, return_inverse=True)
    return _join_cells(occupied, sizes)[cell_of_point]


def _join_cells(occupied: np.ndarray, sizes: list[int]) -> np.ndarray:
    """(C,) int64: for each of C cells, by their sorted keys, the first cell of its group."""
    pairs = []
    for x, y, z in _NEIGHBOURS:
        wanted = occupied + (x * sizes[1] + y) * sizes[2] + z
        found = np.searchsorted(occupied, wanted).clip(max=len(occupied) - 1)
        is_there = np.flatnonzero(occupied[found] == wanted)
        pairs.append(np.stack([is_there, found[is_there]]))
    a, b = np.concatenate(pairs, axis=1)
    first = np.arange(len(occupied))
    while True:
        # Each group hooks onto the smallest number among its neighbours; then numbers are followed to their end.
        smaller = first.copy()
        np.minimum.at(smaller, first[a], first[b])
        np.minimum.at(smaller, first[b], first[a])
        while (smaller[smaller] != smaller).any():
            smaller = smaller[smaller]
        following = smaller[first]
        if (following == first).all():
            return first
        first = following
