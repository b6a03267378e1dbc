"""S3DIS in its official layout: an area a split, a room a scene, a text file an object."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, regular_file
from pointseg.formats.scan_file import ScanFile
from pointseg.labelled.content import LabelledPoints


def list_splits(library: Any) -> dict[str, list[str]]:
    """Area -> its rooms."""
    return {split.capitalize(): list(ids) for split, ids in library.splits.items()}


def find_files(library: Any, scene: str) -> list[Path]:
    """The objects, whatever their suffix looks like, and the room itself."""
    folder = library.dataset_root / scene
    objects = sorted(path for path in (folder / "Annotations").glob("*.*") if path.suffix.lower() == ".txt")
    return [*objects, folder / f"{folder.name}.txt"]


def find_skipped(library: Any) -> list[str]:
    """A line for each folder that looks like an area or a room, and is read as none."""
    areas = [path for path in sorted(library.dataset_root.iterdir()) if path.is_dir()]
    lines = [
        f"{path}: is read as no area; call it {path.name.capitalize()}"
        for path in areas
        if re.fullmatch("area_[1-6]", path.name.lower()) and not re.fullmatch("Area_[1-6]", path.name)
    ]
    rooms = [room for area in areas if re.fullmatch("Area_[1-6]", area.name) for room in sorted(area.iterdir())]
    return lines + [
        f"{room}: has no folder Annotations, so it is not imported; download the room again"
        for room in rooms
        if room.is_dir() and not room.name.startswith(".") and not (room / "Annotations").is_dir()
    ]


def _refuse_unread_objects(library: Any, scene: str) -> None:
    """Raises: DataError where the library would pass over an object's file, or take it for clutter, by its letters."""
    *objects, _ = find_files(library, scene)
    for path in objects:
        kind = path.stem.rpartition("_")[0] or path.stem
        misread = kind not in library.class_names and kind.lower() in library.class_names
        if misread or path.suffix != ".txt":
            raise DataError(f"{path}: is not read as it is called; call it {path.name.lower()}")


def _describe_missing_points(room: Path, num_points: int) -> list[str]:
    """A line where the objects of a room have fewer points than the room; one of them may be cut off."""
    if not room.is_file():
        return []
    with regular_file(room).open("rb") as file:
        num_rows = sum(not line.isspace() for line in file)
    if num_points >= num_rows:
        return []
    return [
        f"the objects have {num_points:,} points, and {room.name} has {num_rows:,}: if that is more than a few, one "
        "of them is cut off; download the room again"
    ]


def read_points(library: Any, scene: str) -> LabelledPoints:
    """The points of a room. Raises: DataError where an object would be lost, or count as clutter, unnoticed."""
    _refuse_unread_objects(library, scene)
    points = library.get_points(scene)
    folder = library.dataset_root / scene
    notes = _describe_missing_points(folder / f"{folder.name}.txt", len(points.xyz))
    scan = ScanFile(folder, points.xyz, rgb=points.rgb, notes=notes)
    return LabelledPoints(scan, points.semantic_labels.astype(np.int64), points.instance_labels.astype(np.int64))
