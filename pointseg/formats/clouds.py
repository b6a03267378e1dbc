"""Point clouds: LAS and LAZ through laspy, and PCD.

PCD is read here because Open3D ends the process on a damaged file.
"""

import os
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError
from pointseg.formats.columns import NORMAL, find_columns, scan_of_columns, whole_columns
from pointseg.formats.libraries import require
from pointseg.formats.lzf import decompress
from pointseg.formats.scan_file import ScanFile, scan_of_values
from pointseg.formats.text_table import split_lines

_CHUNK_POINTS = 1_000_000
_LAS_RECORD_BYTES, _SMALLEST_LAS_POINT = 54, 20
_LAS_RGB = ("red", "green", "blue")
# Its 0 is "created, never classified" by the standard.
_LAS_CLASSIFICATION = "classification"
# Those of every point that a program may put labels into; the others say how the sensor saw it.
_LAS_NUMBERS = (_LAS_CLASSIFICATION, "user_data", "point_source_id")
_PCD_KEYS = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
_MOST_PCD_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class _LasChunk:
    """Some points of a LAS file."""

    xyz: np.ndarray
    """(n, 3) float64."""
    rgb: np.ndarray | None
    """(n, 3) uint16; None where the point format has no colours."""
    columns: dict[str, np.ndarray]
    """Name in the file -> (n,) number: the standard ones that may be labels, and the extra dimensions."""


def read_las(path: Path) -> ScanFile:
    """Read a LAS or LAZ file: scaled coordinates, colours, and whole numbers of the points.

    Those are ``classification``, ``user_data``, ``point_source_id`` and the extra dimensions.

    Colours are 16 bit; some programs write 8-bit numbers into them, seen from none being above 255. Colours that are
    all zero count as not given.

    Raises:
        DataError: the file is damaged or truncated.
        UsageError: laspy, or lazrs for a LAZ file, is not installed.
    """
    laspy = require("laspy", path)
    if path.suffix.lower() == ".laz":
        require("lazrs", path)
    chunks = []
    is_compressed = _check_las_counts(path)
    with _no_panic_messages() if is_compressed else nullcontext(), laspy.open(path, read_evlrs=False) as reader:
        num_points = reader.header.point_count
        # In pieces, so that a count that is a lie takes no more memory than the file's points.
        for points in reader.chunk_iterator(min(_CHUNK_POINTS, max(num_points, 1))):
            if len(points) == 0:
                break
            chunks.append(_las_chunk(points))
    if sum(len(chunk.xyz) for chunk in chunks) != num_points:
        raise DataError(f"{path}: is truncated, the header announces {num_points} points; fetch it again")
    if not chunks:
        raise DataError(f"{path}: has no points; scan it again or leave it out")
    notes: list[str] = []
    rgb = None if chunks[0].rgb is None else np.concatenate([chunk.rgb for chunk in chunks if chunk.rgb is not None])
    if rgb is not None and not rgb.any():
        notes.append("all colours are zero and count as not given")
        rgb = None
    columns = {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in chunks[0].columns}
    normal, used = find_columns(columns, NORMAL)
    others = {name: column for name, column in columns.items() if name not in used}
    fields, not_whole = whole_columns(others, notes)
    return scan_of_values(
        path,
        np.concatenate([chunk.xyz for chunk in chunks]),
        rgb=rgb,
        normal=normal,
        fields=fields,
        not_whole=not_whole,
        fields_with_unclassified_zero=frozenset({_LAS_CLASSIFICATION}),
        notes=notes,
    )


