"""The files that a scan names and is read with: materials and pictures of an OBJ file, data and pictures of a glTF."""

import json
from pathlib import Path
from urllib.parse import unquote

from pointseg.errors import regular_file
from pointseg.formats.obj_lines import mtl_statements, name_of, obj_statements


def companion_files(path: Path) -> list[Path]:
    """The files besides itself that a scan's coordinates and colours come from, those that are there.

    Who keeps what was made of a scan has to make it anew when one of them changes. What can't be read names none.
    """
    try:
        if path.suffix.lower() == ".obj":
            return _companions_of_obj(path)
        if path.suffix.lower() == ".gltf":
            header = json.loads(regular_file(path).read_bytes())
            names = [row.get("uri", "") for part in ("buffers", "images") for row in header.get(part, [])]
            files = [path.parent / unquote(name) for name in names if name and not name.startswith("data:")]
            return [file for file in files if file.is_file()]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        pass
    return []


def find_libraries(folder: Path, text: str) -> dict[str, Path | None]:
    """The MTL files that a ``mtllib`` line names, None for those that are not there.

    The format has a list of names, and exporters write one with spaces in it: it is a list where every word ends as
    the name of an MTL file, unless a file is called so.
    """
    words = text.split()
    is_list = all(word.strip('"').lower().endswith(".mtl") for word in words)
    if is_list and not _is_file(folder / _local(text)):
        return {word: find_beside(folder, word) for word in words}
    return {text: find_beside(folder, text)}


def find_beside(folder: Path, name: str) -> Path | None:
    """The file of a name as in an OBJ or MTL file, which may hold the path of another machine."""
    name = _local(name)
    candidates = (folder / name, folder / name.rsplit("/", 1)[-1])
    return next((candidate for candidate in candidates if _is_file(candidate)), None)


def find_picture(folder: Path, text: str) -> Path | None:
    """The file of a picture as an MTL file names it: after options (-s 1 1 1, -clamp on); both may have spaces."""
    words = text.split()
    places = (find_beside(folder, name) for name in (text, *(" ".join(words[i:]) for i in range(1, len(words)))))
    return next((place for place in places if place is not None), None)


def _companions_of_obj(path: Path) -> list[Path]:
    libraries, pictures = [], []
    for key, rest in obj_statements(regular_file(path).read_bytes(), b"mtllib"):
        if key == b"mtllib":
            libraries += [file for file in find_libraries(path.parent, name_of(rest)).values() if file is not None]
    for library in libraries:
        for word, text in mtl_statements(library.read_bytes()):
            if word == "map_Kd" and (picture := find_picture(library.parent, text)) is not None:
                pictures.append(picture)
    return libraries + pictures


def _local(name: str) -> str:
    return name.strip('"').replace("\\", "/")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError, RecursionError):
        return False
