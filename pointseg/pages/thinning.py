"""Fewer points of a scene, spread evenly, so that a page stays small."""

import numpy as np

from pointseg.output.bare_points import mean_spacing_m

_STEP = 1.15  # from one size of the cells to the next


def thin_points(xyz: np.ndarray, max_points: int) -> tuple[np.ndarray, float | None]:
    """One point in each cell of a grid that is just coarse enough.

    Args:
        xyz: (N, 3) float, metres, finite.
        max_points: how many may stay.

    Returns:
        (M,) int64 rows that stay, in ascending order; and the size of a cell in metres, None where all stay.
    """
    if len(xyz) <= max_points:
        return np.arange(len(xyz)), None
    low = xyz.min(axis=0).astype(np.float64)
    size_m = mean_spacing_m(xyz)
    while True:
        cells = np.floor((xyz - low) / size_m).astype(np.int64)
        rows = np.unique(cells, axis=0, return_index=True)[1]
        if len(rows) <= max_points:
            return np.sort(rows), size_m
        size_m *= max(_STEP, np.sqrt(len(rows) / max_points))
