"""OFF: vertices, colours, normals and polygons as text. Read here because trimesh leaves out the colours."""

import codecs
import re
from pathlib import Path

import numpy as np

from pointseg.errors import DataError
from pointseg.formats.scan_file import ScanFile, fan_triangles, scan_of_values

_FIRST_WORD = re.compile(r"\s*(ST)?(C?)(N?)(C?)OFF\b(?!\s+BINARY)")


def read_off(path: Path) -> ScanFile:
    """Read OFF, COFF, NOFF and CNOFF: normals come before colours, and colours of plain OFF are of faces.

    Raises:
        DataError: the file is no OFF, or has fewer lines or numbers than its counts say.
    """
    content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    text = re.sub(r"#[^\n]*", "", content.decode("latin-1").replace("\r\n", "\n"))
    first = _FIRST_WORD.match(text)
    if first is None:
        raise DataError(f"{path}: is not a text OFF file; give a file that starts with 'OFF' or export it again")
    lines = [words for line in text[first.end() :].splitlines() if (words := line.split())]
    try:
        num_vertices, num_faces = int(lines[0][0]), int(lines[0][1])
        if min(num_vertices, num_faces) < 0 or num_vertices + num_faces > len(lines) - 1:
            raise DataError(f"{path}: is truncated, it announces more lines than it has; fetch it again")
        vertices = np.array(lines[1 : 1 + num_vertices], dtype="S").astype(np.float64)
        polygons = [_corners(words) for words in lines[1 + num_vertices :][:num_faces]]
    except (IndexError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: a line can't be read ({error}); export the mesh again") from None
    notes: list[str] = []
    rgb = normal = None
    num_columns = vertices.shape[1] if vertices.ndim == 2 else 0
    at = 3
    if first[3]:
        normal, at = vertices[:, at : at + 3], at + 3
    if first[2] or first[4]:
        rgb, at = vertices[:, at : at + 3], at + 3
    if num_vertices and num_columns < at:
        raise DataError(f"{path}: its vertices have {num_columns} numbers, expected {at}; export the mesh again")
    # A COFF may have an alpha behind its colours.
    if (num_left := num_columns - at - (rgb is not None)) > 0:
        kind = first[0].strip()
        notes.append(f"{num_left} numbers of a vertex that {kind} does not name were left out; colours are in a COFF")
    num_corners = np.fromiter(map(len, polygons), np.int64, len(polygons))
    corners = np.array([corner for polygon in polygons for corner in polygon], dtype=np.int64)
    faces, num_dropped = fan_triangles(corners, num_corners, notes)
    xyz = np.ascontiguousarray(vertices[:, :3]) if num_vertices else np.zeros((0, 3))
    return scan_of_values(path, xyz, faces, rgb=rgb, normal=normal, num_dropped_faces=num_dropped, notes=notes)


def _corners(words: list[str]) -> list[int]:
    """The vertex indices of a polygon; a colour may follow. Raises: ValueError."""
    num_corners = int(words[0])
    if not 0 <= num_corners < len(words):
        raise ValueError(f"a face of {num_corners} corners has {len(words) - 1}")
    return list(map(int, words[1 : 1 + num_corners]))
