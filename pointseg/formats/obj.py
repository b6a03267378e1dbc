"""Wavefront OBJ: one point a ``v`` line, in the order of the file.

Read here because the libraries that read OBJ split and order vertices anew by material, texture and normal, or keep
coordinates in single precision, and predictions have to come back a line a vertex.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, UsageError, first_line
from pointseg.formats.companions import find_libraries, find_picture
from pointseg.formats.obj_lines import mtl_statements, name_of, obj_statements
from pointseg.formats.scan_file import (
    ScanFile,
    bytes_from_unit,
    fan_triangles,
    finite_rows,
    rgb_from_values,
    unit_normals,
)
from pointseg.formats.texture import Material, choose_colors, fill_missing_colors, read_image, sample_texture

# Options of a picture, offset and scale, and what changes nothing.
_NEUTRAL = {"-o": 0, "-s": 1}
_IS_MOVED = "the offset or scale of a picture (-o, -s) was not applied, so its colours may be wrong"


@dataclass
class _Lines:
    """The lines of an OBJ file, by kind, without their first word."""

    v: list[bytes] = field(default_factory=list)
    vt: list[bytes] = field(default_factory=list)
    vn: list[bytes] = field(default_factory=list)
    f: list[bytes] = field(default_factory=list)
    counts_at_face: list[tuple[int, int, int]] = field(default_factory=list)
    """How many v, vt and vn stood before the face: negative indices count back from there."""
    material_at_face: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


def read_obj(path: Path) -> ScanFile:
    """Read an OBJ file, with the MTL file and the pictures that it names.

    A colour comes from the ``v`` line, else from the picture at the vertex's first texture coordinate, else from the
    diffuse colour of its first material. A normal is the first that a face gives to the vertex; where no face does
    and there are as many as vertices, they belong together. Polygons become fans; lines and curves are left out.

    Raises:
        DataError: the file has no vertex, or a line in it is not as it has to be.
    """
    lines = _split(path.read_bytes())
    notes: list[str] = []
    vertices = _numbers(path, "v", lines.v, 3)
    if len(vertices) == 0:
        raise DataError(f"{path}: has no vertex lines ('v x y z'); export the mesh again")
    corners, num_corners = _corners(path, lines, len(vertices))
    faces, num_dropped = fan_triangles(corners[0], num_corners, notes) if len(corners[0]) else (None, 0)
    rgb = choose_colors(
        _vertex_colors(path, vertices, notes), _texture_colors(path, lines, corners, num_corners, len(vertices), notes)
    )
    xyz = np.ascontiguousarray(vertices[:, :3])
    normal = _normals(path, lines, corners, xyz, notes)
    return ScanFile(path, xyz, faces, rgb, normal, num_dropped_faces=num_dropped, notes=notes)


def _split(content: bytes) -> _Lines:
    lines = _Lines()
    material = ""
    for key, rest in obj_statements(content):
        if key == b"v":
            lines.v.append(rest)
        elif key == b"f":
            lines.f.append(rest)
            lines.counts_at_face.append((len(lines.v), len(lines.vt), len(lines.vn)))
            lines.material_at_face.append(material)
        elif key == b"vt":
            lines.vt.append(rest)
        elif key == b"vn":
            lines.vn.append(rest)
        elif key == b"usemtl":
            material = name_of(rest)
        elif key == b"mtllib":
            lines.libraries.append(name_of(rest))
    return lines


def _numbers(path: Path, key: str, lines: list[bytes], at_least: int) -> np.ndarray:
    """(N, K) float64; NaN where a line has fewer numbers than the longest."""
    rows = [line.split(b"#", 1)[0].split() for line in lines]
    width = min(max(map(len, rows), default=at_least), 8)
    if short := [i for i, row in enumerate(rows) if len(row) < at_least]:
        raise DataError(f"{path}: '{key}' line {short[0] + 1} has fewer than {at_least} numbers; export the mesh again")
    if all(len(row) == width for row in rows):
        flat = _parse(b" ".join(lines), np.float64, len(rows) * width)
        if flat is not None:
            return flat.reshape(-1, width)
    try:
        padded = [row[:width] + [b"nan"] * (width - len(row)) for row in rows]
        return np.array(padded, dtype="S").astype(np.float64).reshape(len(rows), width)
    except ValueError as error:
        raise DataError(f"{path}: a '{key}' line holds no numbers ({error}); export the mesh again") from None


def _parse(text: bytes, dtype: type, count: int) -> np.ndarray | None:
    """(count,) numbers of a text with spaces between; None where it holds anything else. Fast."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # older versions of NumPy only warn of what is no number
            numbers: np.ndarray = np.fromstring(text, dtype, sep=" ")
    except (ValueError, DeprecationWarning):
        return None
    return numbers if len(numbers) == count else None


def _indices(words: list[bytes]) -> np.ndarray:
    """(3, C) indices of v, vt and vn as in the file, 0 where a corner has none. Raises ValueError, OverflowError."""
    text = b" ".join(words)
    num_slashes = {word.count(b"/") for word in words}
    if len(num_slashes) == 1 and b"//" not in text and (width := num_slashes.pop() + 1) <= 3:
        flat = _parse(text.replace(b"/", b" "), np.int64, width * len(words))
        if flat is not None:
            return np.pad(flat.reshape(-1, width).T, ((0, 3 - width), (0, 0)))
    parts = [word.split(b"/") for word in words]
    rows = [[int(part[i]) if len(part) > i and part[i] else 0 for part in parts] for i in range(3)]
    return np.array(rows, dtype=np.int64).reshape(3, len(parts))


