"""One scan of a room as arrays."""

from dataclasses import dataclass

import numpy as np

from pointseg.errors import DataError
from pointseg.taxonomy import IGNORE

LARGEST_COORDINATE_M = 1e8
"""Further out than any map's grid, where float32 knows no metres any more: a larger coordinate is damage."""


@dataclass
class Scene:
    """One scan: N points with what is known of each. Parts that are not known are None, never zeros.

    Raises:
        DataError: a part has the wrong shape or dtype, there is no point, or a coordinate or normal is not finite,
            or a coordinate is beyond :data:`LARGEST_COORDINATE_M`.
    """

    name: str
    xyz: np.ndarray
    """(N, 3) float32, metres, z up."""
    rgb: np.ndarray | None = None
    """(N, 3) uint8."""
    normal: np.ndarray | None = None
    """(N, 3) float32, unit length."""
    label: np.ndarray | None = None
    """(N,) integer, contiguous class index, IGNORE = -1."""
    instance: np.ndarray | None = None
    """(N,) integer, object index, -1 = none."""

    def __post_init__(self) -> None:
        self._check_part("xyz", (*self.xyz.shape[:1], 3), np.float32)
        if self.num_points == 0:
            raise DataError(f"{self.name}: the scene has no points; scan it again or leave it out")
        self._check_part("rgb", (self.num_points, 3), np.uint8)
        self._check_part("normal", (self.num_points, 3), np.float32)
        self._check_part("label", (self.num_points,), np.integer)
        self._check_part("instance", (self.num_points,), np.integer)
        for what, array in (("coordinates", self.xyz), ("numbers of the normal", self.normal)):
            if array is not None and not np.isfinite(array).all():
                bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
                raise DataError(f"{self.name}: the {what} of point {bad} are not finite; mend or leave out the scene")
        reach_m = max(float(self.xyz.max()), -float(self.xyz.min()))
        if reach_m > LARGEST_COORDINATE_M:
            raise DataError(
                f"{self.name}: coordinates reach {reach_m:.6g} m, which no scan does; mend or leave out the scene"
            )
        if self.label is not None and self.label.min() < IGNORE:
            raise DataError(f"{self.name}: label {self.label.min()} is below {IGNORE}; prepare the scene again")

    def select(self, rows: np.ndarray | slice) -> "Scene":
        """The points of a mask, of integer rows, or of a slice, in that order."""
        parts = (self.rgb, self.normal, self.label, self.instance)
        rgb, normal, label, instance = (None if part is None else np.asarray(part)[rows] for part in parts)
        return Scene(self.name, np.asarray(self.xyz)[rows], rgb, normal, label, instance)

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.xyz)

    def _check_part(self, part: str, shape: tuple[int, ...], dtype: type) -> None:
        array = getattr(self, part)
        if array is None:
            return
        if array.shape != shape or not np.issubdtype(array.dtype, dtype):
            expected = "integer" if dtype is np.integer else np.dtype(dtype).name
            raise DataError(
                f"{self.name}: {part} is {array.dtype} {array.shape}, expected {expected} {shape}; "
                "prepare the scene again"
            )
