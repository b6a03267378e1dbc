"""The prepared tree: scenes as NumPy arrays that load at once.

``ROOT/{train,val,test}/<scene>/{coord,color,normal,segment20,segment200,instance}.npy``, names and dtypes
as Pointcept's preparation writes them (int64 labels), so that either program reads the other's tree. Test
scenes have no segment and instance. ``color``, ``normal`` and ``instance`` may be absent where no scan of the tree has
them. Scenes that we prepared also hold ``source.json``: what they were made from.
"""

import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from pointseg.atomic import atomic_directory
from pointseg.command_line import called, describe_os_error
from pointseg.errors import DataError, UsageError
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE, load_taxonomy

SPLITS = ("train", "val", "test")
REPORT_NAME = "preprocess_report.json"
SOURCE_NAME = "source.json"
SEGMENT_OF_TAXONOMY = {"scannet200": "segment200", "scannet20": "segment20"}
GEOMETRY = ("coord", "color", "normal")
ANNOTATION = ("segment20", "segment200", "instance")
_DTYPES = {"coord": np.float32, "color": np.uint8, "normal": np.float32}


def list_scenes(root: str | os.PathLike[str], split: str) -> list[Path]:
    """Folders of the scenes of a split, sorted by name.

    Raises:
        UsageError: the tree or the split is not there, or holds no scene.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is not known; choose one of {', '.join(SPLITS)}")
    scenes = scene_folders(root, split)
    if not scenes:
        what = f"has no {split} scenes" if Path(root).is_dir() else "there is no such folder"
        raise UsageError(f"{root}: {what}; prepare them with: {prepare_command(root)}")
    return scenes


def scene_folders(root: str | os.PathLike[str], split: str) -> list[Path]:
    """As :func:`list_scenes`, but an empty list where there is none. Hidden folders (unfinished writes) don't count."""
    folder = Path(root) / split
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def read_scene(folder: str | os.PathLike[str], taxonomy_name: str) -> Scene:
    """Load a prepared scene, with the labels of ``scannet200`` or ``scannet20`` where it has any.

    A scene in a ``test`` folder, or in no split folder at all, may have no labels; one in ``train``
    or ``val`` must have them. Labels become int64; IGNORE (-1) stays.

    Raises:
        DataError: an array is missing, broken, or of another length, or a label is out of range.
        UsageError: the taxonomy is not known.
    """
    folder = Path(folder)
    taxonomy = load_taxonomy(taxonomy_name)
    segment = SEGMENT_OF_TAXONOMY[taxonomy_name]
    coord = read_array(folder, "coord")
    color, normal = (read_array(folder, part) if has_part(folder, part) else None for part in ("color", "normal"))
    label = instance = None
    if has_annotation(folder):
        label = read_array(folder, segment)
        low, high = label.min(initial=IGNORE), label.max(initial=IGNORE)
        if low < IGNORE or high >= taxonomy.num_classes:
            raise DataError(
                f"{folder}/{segment}.npy: labels are {low}..{high}, expected {IGNORE}..{taxonomy.num_classes - 1}; "
                f"{prepare_again(folder)}"
            )
        if (folder / "instance.npy").exists():
            instance = read_array(folder, "instance")
    try:
        return Scene(name=folder.name, xyz=coord, rgb=color, normal=normal, label=label, instance=instance)
    except DataError as error:
        raise DataError(f"{folder.parent}/{error}") from None


def has_annotation(folder: Path) -> bool:
    """Whether a scene has, or has to have, labels."""
    return folder.parent.name in ("train", "val") or any((folder / f"segment{k}.npy").exists() for k in (20, 200))


def has_part(folder: Path, part: str) -> bool:
    """Whether a scene has, or has to have, ``color``, ``normal`` or ``instance``: a tree may be without.

    A scene that we prepared has to have what it had then.
    """
    if (folder / f"{part}.npy").exists():
        return True
    try:
        return part in json.loads((folder / SOURCE_NAME).read_text(encoding="utf-8"))["arrays"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def geometry_files(folder: Path) -> list[Path]:
    """The files of a scene that a prediction is made from."""
    return [folder / f"{part}.npy" for part in GEOMETRY if part == "coord" or has_part(folder, part)]


def read_array(folder: Path, part: str) -> np.ndarray:
    """One array of a prepared scene: geometry in the dtype of the tree, annotation as (N,) int64.

    Raises:
        DataError: the file is missing, truncated, can't be read or is no array, or its shape or dtype can't be what
            it should.
    """
    path = folder / f"{part}.npy"
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: is missing; {prepare_again(folder)}") from None
    except OSError as error:
        raise DataError(f"{describe_os_error(error)}; {prepare_again(folder)}") from None
    except Exception as error:
        # NumPy reads the header as Python: what a damaged one raises can be anything, a MemoryError among it.
        reason = str(error).splitlines()[0] if str(error) else "empty file"
        raise DataError(f"{path}: is truncated or no array ({reason}); {prepare_again(folder)}") from None
    if part in ANNOTATION:
        # Some published trees hold columns (N, 1), and any integer type.
        if np.issubdtype(array.dtype, np.integer) and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        fits = np.issubdtype(array.dtype, np.integer) and array.ndim == 1
        dtype: type = np.int64
        expected = "integers (N,)"
    else:
        dtype = _DTYPES[part]
        kind = np.floating if dtype is np.float32 else np.uint8
        fits = np.issubdtype(array.dtype, kind) and array.ndim == 2 and array.shape[1] == 3
        expected = f"{np.dtype(dtype)} (N, 3)"
    if not fits:
        raise DataError(f"{path}: is {array.dtype} {array.shape}, expected {expected}; {prepare_again(folder)}")
    return array.astype(dtype, copy=False)


def prepare_command(root: str | os.PathLike[str]) -> str:
    """The command that prepares the tree at ``root``, with the options in its report; RAW if it has none."""
    options = ["--raw", "RAW"]
    try:
        report = json.loads((Path(root) / REPORT_NAME).read_text(encoding="utf-8"))
        options = [str(word) for word in report["settings"]["command_options"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return called("prepare", *options, "--out", str(root))


def prepare_again(folder: Path) -> str:
    """The remedy for a damaged scene. Only what we made ourselves can be made again, and so be deleted.

    A folder without any array may be a raw scan; one without ``source.json`` came from another program.
    """
    ours = (SOURCE_NAME, *(f"{part}.npy" for part in (*GEOMETRY, *ANNOTATION)))
    if not any((folder / name).is_file() for name in ours):
        return f"is this a folder of the prepared tree? make one with {called('prepare')}"
    if not (folder / SOURCE_NAME).is_file():
        return "the scene is not of pointseg's making; get the file again from where it came"
    return f"delete {folder} and run: {prepare_command(folder.parent.parent)}"


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


def read_source(folder: Path) -> dict[str, Any] | None:
    """The ``source.json`` of a scene; None where it has none, or none that can be read."""
    try:
        source = json.loads((folder / SOURCE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(source, dict) or not {"arrays", "facts", "made_from", "raw_folder"} <= source.keys():
        return None
    facts = source["facts"]
    return source if isinstance(facts, dict) and {"num_points", "alignment"} <= facts.keys() else None


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
