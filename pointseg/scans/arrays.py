"""Arrays that are in memory already as a scene."""

import numpy as np

from pointseg.errors import DataError
from pointseg.scans.frame import finite_rows, near_origin
from pointseg.scans.scene import Scene
from pointseg.scans.scene_segments import number_segments

_KINDS = {"xyz": ("biuf", "numbers"), "rgb": ("", "uint8 0..255"), "normal": ("biuf", "numbers")}


def scene_of_arrays(xyz: np.ndarray, rgb: np.ndarray | None = None, normal: np.ndarray | None = None) -> Scene:
    """A scene of N points that a caller has in metres with z up.

    Args:
        xyz: (N, 3) numbers; those of a map grid in float64.
        rgb: (N, 3) uint8.
        normal: (N, 3) numbers, unit vectors.

    Raises:
        DataError: an array has the wrong shape or dtype, a number is not finite, or a place is out of this world.
    """
    arrays = {"xyz": np.asarray(xyz)}
    arrays |= {name: np.asarray(part) for name, part in (("rgb", rgb), ("normal", normal)) if part is not None}
    num_points = len(arrays["xyz"]) if arrays["xyz"].ndim else 0
    for name, array in arrays.items():
        kinds, wanted = _KINDS[name]
        fits = array.dtype.kind in kinds if kinds else array.dtype == np.uint8
        if not fits or array.ndim != 2 or array.shape != (num_points, 3):
            size = "N" if name == "xyz" else num_points
            raise DataError(f"{name} is {array.dtype} {array.shape}, expected {wanted} ({size}, 3); convert the array")
    is_far = np.isfinite(arrays["xyz"]).all(axis=1) & ~finite_rows(arrays["xyz"])
    if is_far.any():
        reach_m = np.abs(arrays["xyz"][is_far]).max()
        raise DataError(f"points: coordinates reach {reach_m:.6g} m, which no scan does; check the unit of xyz")
    with np.errstate(over="ignore"):  # what is too large for float32 is refused as not finite
        normal = None if normal is None else arrays["normal"].astype(np.float32)
        return Scene("points", near_origin(arrays["xyz"]), arrays.get("rgb"), normal)


def segments_of_array(segments: np.ndarray, num_points: int) -> np.ndarray:
    """(N,) int64, 0 to the number of segments - 1, of segments that a caller has by numbers of any size.

    Raises:
        DataError: they are no integers, or not one for each point.
    """
    array = np.asarray(segments)
    if array.dtype.kind not in "iu" or array.shape != (num_points,):
        raise DataError(
            f"segments is {array.dtype} {array.shape}, expected integers ({num_points},); convert the array"
        )
    return number_segments(array)
