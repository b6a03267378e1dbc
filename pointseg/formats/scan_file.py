"""What a scan file holds, whatever its format: :class:`ScanFile`, and the rules that all readers share."""

import os
import stat
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, describe_os_error
from pointseg.formats.mesh import Mesh

# float32 keeps a millimetre up to here; a larger coordinate is not in metres or far from the origin.
_MAX_COORDINATE_M = 2.0**14
# In any unit: a map grid in millimetres reaches 1e10.
_LARGEST_COORDINATE = 1e12
_UP = (0.0, 0.0, 1.0)
# Fractions below it are colours of 0..1, of which a renderer may have made some larger: none of 0..255 is so dark.
_LARGEST_UNIT_COLOR = 2
# What float16 makes of colours of 0..1 is not worth a word.
_JUST_ABOVE_ONE = 1.001
# Of the points, whose colours don't decide what the range is.
_FEW_SHARE = 0.01
_NEARLY_BLACK = 15
_LABEL_WORDS = ("label", "class", "segment", "instance", "object", "category", "semantic", "scalar_")


@dataclass(frozen=True, eq=False)
class ScanFile:
    """The points of a file in their order and number there, and what is known of each; None where it says nothing.

    Raises:
        DataError: there is no point, or a face names a vertex that is not there.
        ValueError: a part has the wrong shape or dtype.
    """

    path: Path
    xyz: np.ndarray
    """(N, 3) float64, or float32 where the file has no more digits; in the unit, axes and origin of the file."""
    faces: np.ndarray | None = None
    """(F, 3) int32, vertex indices."""
    rgb: np.ndarray | None = None
    """(N, 3) uint8."""
    normal: np.ndarray | None = None
    """(N, 3) float32, unit length."""
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    """Name in the file -> (N,) integers: labels, classes, objects, whatever whole numbers each point has."""
    not_whole: dict[str, float] = field(default_factory=dict)
    """Name in the file -> a value that is no whole number, of the columns that are not in ``fields`` for it."""
    fields_with_unclassified_zero: frozenset[str] = frozenset()
    """Those of ``fields`` in which 0 means "never classified" by the format's standard."""
    up_axis_hint: str | None = None
    """``"y"`` where the format's standard says so; None where the format leaves it open."""
    num_dropped_faces: int = 0
    """Faces of the file with fewer than three corners, which are not in ``faces``."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of this reading, a line each, without the path."""

    def __post_init__(self) -> None:
        _refuse_no_points(self.path, self.xyz)
        if self.faces is not None:
            object.__setattr__(self, "faces", _checked_faces(self.path, self.faces, len(self.xyz)))
        if self.xyz.dtype not in (np.float32, np.float64) or self.xyz.shape[1:] != (3,):
            raise ValueError(f"xyz is {self.xyz.shape} {self.xyz.dtype}, expected (N, 3) float32 or float64")
        for name, dtype in (("rgb", np.uint8), ("normal", np.float32)):
            array = getattr(self, name)
            if array is not None and (array.shape != self.xyz.shape or array.dtype != dtype):
                raise ValueError(f"{name} is {array.shape} {array.dtype}, expected {self.xyz.shape} {np.dtype(dtype)}")
        for name, array in self.fields.items():
            if array.shape != self.xyz.shape[:1] or not np.issubdtype(array.dtype, np.integer):
                raise ValueError(f"{name} is {array.shape} {array.dtype}, expected ({len(self.xyz)},) integers")

    @property
    def num_points(self) -> int:
        """N."""
        return len(self.xyz)

    @cached_property
    def is_finite(self) -> np.ndarray:
        """(N,) bool: whether the point has a place. An organised cloud has NaN where the sensor saw nothing."""
        return finite_rows(self.xyz)

    def select(self, is_kept: np.ndarray) -> "ScanFile":
        """Some of the points with all that is known of them, and the faces of which all corners are kept.

        Args:
            is_kept: (N,) bool.

        Returns:
            this scan itself where all are.

        Raises:
            DataError: none is.
        """
        if is_kept.all():
            return self
        rgb, normal = (None if part is None else part[is_kept] for part in (self.rgb, self.normal))
        return replace(
            self,
            xyz=self.xyz[is_kept],
            faces=_keep_faces(self.faces, is_kept),
            rgb=rgb,
            normal=normal,
            fields={name: values[is_kept] for name, values in self.fields.items()},
            notes=list(self.notes),
        )

    def to_mesh(self) -> Mesh:
        """The scan in float32, for what takes metres near the origin.

        Raises:
            DataError: a coordinate is not finite, or too large for float32 to keep a millimetre.
        """
        if not self.is_finite.all():
            bad = int(np.flatnonzero(~self.is_finite)[0])
            raise DataError(f"{self.path}: the coordinates of vertex {bad} are not finite; mend or leave out the mesh")
        reach = float(np.abs(self.xyz).max())
        if reach >= _MAX_COORDINATE_M:
            raise DataError(
                f"{self.path}: coordinates reach {reach:.6g}; scale to metres and shift the mesh to the origin"
            )
        return Mesh(self.xyz.astype(np.float32, copy=False), self.faces, self.rgb, self.normal)


