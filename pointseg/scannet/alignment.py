"""The ``axisAlignment`` of a raw scan: read from ``<scene>.txt``, applied, and looked at: can it be this scan's?

An aligned scan stands on z = 0, its walls along x and y. In 25 demo scenes a hundredth of the vertices lies below
-0.012..-0.006 m and the walls are off by 1.6 degrees at most. With the file of another scene 83 % of the pairs are seen
by the walls alone.
"""

from pathlib import Path

import numpy as np

from pointseg.errors import DataError, regular_file

_DOWNLOAD_AGAIN = "download it again"
# Some of these stand behind axisAlignment in every file of the release, so that a file without either was cut.
_KEYS_BEHIND = frozenset(
    ("colorHeight", "colorWidth", "depthHeight", "depthWidth", "numColorFrames", "numDepthFrames", "sceneType")
)
_MAX_POINTS = 20_000  # that are looked at
_LOWEST_SHARE = 0.01
_FLOOR_TOLERANCE_M = 0.5
_UPRIGHT = 0.2  # cosine between a normal and z at most, of walls
_MIN_WALL_POINTS = 500
_MIN_AGREEMENT = 0.5  # length of the mean of the walls' directions: 1 where all are parallel or at right angles
_WALL_TOLERANCE_DEG = 8.0


def read_axis_alignment(path: Path, required: bool) -> np.ndarray | None:
    """(4, 4) float64 of a scene's ``.txt``; None where the scan gives no alignment, as in the first release.

    Raises:
        DataError: the file is missing though ``required``, or is cut or no such file, or its matrix is no rotation and
            shift.
    """
    try:
        lines = regular_file(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        if not required:
            return None
        raise DataError(f"{path}: is missing; download it, or leave the scans unaligned by --no-align") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; {_DOWNLOAD_AGAIN}") from None
    values = {key.strip(): value for key, _, value in (line.partition("=") for line in lines)}
    if "axisAlignment" not in values:
        if values.keys().isdisjoint(_KEYS_BEHIND):
            raise DataError(
                f"{path}: is empty or cut, it has neither axisAlignment nor sceneType or colorHeight; "
                f"{_DOWNLOAD_AGAIN}, or leave the scans unaligned by --no-align"
            )
        return None
    words = values["axisAlignment"].split()
    try:
        matrix = np.array([float(word) for word in words]).reshape(4, 4)
    except ValueError:
        raise DataError(f"{path}: axisAlignment is not 16 numbers but {len(words)} words; {_DOWNLOAD_AGAIN}") from None
    rotation = matrix[:3, :3]
    is_rigid = np.isfinite(matrix).all() and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
    if not is_rigid or np.linalg.det(rotation) < 0 or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise DataError(f"{path}: axisAlignment is no rotation and shift; {_DOWNLOAD_AGAIN}")
    return matrix


def transform(xyz: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(N, 3) float32: ``R x + t`` in float64. einsum, because a matrix product wakes all threads for three columns."""
    return (np.einsum("nj,ij->ni", xyz.astype(np.float64), matrix[:3, :3]) + matrix[:3, 3]).astype(np.float32)


def doubt_alignment(xyz: np.ndarray, normal: np.ndarray) -> str | None:
    """What speaks against the matrix that a scan was turned by, in words; None: nothing.

    Args:
        xyz: (N, 3) float32, metres, aligned.
        normal: (N, 3) float32, unit or zero, aligned.
    """
    rows = np.arange(0, len(xyz), -(-len(xyz) // _MAX_POINTS))
    doubts = []
    floor_m = float(np.quantile(xyz[rows, 2], _LOWEST_SHARE))
    if abs(floor_m) > _FLOOR_TOLERANCE_M:
        doubts.append(f"its floor is at {floor_m:.2f} m and not at 0")
    x, y, z = normal[rows].astype(np.float64).T
    is_wall = (np.abs(z) < _UPRIGHT) & (x * x + y * y > _UPRIGHT)
    if is_wall.sum() >= _MIN_WALL_POINTS:
        # Four times the angle: the same for all four walls of a room.
        mean = np.exp(4j * np.arctan2(y[is_wall], x[is_wall])).mean()
        angle_deg = float(np.degrees(np.angle(mean))) / 4
        if abs(mean) > _MIN_AGREEMENT and abs(angle_deg) > _WALL_TOLERANCE_DEG:
            doubts.append(f"its walls stand {abs(angle_deg):.0f} degrees from x and y")
    return " and ".join(doubts) or None
