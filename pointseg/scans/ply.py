"""PLY meshes in and out: any PLY that plyfile reads becomes a checked :class:`Mesh`."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElementParseError, PlyParseError

from pointseg.atomic import atomic_file
from pointseg.errors import DataError

BINARY_LITTLE_ENDIAN = "binary_little_endian"
_FACE_LISTS = ("vertex_indices", "vertex_index")
_MAX_HEADER_LINES = 1000
# float32 keeps a millimetre up to here; a larger coordinate is not in metres or far from the origin.
_MAX_COORDINATE_M = 2.0**14


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


@dataclass(frozen=True)
class MeshHeader:
    """What the header of a PLY file announces."""

    encoding: str
    """``ascii``, ``binary_little_endian`` or ``binary_big_endian``."""
    counts: dict[str, int] = field(default_factory=dict)
    """Element name -> number of rows."""
    properties: dict[str, list[str]] = field(default_factory=dict)
    """Element name -> property names, lists included."""
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Element name -> names of its list properties."""

    @property
    def face_list(self) -> str | None:
        """Name of the list of vertex indices of a face; None where the file has none."""
        return next((name for name in _FACE_LISTS if name in self.lists.get("face", [])), None)


def read_mesh_header(path: str | os.PathLike[str]) -> MeshHeader:
    """Read the header of a PLY file and nothing else.

    Raises:
        DataError: the file is missing, is no PLY, its header is broken, or it has no vertex.
    """
    header = MeshHeader(encoding="")
    element = ""
    try:
        with open(path, "rb") as file:
            if file.readline(16).rstrip() != b"ply":
                raise DataError(f"{path}: is not a PLY file; give a mesh that starts with 'ply'")
            for _ in range(_MAX_HEADER_LINES):
                words = file.readline(4096).decode("ascii", errors="replace").split()
                if words == ["end_header"]:
                    break
                if words[:1] == ["format"]:
                    header = MeshHeader(encoding=words[1])
                elif words[:1] == ["element"]:
                    element = words[1]
                    header.counts[element] = int(words[2])
                elif words[:1] == ["property"]:
                    header.properties.setdefault(element, []).append(words[-1])
                    if words[1] == "list":
                        header.lists.setdefault(element, []).append(words[-1])
            else:
                raise DataError(f"{path}: the PLY header does not end; the file is broken, export it again")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; check the path") from None
    except (IndexError, ValueError):
        raise DataError(f"{path}: the PLY header is broken; export the mesh again") from None
    _check_counts(path, header)
    return header


def count_vertices(path: str | os.PathLike[str]) -> int:
    """Number of vertices that the header of a PLY file announces; the rest of the file is not read.

    Raises:
        DataError: as :func:`read_mesh_header`.
    """
    return read_mesh_header(path).counts["vertex"]


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read a PLY file: binary or ASCII, with or without faces, colours and normals.

    Polygons become fans of triangles. Float colours in 0..1 become 0..255. Normals are scaled to
    unit length; single zero normals become (0, 0, 1), and normals that are all zero, which
    some programs write as a placeholder, count as not given.

    Raises:
        DataError: the file is missing, truncated, empty or no PLY; coordinates, colours or normals are
            not finite or out of range; a face names a vertex that is not there.
    """
    header = read_mesh_header(path)
    data = _read_elements(path, header)
    vertices = data["vertex"].data
    faces = _read_faces(path, header, data)
    if faces is not None and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise DataError(f"{path}: a face names a vertex that is not one of the {len(vertices)}; export the mesh again")
    return Mesh(
        xyz=_read_xyz(path, vertices),
        faces=None if faces is None else faces.astype(np.int32),
        rgb=_read_rgb(path, vertices),
        normal=_read_normal(path, vertices),
    )


def write_mesh(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write a binary little-endian PLY file, atomically: positions, and normals, colours and faces where given.

    The header is written here because plyfile writes lists row by row, seconds for one scan.
    """
    columns: list[tuple[str, str, np.ndarray]] = [(axis, "f4", mesh.xyz[:, i]) for i, axis in enumerate("xyz")]
    if mesh.normal is not None:
        columns += [(name, "f4", mesh.normal[:, i]) for i, name in enumerate(("nx", "ny", "nz"))]
    if mesh.rgb is not None:
        columns += [(name, "u1", mesh.rgb[:, i]) for i, name in enumerate(("red", "green", "blue"))]
    vertices = np.empty(mesh.num_vertices, dtype=[(name, f"<{kind}") for name, kind, _ in columns])
    for name, _, values in columns:
        vertices[name] = values
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {mesh.num_vertices}"]
    header += [f"property {'float' if kind == 'f4' else 'uchar'} {name}" for name, kind, _ in columns]
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


