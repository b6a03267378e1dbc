"""A triangle mesh near the origin, as the network and the pictures take it."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Mesh:
    """A triangle mesh, or a point cloud where ``faces`` is None. What the file does not hold is None.

    Raises:
        ValueError: a part has the wrong shape or dtype.
    """

    xyz: np.ndarray
    """(N, 3) float32, metres."""
    faces: np.ndarray | None = None
    """(F, 3) int32, vertex indices."""
    rgb: np.ndarray | None = None
    """(N, 3) uint8."""
    normal: np.ndarray | None = None
    """(N, 3) float32, unit length."""

    def __post_init__(self) -> None:
        num_vertices = len(self.xyz)
        parts: list[tuple[str, int | None, type]] = [
            ("xyz", num_vertices, np.float32),
            ("faces", None, np.int32),
            ("rgb", num_vertices, np.uint8),
            ("normal", num_vertices, np.float32),
        ]
        for name, rows, dtype in parts:
            array = getattr(self, name)
            if array is None:
                continue
            if array.ndim != 2 or array.shape[1] != 3 or array.dtype != dtype or rows not in (None, len(array)):
                expected = f"({'F' if rows is None else rows}, 3) {np.dtype(dtype)}"
                raise ValueError(f"{name} is {array.shape} {array.dtype}, expected {expected}")

    @property
    def num_vertices(self) -> int:
        """N."""
        return len(self.xyz)
