"""From the coordinates of a file to those of a scene: metres, z up, near the origin."""

from dataclasses import dataclass

import numpy as np

from pointseg.errors import UsageError
from pointseg.formats.scan_file import finite_rows

METRES_OF_UNIT = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254}
"""Units of length that a file may be in -> metres."""
FAR_M = 1000.0
"""Coordinates below stay where they are: float32 keeps them to 0.06 mm or better."""
FARTHEST_M = 5000.0
"""Points farther from the origin are strays, whose place says nothing: they are put there, or no grid holds them."""
# Rows are the scene's axes, in those of the file. Each is a rotation, never a reflection: left stays left.
_AXES_OF_UP = {
    "x": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}
UP_AXES = tuple(_AXES_OF_UP)
"""Axes of a file that may point up."""


@dataclass(frozen=True)
class SceneFrame:
    """Where the scene lies in the coordinates of its file: ``scene = rotation @ (file * metres - offset_m)``."""

    metres: float
    """Length of the file's unit."""
    rotation: np.ndarray
    """(3, 3) float64: rows are the scene's axes in those of the file."""
    offset_m: np.ndarray
    """(3,) float64: the file's coordinates, in metres, of the scene's origin."""

    def to_scene(self, xyz: np.ndarray) -> np.ndarray:
        """(N, 3) float32 coordinates of the scene, none above ``FARTHEST_M``.

        All is computed in float64 until the offset is taken off.
        """
        near = np.asarray(xyz, dtype=np.float64) * self.metres - self.offset_m
        return self.turn(near.clip(-FARTHEST_M, FARTHEST_M, out=near))

    def turn(self, vectors: np.ndarray) -> np.ndarray:
        """(N, 3) float32: directions, as normals, of the file in the scene."""
        # Columns in another order and with other signs: exact, and faster than a matrix product.
        axis = np.abs(self.rotation).argmax(axis=1)
        sign = self.rotation.sum(axis=1)
        return np.ascontiguousarray(np.asarray(vectors)[:, axis] * sign, dtype=np.float32)


def find_frame(xyz: np.ndarray, unit: str = "m", up: str = "z") -> SceneFrame:
    """The frame of a scan, given what the coordinates of its file mean.

    The origin stays where it is if the scan lies within a kilometre of it. Else it becomes the median of the points,
    in whole metres: coordinates of a map grid (UTM: 689,000, 5,335,000) keep no more than decimetres in float32. The
    median, because one point at (0, 0, 0), which some programs write for a pixel without depth, must not decide.

    Args:
        xyz: (N, 3) float, best float64, finite: the file's coordinates.
        unit: of length: ``m``, ``cm``, ``mm`` or ``in``.
        up: the file's axis that points up: one of ``UP_AXES``.

    Raises:
        UsageError: there is no such unit or axis.
    """
    if unit not in METRES_OF_UNIT:
        raise UsageError(f"unit {unit!r} is not known; choose one of {', '.join(METRES_OF_UNIT)}")
    if up not in _AXES_OF_UP:
        raise UsageError(f"up axis {up!r} is not known; choose one of {', '.join(UP_AXES)}")
    metres = METRES_OF_UNIT[unit]
    offset_m = np.zeros(3)
    xyz = np.asarray(xyz, dtype=np.float64)
    if len(xyz) and max(-xyz.min(), xyz.max()) * metres > FAR_M:
        offset_m = np.round(np.median(xyz, axis=0) * metres)
    return SceneFrame(metres, np.array(_AXES_OF_UP[up], dtype=np.float64), offset_m)


def near_origin(xyz: np.ndarray) -> np.ndarray:
    """Coordinates in metres, z up, as float32 near the origin (:func:`find_frame`); of any shape and kind.

    What is no (N, 3) array, or has a number that is no place (which becomes NaN), is only cast: whoever makes a scene
    of it refuses it.
    """
    xyz = np.asarray(xyz)
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        return xyz.astype(np.float32)
    if not (is_place := finite_rows(xyz)).all():
        return np.where(is_place[:, None], xyz, np.nan).astype(np.float32)
    return find_frame(xyz).to_scene(xyz)
