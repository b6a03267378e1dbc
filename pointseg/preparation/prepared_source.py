"""Writing a prepared scene, with ``source.json``: what it was made from, and whether all that was written is there."""

import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from pointseg.atomic_directory import atomic_directory
from pointseg.errors import DataError, and_more
from pointseg.scans.prepared import load_source
from pointseg.scans.tree import ANNOTATION, GEOMETRY, SOURCE_NAME, SURFACE

_Counts = dict[str, NonNegativeInt]
_WRITTEN = {SOURCE_NAME, *(f"{name}.npy" for name in (*GEOMETRY, *ANNOTATION, *SURFACE))}


def write_scene(folder: str | os.PathLike[str], arrays: dict[str, np.ndarray], source: dict[str, Any]) -> None:
    """Write a scene folder, whole or not at all: ``<name>.npy`` for each array, and ``source.json``.

    ``source`` is stored with the size and checksum of each array added under ``arrays``.

    Raises:
        OSError: the disk is full or can't be written.
    """
    folder = Path(folder)
    written = {}
    with atomic_directory(folder) as temporary:
        for name, array in arrays.items():
            content = _npy_bytes(array)
            (temporary / f"{name}.npy").write_bytes(content)
            written[name] = {
                "dtype": str(array.dtype),
                "shape": list(array.shape),
                "bytes": len(content),
                "crc32": zlib.crc32(content),
            }
        text = json.dumps({**source, "arrays": written}, indent=1, sort_keys=True)
        (temporary / SOURCE_NAME).write_text(text + "\n", encoding="utf-8")


def refuse_to_replace_other(folder: Path) -> None:
    """Check that what stands where a scene is to go is a scene that a preparation wrote, if anything.

    Raises:
        DataError: it is something else: raw scans, another program's tree, or a scene with a file of somebody in it.
        OSError: it can't be read.
    """
    if not os.path.lexists(folder):
        return
    remedy = "move it away, or choose another --out"
    if folder.is_symlink() or not folder.is_dir():
        raise DataError(f"{folder}: is there already, and is no folder of a prepared scene; {remedy}")
    names = {child.name for child in folder.iterdir() if not child.name.startswith(".")}
    if others := sorted(names - _WRITTEN):
        listed = ", ".join(others[:3]) + and_more(others, 3)
        raise DataError(f"{folder}: is there already and holds what no preparation wrote ({listed}); {remedy}")
    if names and SOURCE_NAME not in names:
        raise DataError(f"{folder}: is there already and has no {SOURCE_NAME}, so another program made it; {remedy}")


class _Part(BaseModel):
    """What a part of ``source.json`` has to be, if it is there; it may hold more."""

    model_config = ConfigDict(strict=True)


class _MadeFrom(_Part):
    version: int = 0
    files: dict[str, list[int]] = {}
    scan: str = ""
    classes: str = ""
    label_map: str | None = None


class _Facts(_Part):
    num_points: NonNegativeInt
    num_objects: NonNegativeInt = 0
    points: _Counts = {}
    points20: _Counts = {}
    points200: _Counts = {}
    objects: _Counts = {}
    objects20: _Counts = {}
    objects200: _Counts = {}
    unknown_ids: _Counts = {}
    unknown_labels: _Counts = {}
    notes: list[str] = []
    doubts: list[str] = []
    parts: list[str] = []
    alignment: str = ""
    labels_from: str | None = None
    label_field: str | None = None


class _Array(_Part):
    bytes: NonNegativeInt
    crc32: NonNegativeInt


class _Source(_Part):
    raw_folder: str
    made_from: _MadeFrom
    facts: _Facts
    arrays: dict[str, _Array]


def read_source(folder: Path) -> dict[str, Any] | None:
    """The ``source.json`` of a scene, with ``raw_folder``, ``made_from``, ``facts`` and ``arrays`` of the right types.

    None where it has none, or one that is damaged: the scene is then made anew.
    """
    source = load_source(folder)
    try:
        facts = _Source.model_validate(source).facts.model_fields_set
    except (ValidationError, RecursionError):
        return None
    counted = {name.removeprefix("points") for name in facts if name.startswith("points")}
    of_objects = {f"objects{suffix}" for suffix in counted} | ({"num_objects"} if counted else set())
    return source if of_objects <= facts else None


def arrays_are_complete(folder: Path, source: dict[str, Any]) -> bool:
    """Whether every array that ``source.json`` names is there in its full size; the content is not read."""
    try:
        return all((folder / f"{name}.npy").stat().st_size == row["bytes"] for name, row in source["arrays"].items())
    except OSError:
        return False


def _npy_bytes(array: np.ndarray) -> memoryview:
    """The bytes of a .npy file. ``numpy.save`` to a file hides that the disk is full: its error has no number."""
    buffer = io.BytesIO()
    npy_format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getbuffer()
