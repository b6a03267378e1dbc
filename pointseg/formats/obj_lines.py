"""The statements of an OBJ file and of its MTL files, for who reads them and for who asks what they name."""

import codecs
import re
from collections.abc import Iterator

_COMMENT = re.compile(rb"^[ \t]*#[^\r\n]*", re.MULTILINE)
_CONTINUED = re.compile(rb"\\\r?\n")
# What ends in a folder of Windows, C:\scans\, and does not go on in the next line: a comment behind numbers, a name.
_COMMENT_BEHIND = re.compile(rb"^([ \t]*(?:v|vt|vn|f)[ \t][^#\r\n]*)#[^\r\n]*", re.MULTILINE)
_NAME_LIKE_FOLDER = re.compile(rb"^([ \t]*(?!(?:v|vt|vn|f|mtllib)[ \t])[a-zA-Z][^\r\n]*?)\\+(?=\r?\n)", re.MULTILINE)


def obj_statements(content: bytes, word: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """First word and the rest of each line of an OBJ file that has both; lines that go on are one.

    Args:
        content: of the file.
        word: only of lines that hold it, which is faster.
    """
    content = _COMMENT.sub(b"", content.removeprefix(codecs.BOM_UTF8))
    if _CONTINUED.search(content):
        for ending in (_COMMENT_BEHIND, _NAME_LIKE_FOLDER):
            content = ending.sub(rb"\1", content)
        content = _CONTINUED.sub(b" ", content)
    for line in content.splitlines():
        if word in line and len(words := line.split(None, 1)) == 2:
            yield words[0], words[1]


def mtl_statements(content: bytes) -> Iterator[tuple[str, str]]:
    """First word and the rest, which may be empty, of each line of an MTL file; picture names come after ``map_Kd``."""
    for line in content.decode("utf-8-sig", errors="replace").splitlines():
        key, rest = (*line.split(None, 1), "", "")[:2]
        yield ("map_Kd" if key.lower() == "map_kd" else key), rest.strip()


def name_of(rest: bytes) -> str:
    """The name that the rest of a line is."""
    return rest.decode("utf-8", errors="replace").strip()