def _corners(path: Path, lines: _Lines, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """(3, C) indices of v, vt and vn of all corners, -1 where a corner has none, and (P,) corners of each face."""
    words = [line.split(b"#", 1)[0].split() for line in lines.f]
    num_corners = np.fromiter(map(len, words), np.int64, len(words))
    try:
        index = _indices([word for row in words for word in row])
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: a face line can't be read ({error}); export the mesh again") from None
    counts = np.repeat(np.array(lines.counts_at_face, dtype=np.int64).reshape(-1, 3), num_corners, axis=0).T
    index = np.where(index < 0, index + counts, index - 1)
    for i, (key, total) in enumerate((("v", num_vertices), ("vt", len(lines.vt)), ("vn", len(lines.vn)))):
        lowest = 0 if i == 0 else -1
        if index.shape[1] and (index[i].min() < lowest or index[i].max() >= total):
            raise DataError(f"{path}: a face names a '{key}' that is not one of the {total}; export the mesh again")
    return index, num_corners


def _first_corner(vertex: np.ndarray, is_wanted: np.ndarray, num_vertices: int) -> np.ndarray:
    """(N,) index of the first wanted corner at each vertex; -1 where there is none."""
    first = np.full(num_vertices, -1)
    wanted = np.flatnonzero(is_wanted)[::-1]
    first[vertex[wanted]] = wanted  # of several values for one place, the last one stays
    return first


def _vertex_colors(path: Path, vertices: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """(N, 3) uint8 of lines ``v x y z r g b``; a fourth number alone is a weight."""
    if vertices.shape[1] < 6:
        return None
    is_known = np.isfinite(vertices[:, 3:6]).all(axis=1)
    rgb = rgb_from_values(path, np.where(is_known[:, None], vertices[:, 3:6], 0), notes)
    return fill_missing_colors(rgb, is_known, notes)


def _texture_colors(
    path: Path,
    lines: _Lines,
    corners: np.ndarray,
    num_corners: np.ndarray,
    num_vertices: int,
    notes: list[str],
) -> np.ndarray | None:
    """(N, 3) uint8; None where no vertex has a material with a colour."""
    materials: dict[str, Material] = {}
    for text in lines.libraries:
        for library, file in find_libraries(path.parent, text).items():
            if file is None:
                # The mesh is worth reading without.
                notes.append(f"{library} is not beside it, so materials give no colours")
            else:
                materials |= _read_materials(path, file, notes)
    if not materials:
        return None
    vertex, place, _ = corners
    material_of_corner = np.repeat(np.array(lines.material_at_face, dtype=object), num_corners)
    uv = _numbers(path, "vt", lines.vt, 2)
    rgb, is_known = np.zeros((num_vertices, 3), np.uint8), np.zeros(num_vertices, bool)
    corner_rgb, is_on_image, has_color = np.zeros((len(vertex), 3), np.uint8), *np.zeros((2, len(vertex)), bool)
    for name, material in materials.items():
        mine = material_of_corner == name
        if material.rgb is not None:
            corner_rgb[mine] = material.rgb
            has_color |= mine
        if material.image is not None:
            mine &= place >= 0
            corner_rgb[mine] = sample_texture(material.image, uv[place[mine]])
            is_on_image |= mine
    # A corner on a picture says more than one of a plain colour, and comes first.
    for is_wanted in (has_color, is_on_image):
        first = _first_corner(vertex, is_wanted, num_vertices)
        rgb[first >= 0] = corner_rgb[first[first >= 0]]
        is_known |= first >= 0
    return fill_missing_colors(rgb, is_known, notes) if is_known.any() else None


def _read_materials(path: Path, file: Path, notes: list[str]) -> dict[str, Material]:
    """The materials of an MTL file by name."""
    materials: dict[str, Material] = {}
    name = ""
    for key, rest in mtl_statements(file.read_bytes()):
        if key == "newmtl":
            name = rest
            materials[name] = Material()
        elif key == "Kd" and name in materials:
            try:
                values = np.array([float(word) for word in rest.split()[:3]])
            except ValueError:
                continue
            if values.shape == (3,) and np.isfinite(values).all():
                materials[name].rgb = bytes_from_unit(values)
        elif key == "map_Kd" and name in materials:
            materials[name].image = _read_picture(path, file.parent, rest, notes)
            if _is_moved(rest) and _IS_MOVED not in notes:
                notes.append(_IS_MOVED)
    return materials


def _is_moved(picture: str) -> bool:
    """Whether a picture, as an MTL file names it, has an offset or a scale that changes something."""
    neutral = None
    for word in picture.split():
        try:
            number = float(word)
        except ValueError:  # the next option, or the name
            neutral = _NEUTRAL.get(word)
            continue
        if neutral not in (None, number):
            return True
    return False


def _read_picture(path: Path, folder: Path, name: str, notes: list[str]) -> np.ndarray | None:
    file = find_picture(folder, name)
    if file is None:
        notes.append(f"{name} is not beside it, so that picture gives no colours")
        return None
    try:
        return read_image(file, path)
    except UsageError:
        raise
    except Exception as error:  # Pillow's own kinds, by the format of the picture
        notes.append(f"{name} can't be read ({first_line(error)}), so that picture gives no colours")
        return None


def _normals(path: Path, lines: _Lines, corners: np.ndarray, xyz: np.ndarray, notes: list[str]) -> np.ndarray | None:
    """(N, 3) float32; None where no vertex has one."""
    if not lines.vn:
        return None
    vn = _numbers(path, "vn", lines.vn, 3)[:, :3]
    first = _first_corner(corners[0], corners[2] >= 0, len(xyz))
    if (first >= 0).any():
        values = np.where((first >= 0)[:, None], vn[corners[2][first]], np.nan)
    elif len(vn) == len(xyz):
        values = vn
    else:
        return None
    return unit_normals(values, finite_rows(xyz), notes)