def scan_of_values(
    path: Path,
    xyz: np.ndarray,
    faces: np.ndarray | None = None,
    *,
    rgb: np.ndarray | None,
    normal: np.ndarray | None,
    notes: list[str],
    fields: dict[str, np.ndarray] | None = None,
    not_whole: dict[str, float] | None = None,
    fields_with_unclassified_zero: frozenset[str] = frozenset(),
    num_dropped_faces: int = 0,
) -> ScanFile:
    """A scan with colours and normals as its file has them: see :func:`rgb_from_values` and :func:`unit_normals`.

    Raises:
        DataError: there is no point, colours are out of range, or a face names a vertex that is not there.
    """
    _refuse_no_points(path, xyz)
    return ScanFile(
        path,
        xyz,
        faces,
        None if rgb is None else rgb_from_values(path, rgb, notes),
        None if normal is None else unit_normals(normal, finite_rows(xyz), notes),
        fields=fields or {},
        not_whole=not_whole or {},
        fields_with_unclassified_zero=fields_with_unclassified_zero,
        num_dropped_faces=num_dropped_faces,
        notes=notes,
    )


def check_is_readable_file(path: str | os.PathLike[str]) -> None:
    """Refuse what no reader can read, before one is stuck in it: a pipe blocks whoever opens it.

    Raises:
        DataError: there is no such file, or it is a folder, a pipe or a device, or empty.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check the path") from None
    except OSError as error:
        raise DataError(describe_os_error(error, "check the path")) from None
    except ValueError:  # a NUL in the name
        raise DataError(f"{str(path)!r}: is no name of a file; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: is a folder; give the file of a scan")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is a pipe or a device; give the file of a scan")
    if status.st_size == 0:
        raise DataError(f"{path}: is empty; fetch or export it again")


def finite_rows(values: np.ndarray) -> np.ndarray:
    """(N,) bool: which rows of (N, K) coordinates are a place.

    NaN and infinity are none, nor is a number so large that it can only be damage: one would make the grid of voxels
    larger than any integer. The whole is asked first: that is fast.
    """
    finite = np.abs(values) <= _LARGEST_COORDINATE
    return np.ones(len(values), dtype=bool) if finite.all() else finite.all(axis=1)


def rgb_from_values(path: Path, values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Colours of any usual range as bytes.

    Args:
        path: of the file, for the message.
        values: (N, 3) of any number type: floats 0..1 or 0..255, integers 0..255 or 0..65535. The largest value
            decides: up to 1 of floats, or 2 where some are fractions, and up to 255 of integers, but for a few.
        notes: gets a line where a colour is not finite and becomes black, or is above 1 or 255 and becomes that.

    Returns:
        (N, 3) uint8.

    Raises:
        DataError: a value is negative or above the range.
    """
    if values.dtype == np.uint8:
        return values
    is_float = np.issubdtype(values.dtype, np.floating)
    if is_float and not (finite := np.isfinite(values)).all():
        notes.append(f"{int((~finite.all(axis=1)).sum()):,} colours are not finite and count as black")
        values = np.where(finite, values, 0)
    low, high = values.min(), values.max()
    if low < 0 or high > (255 if is_float else 65535):
        raise DataError(
            f"{path}: colours are {values.dtype} in {low:.6g}..{high:.6g}; write them as integers 0..255 or floats 0..1"
        )
    is_nearly_unit = is_float and (high < _LARGEST_UNIT_COLOR or _are_few(values > 1))
    if is_float and (high <= 1 or (is_nearly_unit and not are_whole(values).all())):
        if num_high := int((values > _JUST_ABOVE_ONE).any(axis=1).sum()):
            notes.append(f"{num_high:,} colours are above 1, as far as {high:.4g}, and count as 1")
        return bytes_from_unit(values)
    if is_float or high <= 255:
        return np.rint(values).astype(np.uint8)
    if _are_few(values > 255):
        notes.append(
            f"{int((values > 255).any(axis=1).sum()):,} colours are above 255, as far as {high}, and count as 255"
        )
        return values.clip(0, 255).astype(np.uint8)
    rgb = (values >> 8).astype(np.uint8)
    if _are_few(rgb > _NEARLY_BLACK):
        notes.append(f"colours reach {high}, so they count as 16 bits; nearly all are black then")
    return rgb