@contextmanager
def _no_panic_messages() -> Iterator[None]:
    """Where lazrs meets damage it writes pages to stderr, past Python, before it raises what Python sees."""
    if sys.stderr is None or not _is_open(2):
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _check_las_counts(path: Path) -> bool:
    """Refuse counts that the file can't hold: laspy would count records, or give out memory, until they are reached.

    Returns:
        whether the points are compressed, which the header says, not the suffix.
    """
    with open(path, "rb") as file:
        start = file.read(375)
    if len(start) < 227 or start[:4] != b"LASF":
        raise DataError(f"{path}: is not a LAS file, or its header is truncated; fetch or export it again")
    size = path.stat().st_size
    (data_start, num_records, point_format, point_bytes, num_points) = struct.unpack_from("<IIBHI", start, 96)
    if start[25] >= 4 and len(start) >= 255:
        num_points = struct.unpack_from("<Q", start, 247)[0] or num_points
    is_compressed = point_format >= 128
    least = data_start if is_compressed else data_start + num_points * point_bytes
    if least > size or num_records * _LAS_RECORD_BYTES > size or point_bytes < _SMALLEST_LAS_POINT:
        raise DataError(f"{path}: is truncated or damaged, it announces more than it holds; fetch it again")
    if is_compressed:
        _check_laz_chunk_count(path, data_start, size)
    return is_compressed


def _check_laz_chunk_count(path: Path, data_start: int, size: int) -> None:
    """Refuse a table of more chunks than the file has bytes: lazrs ends the process where memory can't hold it.

    The format: LASzip, "chunk table". Its place stands before the points, or at the end where that says -1.
    """
    with open(path, "rb") as file:
        file.seek(data_start)
        place = file.read(8)
        if place == b"\xff" * 8:
            file.seek(-8, os.SEEK_END)
            place = file.read(8)
        table_start = int.from_bytes(place, "little", signed=True)
        if not 0 <= table_start <= size - 8:
            return  # lazrs says so
        file.seek(table_start)
        _version, num_chunks = struct.unpack("<II", file.read(8))
    if num_chunks > size:
        raise DataError(f"{path}: is damaged, it announces {num_chunks} chunks of points; fetch it again")


def _las_chunk(points: Any) -> _LasChunk:
    dimensions = points.point_format
    columns = {name: np.asarray(points[name]) for name in (*_LAS_NUMBERS, *dimensions.extra_dimension_names)}
    return _LasChunk(
        xyz=np.stack([np.asarray(points[axis], dtype=np.float64) for axis in "xyz"], axis=1),
        rgb=np.stack([np.asarray(points[name]) for name in _LAS_RGB], axis=1)
        if set(dimensions.dimension_names) >= set(_LAS_RGB)
        else None,
        columns={name: values for name, values in columns.items() if values.ndim == 1},
    )


