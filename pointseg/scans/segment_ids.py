"""The ids of over-segments, which are small numbers."""

import numpy as np


def unique_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``numpy.unique`` with the inverse, of integers (N,): by a table where they are small, by sorting where not.

    ScanNet's ids of segments are below N; sorting them was a third of the time that a scene takes.
    """
    if not len(ids) or ids.min() < 0 or ids.max() > 4 * len(ids):
        return np.unique(ids, return_inverse=True)
    occurs = np.zeros(int(ids.max()) + 1, dtype=bool)
    occurs[ids] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[ids]
