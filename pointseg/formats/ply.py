"""PLY files in and out: what plyfile reads, and what other programs write beside that, becomes a :class:`ScanFile`."""

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElementParseError, PlyHeaderParseError

from pointseg.atomic import atomic_file
from pointseg.errors import DataError, first_line
from pointseg.formats.columns import NORMAL, RGB, XYZ, scan_of_columns
from pointseg.formats.mesh import Mesh
from pointseg.formats.ply_header import SCAN_COLORS, MeshHeader, ascii_name, read_mesh_header
from pointseg.formats.scan_file import ScanFile, fan_triangles
from pointseg.formats.text_table import plain_nan

BINARY_LITTLE_ENDIAN = "binary_little_endian"
_SPLATS = {"f_dc_0", "opacity", "scale_0", "rot_0"}
_PLY_TYPES = {"u1": "uchar", "i1": "char", "u2": "ushort", "i2": "short", "u4": "uint", "i4": "int"}
_PLY_TYPES |= {"f4": "float", "f8": "double"}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OWN_PROPERTIES = {"x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"}


def count_vertices(path: str | os.PathLike[str]) -> int:
    """Number of vertices that the header of a PLY file announces; the rest of the file is not read.

    Raises:
        DataError: as :func:`pointseg.formats.ply_header.read_mesh_header`.
    """
    return read_mesh_header(path).counts["vertex"]


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read a PLY file in metres near the origin: as :func:`read_ply`, in float32.

    Raises:
        DataError: as :func:`read_ply`, or a coordinate is not finite or too large, or a face has fewer than
            three corners.
    """
    scan = read_ply(path)
    if scan.num_dropped_faces:
        raise DataError(f"{path}: a face has fewer than three corners; export the mesh again")
    return scan.to_mesh()


def read_ply(path: str | os.PathLike[str]) -> ScanFile:
    """Read a PLY file: binary or ASCII, with or without faces, colours and normals.

    Polygons and triangle strips become triangles; see :func:`fan_triangles`, :func:`rgb_from_values` and
    :func:`unit_normals` for what else a file may hold. ``fields`` are the other whole numbers of the vertices. Colours
    of a mesh of ``predict --ply`` are the scan's own, and none where it has only those of the classes.

    Raises:
        DataError: the file is missing, truncated, empty or no PLY, or holds Gaussian splats; the vertices have no
            x, y and z; colours are out of range; a face names a vertex that is not there.
    """
    header = read_mesh_header(path)
    path = Path(path)
    _check_vertex_properties(path, header)
    data = _read_elements(path, header)
    vertices = data["vertex"].data
    notes: list[str] = []
    faces, num_dropped = _read_faces(header, data, notes)
    columns = {name: vertices[ascii_name(name)] for name in header.properties["vertex"]}
    if header.may_be_prediction and np.array_equal(columns["confidence"], columns["quality"]):
        columns = _with_own_colors(columns, notes)
    return scan_of_columns(path, columns, faces, notes=notes, num_dropped_faces=num_dropped)


def write_mesh(
    path: str | os.PathLike[str], mesh: Mesh | ScanFile, extra: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write a binary little-endian PLY file, atomically: positions, and normals, colours and faces where given.

    The positions of a :class:`ScanFile` in double precision stay in it.

    The header is written here because plyfile writes lists row by row, seconds for one scan.

    Args:
        path: of the file.
        mesh: N vertices.
        extra: name -> (N,) of an integer or float type of up to 4 bytes, or float64: more properties of the vertices,
            after the colours, in this order. 64-bit integers are written in 32 bits.

    Raises:
        ValueError: an extra property has a name that is taken or not one ASCII word, another length, or a type or
            values that PLY does not hold.
        OSError: the disk is full or can't be written.
    """
    num_vertices, kind = len(mesh.xyz), mesh.xyz.dtype.str[1:]
    columns: list[tuple[str, str, np.ndarray]] = [(axis, kind, mesh.xyz[:, i]) for i, axis in enumerate("xyz")]
    if mesh.normal is not None:
        columns += [(name, "f4", mesh.normal[:, i]) for i, name in enumerate(("nx", "ny", "nz"))]
    if mesh.rgb is not None:
        columns += [(name, "u1", mesh.rgb[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    columns += [_extra_column(name, values, num_vertices) for name, values in (extra or {}).items()]
    vertices = np.empty(num_vertices, dtype=[(name, f"<{kind}") for name, kind, _ in columns])
    for name, _, values in columns:
        vertices[name] = values
    header = ["ply", f"format {BINARY_LITTLE_ENDIAN} 1.0", f"element vertex {num_vertices}"]
    header += [f"property {_PLY_TYPES[kind]} {name}" for name, kind, _ in columns]
    rows = b""
    if mesh.faces is not None:
        header += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices"]
        triangles = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
        triangles["count"], triangles["corners"] = 3, mesh.faces
        rows = triangles.tobytes()
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        file.write(vertices.tobytes())
        file.write(rows)


def _extra_column(name: str, values: np.ndarray, num_vertices: int) -> tuple[str, str, np.ndarray]:
    """Name, type and values of one more property of the vertices."""
    if not name.isascii() or not name.isprintable() or name.split() != [name] or name in _OWN_PROPERTIES:
        raise ValueError(f"property {name!r} is a name that is taken, or not one ASCII word")
    if values.shape != (num_vertices,):
        raise ValueError(f"property {name} is {values.shape}, expected ({num_vertices},)")
    if values.dtype in (np.int64, np.uint64):
        limits = np.iinfo(np.int32)
        if num_vertices and (values.min() < limits.min or values.max() > limits.max):
            raise ValueError(f"property {name} has values beyond 32 bits")
        values = values.astype(np.int32)
    kind = values.dtype.str[1:]
    if kind not in _PLY_TYPES:
        raise ValueError(f"property {name} is {values.dtype}, expected integers or floats")
    return name, kind, values


def _with_own_colors(columns: Mapping[str, np.ndarray], notes: list[str]) -> dict[str, np.ndarray]:
    """The columns of a prediction with the scan's colours for those of the classes, which tell what was predicted."""
    own = {name: columns[scan] for name, scan in zip(RGB[0], SCAN_COLORS, strict=True) if scan in columns}
    notes.append(
        "is a mesh of predict --ply: its labels are predictions, and the colours of their classes were left out"
        + ("" if own else "; it has no others")
    )
    return {name: column for name, column in columns.items() if name not in (*RGB[0], *SCAN_COLORS)} | own


def _check_vertex_properties(path: Path, header: MeshHeader) -> None:
    names = {name.lower() for name in header.properties["vertex"]}
    if names >= _SPLATS:
        raise DataError(
            f"{path}: holds 3D Gaussian splats (f_dc_0, opacity, scale_0, rot_0), which are no surface points; "
            "export the mesh or the point cloud of the scene"
        )
    if not names >= set("xyz"):
        raise DataError(f"{path}: the vertices have no x, y and z; export the mesh again")
    lists = {name.lower() for name in header.lists.get("vertex", [])}
    for wanted in (*XYZ, *RGB, *NORMAL):
        if wrong := lists.intersection(wanted):
            raise DataError(f"{path}: {sorted(wrong)[0]} of a vertex is a list, expected a number; export it again")


def _read_elements(path: Path, header: MeshHeader) -> PlyData:
    """What plyfile makes of the file, or of a copy in a way that it reads: with a plain header, plain numbers."""
    try:
        try:
            if header.is_plain and header.encoding != "ascii":
                return _read_whole_or_rows(header, os.fspath(path))
        except PlyHeaderParseError:
            pass
        with tempfile.TemporaryFile() as copy, open(path, "rb") as file:
            copy.write(header.to_bytes())
            file.seek(header.num_bytes)
            if header.encoding == "ascii":
                copy.write(plain_nan(file.read()))
            else:
                shutil.copyfileobj(file, copy, 1 << 20)
            copy.seek(0)
            return _read_whole_or_rows(header, copy)
    except OSError as error:
        if error.errno not in _NO_SPACE:  # which nobody meets who reads
            raise
        raise DataError(
            f"{tempfile.gettempdir()}: a copy of {path}, made there to read it, has no space ({error.strerror}); free "
            "some, or name another folder for temporary files in the environment variable TMPDIR"
        ) from None
    except Exception as error:  # what plyfile and NumPy raise on a damaged file can be anything, MemoryError among it
        reason = first_line(error)
        what = "is truncated" if "early end-of-file" in reason else "can't be read as PLY"
        raise DataError(f"{path}: {what} ({reason}); fetch or export it again") from None


def _read_whole_or_rows(header: MeshHeader, source: object) -> PlyData:
    """Read in one piece if all faces are triangles, or all are quads, else row by row."""
    lists = header.lists.get("face", [])
    kind_of = dict(zip(header.properties.get("face", []), header.types.get("face", []), strict=True))
    if header.face_list is not None and header.counts["face"] > 0 and header.encoding != "ascii":
        for num_corners in (3, 4):
            # MeshLab's list of floats beside the corners has u and v of each.
            known = {name: (2 if kind_of[name][1][0] == "f" else 1) * num_corners for name in lists}
            try:
                return PlyData.read(source, known_list_len={"face": known})
            except PlyElementParseError as error:
                if error.element.name != "face":
                    raise
            if hasattr(source, "seek"):
                source.seek(0)
    return PlyData.read(source)


def _read_faces(header: MeshHeader, data: PlyData, notes: list[str]) -> tuple[np.ndarray | None, int]:
    """(F, 3) integer triangles of faces and strips, None where there is none; and how many faces were dropped."""
    parts: list[np.ndarray | None] = []
    num_dropped = 0
    if header.face_list is not None and header.counts["face"] > 0:
        lists = data["face"].data[header.face_list]
        if lists.dtype != object and lists.shape[1] == 3:
            parts.append(lists)
        else:
            num_corners = np.fromiter(map(len, lists), np.int64, len(lists))
            fans, num_dropped = fan_triangles(np.concatenate([*lists]), num_corners, notes)
            parts.append(fans)
    elif header.counts.get("face", 0) > 0:
        notes.append("the faces have no list vertex_indices, so they were not read")
    if header.counts.get("tristrips", 0) > 0 and "vertex_indices" in header.lists.get("tristrips", []):
        parts += [_strip_triangles(strip.astype(np.int64)) for strip in data["tristrips"].data["vertex_indices"]]
    triangles = [part for part in parts if part is not None and len(part)]
    return (np.concatenate(triangles) if len(triangles) > 1 else next(iter(triangles), None)), num_dropped


def _strip_triangles(strip: np.ndarray) -> np.ndarray:
    """(F, 3) triangles of strips that -1 parts: every second one is turned around, so that all face one way."""
    place = np.arange(len(strip))
    start = np.maximum.accumulate(np.where(strip < 0, place + 1, 0))  # of the strip that an index belongs to
    triangles = np.stack([strip[:-2], strip[1:-1], strip[2:]], axis=1)
    is_odd = (place[:-2] - start[:-2]) % 2 == 1
    triangles[is_odd] = triangles[is_odd][:, [1, 0, 2]]
    a, b, c = triangles.T
    # Strips are sewn together with triangles of no area, which name a vertex twice.
    return triangles[(triangles >= 0).all(axis=1) & (a != b) & (b != c) & (c != a)]