def _check_counts(path: str | os.PathLike[str], header: MeshHeader) -> None:
    if header.counts.get("vertex", 0) <= 0:
        raise DataError(f"{path}: the mesh has no vertices; scan it again or leave it out")
    # One byte a row is the least a row can take: a count beyond that is a lie that would fill the memory.
    if sum(header.counts.values()) > Path(path).stat().st_size:
        raise DataError(f"{path}: is truncated, the header announces more than the file holds; fetch it again")


def _read_elements(path: str | os.PathLike[str], header: MeshHeader) -> PlyData:
    """Read in one piece if all faces are triangles, else row by row."""
    one_list = header.face_list is not None and header.lists["face"] == [header.face_list]
    known = {"face": {header.face_list: 3}} if one_list and header.counts["face"] > 0 else {}
    try:
        try:
            return PlyData.read(os.fspath(path), known_list_len=known)
        except PlyElementParseError as error:
            if not known or "unexpected list length" not in str(error):
                raise
            return PlyData.read(os.fspath(path))
    except (PlyParseError, ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = "is truncated" if "early end-of-file" in reason else "can't be read as PLY"
        raise DataError(f"{path}: {what} ({reason}); fetch or export it again") from None


def _read_faces(path: str | os.PathLike[str], header: MeshHeader, data: PlyData) -> np.ndarray | None:
    """(F, 3) integer triangles; None where there is no face."""
    if header.face_list is None or header.counts["face"] == 0:
        return None
    lists = data["face"].data[header.face_list]
    if lists.dtype != object:
        return lists
    num_corners = {len(corners) for corners in lists}
    if min(num_corners) < 3:
        raise DataError(f"{path}: a face has fewer than three corners; export the mesh again")
    if num_corners == {3}:
        return np.stack(lists)
    fans = [np.stack([np.repeat(c[0], len(c) - 2), c[1:-1], c[2:]], axis=1) for c in lists]
    return np.concatenate(fans)


def _stack(vertices: np.ndarray, names: tuple[str, str, str]) -> np.ndarray | None:
    """(N, 3) of three vertex properties; None where they are not all there."""
    if not set(names) <= set(vertices.dtype.names or ()):
        return None
    return np.stack([vertices[name] for name in names], axis=1)


def _read_xyz(path: str | os.PathLike[str], vertices: np.ndarray) -> np.ndarray:
    xyz = _stack(vertices, ("x", "y", "z"))
    if xyz is None:
        raise DataError(f"{path}: the vertices have no x, y and z; export the mesh again")
    finite = np.isfinite(xyz)
    if not finite.all():
        bad = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise DataError(f"{path}: the coordinates of vertex {bad} are not finite; mend or leave out the mesh")
    reach = float(np.abs(xyz).max())
    if reach >= _MAX_COORDINATE_M:
        raise DataError(f"{path}: coordinates reach {reach:.6g}; scale to metres and shift the mesh to the origin")
    return xyz.astype(np.float32)


def _read_rgb(path: str | os.PathLike[str], vertices: np.ndarray) -> np.ndarray | None:
    rgb = _stack(vertices, ("red", "green", "blue"))
    if rgb is None or rgb.dtype == np.uint8:
        return rgb
    low, high = rgb.min(), rgb.max()  # a NaN fails both comparisons below
    if np.issubdtype(rgb.dtype, np.floating) and low >= 0 and high <= 1:
        return np.rint(rgb * 255).astype(np.uint8)
    if np.issubdtype(rgb.dtype, np.integer) and low >= 0 and high <= 255:
        return rgb.astype(np.uint8)
    raise DataError(
        f"{path}: colours are {rgb.dtype} in {low:.6g}..{high:.6g}; write them as uchar 0..255 or float 0..1"
    )


def _read_normal(path: str | os.PathLike[str], vertices: np.ndarray) -> np.ndarray | None:
    normal = _stack(vertices, ("nx", "ny", "nz"))
    if normal is None:
        return None
    if not np.isfinite(normal).all():
        raise DataError(f"{path}: a normal is not finite; export the mesh again, without normals if need be")
    normal = normal.astype(np.float64)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    if not length.any():
        return None
    unit = normal / np.where(length > 0, length, 1)
    return np.where(length > 0, unit, (0.0, 0.0, 1.0)).astype(np.float32)