def read_pcd(path: Path) -> ScanFile:
    """Read a PCD file: ascii, binary or binary_compressed. Points without a place (NaN) stay.

    Colours are packed in ``rgb`` or ``rgba``; ``fields`` are the other whole numbers. The viewpoint says where the
    sensor stood and moves no point, so it is left out.

    Raises:
        DataError: the file is no PCD, damaged or truncated.
    """
    content = path.read_bytes()
    header, start = _pcd_header(path, content)
    dtype = np.dtype([(name, kind, count) if count > 1 else (name, kind) for name, kind, count in header["fields"]])
    num_points, encoding = header["points"], header["data"]
    body = content[start:]
    if encoding == "ascii":
        table = _pcd_text(path, body, dtype, num_points)
    else:
        if encoding == "binary_compressed":
            if num_points * dtype.itemsize > 300 * len(body):  # what LZF can make of so many bytes
                raise DataError(f"{path}: is truncated, it announces {num_points} points; fetch it again")
            body = decompress(body, num_points * dtype.itemsize)
        if num_points * dtype.itemsize > len(body):
            raise DataError(f"{path}: is truncated, it announces {num_points} points; fetch it again")
        if encoding == "binary_compressed":  # field by field
            table = np.empty(num_points, dtype)
            at = 0
            for name in dtype.names or ():
                piece = np.frombuffer(body, dtype[name].base, num_points * int(np.prod(dtype[name].shape)), at)
                table[name] = piece.reshape(num_points, *dtype[name].shape)
                at += piece.nbytes
        else:
            table = np.frombuffer(body, dtype, num_points)
    columns = {
        name: np.ascontiguousarray(table[name])
        for name in dtype.names or ()
        if table[name].ndim == 1 and not name.startswith("_")
    }
    packed = next((name for name in columns if name.lower() in ("rgb", "rgba")), None)
    rgb = None
    if packed is not None and columns[packed].dtype.itemsize == 4:
        bits = columns.pop(packed).view("<u4")
        rgb = np.stack([(bits >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
    return scan_of_columns(path, columns, rgb=rgb, notes=[])


def _pcd_header(path: Path, content: bytes) -> tuple[dict[str, Any], int]:
    end = re.compile(rb"^DATA[ \t]+(\w+)[ \t]*\r?\n", re.MULTILINE).search(content[:_MOST_PCD_HEADER_BYTES])
    if end is None:
        raise DataError(f"{path}: is not a PCD file, or its header does not end; export the cloud again")
    words = {}
    for line in split_lines(content[: end.end()]):
        key, *rest = line.split() or [""]
        if key in _PCD_KEYS:
            words[key] = rest
    try:
        names, sizes, types = words["FIELDS"], words["SIZE"], words["TYPE"]
        counts = [int(count) for count in words.get("COUNT", ["1"] * len(names))]
        width, height = (int(words[key][0]) if key in words else 1 for key in ("WIDTH", "HEIGHT"))
        num_points = int(words["POINTS"][0]) if "POINTS" in words else width * height
        fields = []
        for i, (name, size, kind, count) in enumerate(zip(names, sizes, types, counts, strict=True)):
            # PCL names what only fills the row "_", as often as there is some.
            unique = f"_{i}" if name == "_" else name
            fields.append((unique, "<" + {"F": "f", "I": "i", "U": "u"}[kind] + str(int(size)), count))
        np.dtype([(name, kind) for name, kind, _ in fields])
        encoding = end[1].decode()
        if num_points < 0 or min(counts) < 1 or encoding not in ("ascii", "binary", "binary_compressed"):
            raise ValueError(encoding)
    except (IndexError, KeyError, TypeError, ValueError):
        raise DataError(f"{path}: the PCD header is broken; export the cloud again") from None
    return {"fields": fields, "points": num_points, "data": encoding}, end.end()


def _pcd_text(path: Path, body: bytes, dtype: np.dtype, num_points: int) -> np.ndarray:
    lines = [line for line in split_lines(body) if line.strip()]
    if len(lines) < num_points:
        raise DataError(f"{path}: is truncated, it announces {num_points} points; fetch it again")
    if num_points == 0:
        return np.empty(0, dtype)
    flat = np.loadtxt(lines[:num_points], dtype=np.float64, ndmin=2, comments=None)
    widths = [int(np.prod(dtype[name].shape)) for name in dtype.names or ()]
    if flat.shape[1] != sum(widths):
        raise DataError(f"{path}: a line has {flat.shape[1]} numbers, expected {sum(widths)}; export the cloud again")
    table, at = np.empty(num_points, dtype), 0
    for name, width in zip(dtype.names or (), widths, strict=True):
        piece, kind = flat[:, at : at + width], dtype[name].base
        if kind.kind in "iu":
            _refuse_no_integers(path, name, piece, kind)
            if kind.itemsize == 8:  # float64 holds 53 bits
                columns = range(at, at + width)
                piece = np.loadtxt(lines[:num_points], dtype=kind, ndmin=2, comments=None, usecols=columns)
        table[name] = piece.reshape(num_points, *dtype[name].shape)
        at += width
    return table


def _refuse_no_integers(path: Path, name: str, values: np.ndarray, kind: np.dtype) -> None:
    """Raises: DataError where (n, width) float64 are not all whole numbers that the type of the field can hold."""
    limits = np.iinfo(kind)
    is_bad = ~((values >= limits.min) & (values <= limits.max) & (values == np.rint(values)))
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise DataError(
            f"{path}: {name!r} of point {row + 1} is {values[row, column]:.17g}, expected a whole number "
            f"{limits.min}..{limits.max}; export the cloud again"
        )