def _are_few(is_so: np.ndarray) -> bool:
    """Of (N, 3) bool: whether hardly a row has one that is true."""
    return bool(is_so.any(axis=1).mean() < _FEW_SHARE)


def bytes_from_unit(values: np.ndarray) -> np.ndarray:
    """Colours 0..1 as bytes, uint8 of the same shape. What lies beyond 0..1 counts as its end; there must be no NaN."""
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)


def unit_normals(values: np.ndarray, is_finite: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """Normals of unit length; None where the file's are a placeholder.

    A normal that is zero or not finite becomes (0, 0, 1), with a line in ``notes``. Where more than half of the
    points that have a place have no such normal, all count as not given.

    Args:
        values: (N, 3) number of any length.
        is_finite: (N,) bool, whether the point has a place.
        notes: gets a line where normals are bad.

    Returns:
        (N, 3) float32.
    """
    normal = values.astype(np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
    good = np.isfinite(length) & (length > 0)
    if not good.all():
        num_bad, num_points = int((~good & is_finite).sum()), int(is_finite.sum())
        if not good.any():
            return None
        if 2 * num_bad > num_points:
            notes.append(f"{num_bad:,} of {num_points:,} normals are zero or not finite, so none is used")
            return None
        if num_bad:
            notes.append(f"{num_bad:,} of {num_points:,} normals are zero or not finite and count as (0, 0, 1)")
        normal[~good], length[~good] = _UP, 1
    return (normal / length[:, None]).astype(np.float32)


def whole_numbers(name: str, values: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """A property of the points as integers, where it is one; else None.

    Some programs, CloudCompare among them, write labels as floats, and NaN for a point without: those count where
    every other value is whole and the name says label, class, segment, instance, object, category or semantic, or
    begins with CloudCompare's ``scalar_``. NaN becomes -1.

    Args:
        name: of the property in the file.
        values: (N,) number.
        notes: gets a line where values are NaN.

    Returns:
        (N,) of an integer type.
    """
    if np.issubdtype(values.dtype, np.integer):
        return np.ascontiguousarray(values)
    if not any(word in name.lower() for word in _LABEL_WORDS) or not np.issubdtype(values.dtype, np.floating):
        return None
    is_missing = np.isnan(values)
    if is_missing.all() or not (are_whole(values) | is_missing).all():
        return None
    if is_missing.any():
        notes.append(f"{int(is_missing.sum()):,} points have no {name!r}, and count as -1 there")
    return np.where(is_missing, -1, values).astype(np.int64)


def are_whole(values: np.ndarray) -> np.ndarray:
    """(N,) bool: which of (N,) floats are whole numbers that float64 holds exactly; NaN and infinity are not."""
    return (np.abs(values) < 2**53) & (values == np.rint(values))


def fan_triangles(corners: np.ndarray, num_corners: np.ndarray, notes: list[str]) -> tuple[np.ndarray | None, int]:
    """Polygons as fans of triangles that share the polygon's first corner, in the order of the file.

    Args:
        corners: (C,) integer, the vertex indices of all polygons one after the other.
        num_corners: (P,) integer, how many of them each polygon has.
        notes: gets a line where polygons with fewer than three corners are dropped.

    Returns:
        (F, 3) of the dtype of ``corners``, None where no triangle is left; and how many polygons were dropped.
    """
    if num_dropped := int((num_corners < 3).sum()):
        notes.append(f"{num_dropped:,} of {len(num_corners):,} faces have fewer than three corners and were dropped")
    num_triangles = np.maximum(num_corners - 2, 0)
    if not num_triangles.any():
        return None, num_dropped
    first = np.repeat(np.cumsum(num_corners) - num_corners, num_triangles)
    step = np.arange(len(first)) - np.repeat(np.cumsum(num_triangles) - num_triangles, num_triangles)
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], axis=1), num_dropped


def _refuse_no_points(path: Path, xyz: np.ndarray) -> None:
    if len(xyz) == 0:
        raise DataError(f"{path}: has no points; scan it again or leave it out")


def _checked_faces(path: Path, faces: np.ndarray, num_points: int) -> np.ndarray | None:
    if len(faces) == 0:
        return None
    faces = np.ascontiguousarray(faces)  # a view of a file is slow to look through, and holds the file
    if faces.min() < 0 or faces.max() >= num_points:
        raise DataError(f"{path}: a face names a vertex that is not one of the {num_points}; export the mesh again")
    return faces.astype(np.int32, copy=False)


def _keep_faces(faces: np.ndarray | None, is_kept: np.ndarray) -> np.ndarray | None:
    """(F', 3) int32 faces of which all corners are kept, in the numbers that those have among themselves."""
    if faces is None:
        return None
    new_index = np.cumsum(is_kept, dtype=np.int32) - 1
    return new_index[faces[is_kept[faces].all(axis=1)]]
