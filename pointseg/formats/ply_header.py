"""The header of a PLY file: what it announces, and whether the file can hold it."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pointseg.errors import DataError
from pointseg.formats.scan_file import check_is_readable_file
from pointseg.formats.text_table import text_encoding

_FACE_LISTS = ("vertex_indices", "vertex_index")
_MOST_HEADER_BYTES = 1 << 20
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ENCODINGS = ("ascii", "binary_little_endian", "binary_big_endian")
_BOM = b"\xef\xbb\xbf"
_FIRST_LINE = re.compile(rb"ply[ \t]*(\r\n|\n|\r)")
# What plyfile reads: one kind of line end throughout, ASCII alone, every line of a kind that it knows.
_PLAIN = re.compile(
    rb"ply(\r?\n)(comment [ -~]*\1)*format \S+ 1\.0\1((comment|element|property) [ -~]*\1)*end_header\1"
)

_LAST_OF_PREDICTION = ["label", "confidence", "quality"]
SCAN_COLORS = ("scan_red", "scan_green", "scan_blue")
"""A scan's own colours in a mesh of ``predict --ply``, whose ``red green blue`` are those of the classes."""


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
    types: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    """Element name -> NumPy types of its properties: one of a number, those of the count and the items of a list."""
    num_bytes: int = 0
    """Where the data begin in the file."""
    is_plain: bool = True
    """Whether plyfile reads the header as it is in the file."""

    @property
    def face_list(self) -> str | None:
        """Name of the list of vertex indices of a face; None where the file has none."""
        return next((name for name in _FACE_LISTS if name in self.lists.get("face", [])), None)

    @property
    def may_be_prediction(self) -> bool:
        """Whether the vertices have what ``predict --ply`` gives them."""
        return self.properties["vertex"][-len(_LAST_OF_PREDICTION) :] == _LAST_OF_PREDICTION

    def to_bytes(self) -> bytes:
        """The same in the plainest way, without comments; names are those of :func:`ascii_name`."""
        lines = ["ply", f"format {self.encoding} 1.0"]
        names = {kind: name for name, kind in _TYPES.items()}
        for element, count in self.counts.items():
            lines.append(f"element {element} {count}")
            for name, kinds in zip(self.properties[element], self.types[element], strict=True):
                words = ["list"] if len(kinds) == 2 else []
                lines.append(" ".join(["property", *words, *(names[kind] for kind in kinds), ascii_name(name)]))
        return "\n".join([*lines, "end_header", ""]).encode("ascii")


def ascii_name(name: str) -> str:
    """What a property is called for plyfile, which reads ASCII alone."""
    return name.encode("ascii", errors="backslashreplace").decode("ascii")


def read_mesh_header(path: str | os.PathLike[str]) -> MeshHeader:
    """Read the header of a PLY file and nothing else.

    Comments may hold anything, a byte order mark may come first, and lines may end as they like.

    Raises:
        DataError: the file is missing, is no PLY, its header is broken, it has no vertex, or it is too small for
            what the header announces.
    """
    check_is_readable_file(path)
    with open(path, "rb") as file:
        start = file.read(_MOST_HEADER_BYTES)
    skipped = len(_BOM) if start.startswith(_BOM) else 0
    first = _FIRST_LINE.match(start, skipped)
    if first is None:
        raise DataError(f"{path}: is not a PLY file; give a mesh that starts with 'ply'")
    # Where lines end in CR alone, a LF after the last one is data already.
    last = re.compile(rb"\rend_header[ \t]*\r" if first[1] == b"\r" else rb"\nend_header[ \t]*\r?\n")
    end = last.search(start, first.end(1) - 1)
    if end is None:
        raise DataError(f"{path}: the PLY header does not end; the file is broken, export it again")
    content = start[: end.end()]
    lines = re.split("\r\n|\n|\r", content[first.end() :].decode(text_encoding(content)))
    try:
        header = _parse(lines, len(content), _PLAIN.fullmatch(content) is not None)
    except (IndexError, KeyError, ValueError):
        raise DataError(f"{path}: the PLY header is broken; export the mesh again") from None
    _check_counts(path, header)
    return header


def _parse(lines: list[str], num_bytes: int, is_plain: bool) -> MeshHeader:
    """Raises IndexError, KeyError or ValueError where a line is not as it has to be."""
    (encoding,) = (line.split()[1] for line in lines if line.split()[:1] == ["format"])
    _ENCODINGS.index(encoding)
    header = MeshHeader(encoding, num_bytes=num_bytes, is_plain=is_plain)
    element = ""
    for line in lines:
        words = line.split()
        if words[:1] == ["element"]:
            element = words[1].encode("ascii").decode()
            if element in header.counts:
                raise ValueError(f"two elements {element}")
            header.counts[element] = int(words[2])
            header.properties[element], header.types[element] = [], []
        elif words[:1] == ["property"]:
            is_list = words[1] == "list"
            kinds = words[2:4] if is_list else words[1:2]
            # A name with a space in it, as some programs take over from their users, becomes one word.
            name = "_".join(words[4 if is_list else 2 :])
            # Of faces no name counts but the usual ones; those of plyfile are ASCII.
            name = name if element == "vertex" else ascii_name(name)
            if not name or name in header.properties[element]:
                raise ValueError(f"property {name!r}")
            header.properties[element].append(name)
            header.types[element].append(tuple(_TYPES[kind] for kind in kinds))
            if is_list:
                header.lists.setdefault(element, []).append(name)
    return header


def _check_counts(path: str | os.PathLike[str], header: MeshHeader) -> None:
    if header.counts.get("vertex", 0) <= 0:
        raise DataError(f"{path}: the mesh has no vertices; scan it again or leave it out")
    # What is announced beyond the size of the file is a lie that would fill the memory.
    least = header.num_bytes
    for element, count in header.counts.items():
        if header.encoding == "ascii":
            row = 2 * len(header.types[element])  # a digit and what ends it
        else:
            row = sum(np.dtype(kinds[0]).itemsize for kinds in header.types[element])
        least += count * max(row, 1)
    # The last line of a text need not end.
    if min(header.counts.values()) < 0 or least > Path(path).stat().st_size + 1:
        raise DataError(f"{path}: is truncated, the header announces more than the file holds; fetch it again")
