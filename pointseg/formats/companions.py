"""The files that a scan names and is read with: materials and pictures of an OBJ file, data and pictures of a glTF."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from pointseg.errors import regular_file

_LIBRARY = re.compile(rb"^[ \t]*mtllib[ \t]+([^\r\n]+)", re.MULTILINE)
_PICTURE = re.compile(rb"^[ \t]*map_kd[ \t]+([^\r\n]+)", re.MULTILINE | re.IGNORECASE)


def companion_files(path: Path) -> list[Path]:
    """The files besides itself that a scan's coordinates and colours come from, those that are there.

    Who keeps what was made of a scan has to make it anew when one of them changes. What can't be read names none.
    """
    try:
        if path.suffix.lower() == ".obj":
            libraries = _find_named(path.parent, _LIBRARY, regular_file(path).read_bytes(), find_beside)
            pictures = [_find_named(file.parent, _PICTURE, file.read_bytes(), find_picture) for file in libraries]
            return libraries + [file for found in pictures for file in found]
        if path.suffix.lower() == ".gltf":
            header = json.loads(regular_file(path).read_bytes())
            names = [row.get("uri", "") for part in ("buffers", "images") for row in header.get(part, [])]
            files = [path.parent / unquote(name) for name in names if name and not name.startswith("data:")]
            return [file for file in files if file.is_file()]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        pass
    return []


def find_beside(folder: Path, name: str) -> Path | None:
    """The file of a name as in an OBJ or MTL file, which may hold the path of another machine."""
    name = name.strip('"').replace("\\", "/")
    for candidate in (folder / name, folder / name.rsplit("/", 1)[-1]):
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError, RecursionError):
            continue
    return None


def find_picture(folder: Path, text: str) -> Path | None:
    """The file of a picture as an MTL file names it: after options (-s 1 1 1, -clamp on); both may have spaces."""
    words = text.split()
    places = (find_beside(folder, name) for name in (text, *(" ".join(words[i:]) for i in range(1, len(words)))))
    return next((place for place in places if place is not None), None)


def _find_named(
    folder: Path, line: re.Pattern[bytes], content: bytes, find: Callable[[Path, str], Path | None]
) -> list[Path]:
    found = [find(folder, name.decode("utf-8", errors="replace").strip()) for name in line.findall(content)]
    return [file for file in found if file is not None]
