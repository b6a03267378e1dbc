"""The prepared tree: scenes as NumPy arrays that load at once.

``ROOT/{train,val,test}/<scene>/{coord,color,normal,segment20,segment200,instance}.npy``, names and dtypes
as Pointcept's preparation writes them (int64 labels), so that either program reads the other's tree. A tree of own
classes has ``ROOT/classes.tsv`` and one ``segment.npy`` a scene, and its splits may have other names. Test
scenes have no segment and instance. ``color``, ``normal`` and ``instance`` may be absent where no scan of the tree has
them. A scene of a mesh has ``over_segment`` (N,) int32, the pieces of its surface that were published with it, or else
``face`` (F, 3) int32, from which they are made where they are asked for. Scenes that we prepared also hold
``source.json``: what they were made from (:mod:`pointseg.preparation.prepared_source`).
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from pointseg.errors import DataError, UsageError, describe_os_error, first_line, regular_file
from pointseg.scans.scene import Scene
from pointseg.scans.tree import (
    ANNOTATION,
    GEOMETRY,
    SEGMENTS,
    SOURCE_NAME,
    describe_missing_split,
    describe_other_table,
    prepare_again,
    prepare_command,
    scene_folders,
)
from pointseg.taxonomy import CLASS_TABLE, IGNORE, Taxonomy, read_class_table

_DTYPES = {"coord": np.float32, "color": np.uint8, "normal": np.float32}


def list_scenes(root: str | os.PathLike[str], split: str | Sequence[str]) -> list[Path]:
    """Folders of the scenes of a split or of several, sorted by name within each.

    Args:
        root: the prepared tree.
        split: a folder below it, such as ``train`` or ``Area_5``, or several.

    Raises:
        UsageError: the tree or a split is not there, or holds no scene, or a split stands twice.
    """
    splits = [split] if isinstance(split, str) else list(split)
    if len(set(splits)) < len(splits) or not splits:
        raise UsageError(f"splits {', '.join(splits) or '(none)'}: give each folder once, and one at least")
    scenes = []
    for name in splits:
        found = scene_folders(root, name)
        if not found:
            raise UsageError(describe_missing_split(Path(root), name))
        scenes += found
    return scenes


def read_scene(folder: str | os.PathLike[str], taxonomy: Taxonomy) -> Scene:
    """Load a prepared scene, with its labels of a taxonomy where it has any.

    A scene in a folder ``train`` or ``val`` must have them; one in another may have none. Labels become int64;
    IGNORE (-1) stays.

    Raises:
        DataError: an array is missing, broken, or of another length, or a label is out of range.
    """
    folder = Path(folder)
    coord = read_array(folder, "coord")
    color, normal = (read_array(folder, part) if has_part(folder, part) else None for part in ("color", "normal"))
    label = instance = None
    if has_annotation(folder):
        label = read_labels(folder, taxonomy)
        if (folder / "instance.npy").exists():
            instance = read_array(folder, "instance")
    try:
        return Scene(name=folder.name, xyz=coord, rgb=color, normal=normal, label=label, instance=instance)
    except DataError as error:
        raise DataError(f"{folder.parent}/{error}") from None


def read_labels(folder: Path, taxonomy: Taxonomy) -> np.ndarray:
    """(N,) int64 labels of a prepared scene, IGNORE = -1.

    Raises:
        DataError: they are missing, broken or of other classes, or one is out of range.
    """
    _refuse_other_segment(folder, taxonomy)
    label = read_array(folder, taxonomy.segment)
    low, high = label.min(initial=IGNORE), label.max(initial=IGNORE)
    if low < IGNORE or high >= taxonomy.num_classes:
        raise DataError(
            f"{folder}/{taxonomy.segment}.npy: labels are {low}..{high}, expected "
            f"{IGNORE}..{taxonomy.num_classes - 1}; {prepare_again(folder)}"
        )
    return label


def check_scenes(folders: Sequence[Path], taxonomy: Taxonomy, features: Sequence[str]) -> None:
    """Look at the heads of all arrays of prepared scenes: what could not be read is found before the work begins.

    Args:
        folders: of the scenes.
        taxonomy: the classes.
        features: inputs of the network: ``xyz``, ``rgb``, ``normal``.

    Raises:
        DataError: a scene has no points, or labels of another table; or an array is missing, truncated, or of another
            length or dtype than it has to be.
    """
    refuse_labels_of_other_classes(folders, taxonomy)
    for folder in folders:
        parts = geometry_parts(folder)
        for part, feature in (("color", "rgb"), ("normal", "normal")):
            if feature in features and part not in parts:
                raise DataError(
                    f"{folder}: has no {part}.npy, and the network takes {feature} as input; add it, or train with "
                    f"data.features without {feature}"
                )
        if has_annotation(folder):
            parts += [taxonomy.segment, *(["instance"] if has_part(folder, "instance") else [])]
        lengths = {part: len(open_array(folder, part, "r")) for part in parts}
        if lengths["coord"] == 0:
            raise DataError(f"{folder}: the scene has no points; take it out of the tree and the lists")
        for part, length in lengths.items():
            if length != lengths["coord"]:
                raise DataError(
                    f"{folder}/{part}.npy: has {length} rows, coord.npy has {lengths['coord']}; {prepare_again(folder)}"
                )


@dataclass(frozen=True)
class LabelsFound:
    """What the labels of several scenes are."""

    num_labelled: int
    """Points that have one."""
    fingerprint: str
    """The same where the scenes have the same names and labels, so that scores on them can be compared."""


def check_labels(folders: Sequence[Path], taxonomy: Taxonomy) -> LabelsFound:
    """Read the labels of prepared scenes that have any, before the work begins.

    Raises:
        DataError: as :func:`read_labels`.
    """
    num_labelled, sha256 = 0, hashlib.sha256()
    for folder in folders:
        sha256.update(f"{folder.name}\n".encode(errors="surrogateescape"))
        if has_annotation(folder):
            label = read_labels(folder, taxonomy)
            num_labelled += int((label != IGNORE).sum())
            sha256.update(np.ascontiguousarray(label).data)
    return LabelsFound(num_labelled, sha256.hexdigest())


def _refuse_other_segment(folder: Path, taxonomy: Taxonomy) -> None:
    """Raises: DataError where a scene has labels, but not of these classes: to make it again would not help."""
    there = [segment for segment in SEGMENTS if (folder / f"{segment}.npy").exists()]
    if taxonomy.is_benchmark and there == ["segment"]:
        table = folder.parent.parent / CLASS_TABLE
        naming = "" if table.is_file() else f"name them in {table} and "
        raise DataError(
            f"{folder}: has labels of own classes, not of {taxonomy.name}; {naming}train with taxonomy=tree"
        )
    if not taxonomy.is_benchmark and there and "segment" not in there:
        raise DataError(f"{folder}: has labels of ScanNet's classes, not of {taxonomy.name}; choose another tree")


def has_annotation(folder: Path) -> bool:
    """Whether a scene has, or has to have, labels."""
    return folder.parent.name in ("train", "val") or any((folder / f"{segment}.npy").exists() for segment in SEGMENTS)


def refuse_scenes_without_labels(folders: list[Path]) -> None:
    """Raises: UsageError where a prepared scene has nothing to evaluate against."""
    for folder in folders:
        if not has_annotation(folder):
            raise UsageError(f"{folder}: has no labels to evaluate against; evaluate another split, or use predict")


def refuse_labels_of_other_classes(folders: Sequence[Path], taxonomy: Taxonomy) -> None:
    """Refuse scenes whose labels are rows of another table than the one in use: each would be another class.

    Raises:
        DataError: a scene has labels of own classes and not of the benchmark, or the other way round; or it was made
            with another table, by its ``source.json`` or the tree's ``classes.tsv``.
    """
    for folder in folders:
        _refuse_other_segment(folder, taxonomy)
    if taxonomy.is_benchmark:
        return
    of_root: dict[Path, str | None] = {}
    for folder in folders:
        made_from = (load_source(folder) or {}).get("made_from")
        made_with = made_from.get("classes") if isinstance(made_from, dict) else None
        if made_with is None:
            root = folder.parent.parent
            if root not in of_root:
                table = root / CLASS_TABLE
                of_root[root] = read_class_table(table).ids_fingerprint if table.is_file() else None
            made_with = of_root[root]
        if made_with not in (None, *taxonomy.fingerprints):
            raise DataError(f"{folder}: {_describe_other_labels(folder.parent.parent, taxonomy)}")


def _describe_other_labels(root: Path, taxonomy: Taxonomy) -> str:
    table = root / CLASS_TABLE
    if table.is_file() and read_class_table(table).ids_fingerprint == taxonomy.ids_fingerprint:
        return describe_other_table("table of classes", table, prepare_command(root))
    return (
        f"its labels are of another table of classes than this one ({taxonomy.name}); choose that of its tree (in "
        "training: taxonomy=tree), or make the scene with this one by pointseg import --classes"
    )


def has_part(folder: Path, part: str) -> bool:
    """Whether a scene has, or has to have, ``color``, ``normal`` or ``instance``: a tree may be without.

    A scene that we prepared has to have what it had then.
    """
    if (folder / f"{part}.npy").exists():
        return True
    try:
        status = (folder / SOURCE_NAME).stat()
    except OSError:
        return False
    return part in _written_parts(folder, (status.st_ino, status.st_mtime_ns))


@cache
def _written_parts(folder: Path, version: tuple[int, int]) -> frozenset[str]:
    """Names in ``source.json``. Kept, since training asks for each sample of a tree without colours or normals.

    Args:
        folder: of the scene.
        version: number and time of the file, so that that of a scene that is made anew is read anew.
    """
    arrays = (load_source(folder) or {}).get("arrays")
    return frozenset(arrays) if isinstance(arrays, dict) else frozenset()


def load_source(folder: Path) -> dict[str, Any] | None:
    """The object in the ``source.json`` of a scene, whatever it has; None where there is none that can be read."""
    try:
        source = json.loads(regular_file(folder / SOURCE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return source if isinstance(source, dict) else None


def geometry_parts(folder: Path) -> list[str]:
    """Which of ``GEOMETRY`` a scene has, or has to have."""
    return [part for part in GEOMETRY if part == "coord" or has_part(folder, part)]


def geometry_files(folder: Path) -> list[Path]:
    """The files of a scene that a prediction is made from."""
    return [folder / f"{part}.npy" for part in geometry_parts(folder)]


def read_array(folder: Path, part: str) -> np.ndarray:
    """One array of a prepared scene: geometry in the dtype of the tree, all else int64; annotation as (N,).

    Raises:
        DataError: the file is missing, truncated, can't be read or is no array, or its shape or dtype can't be what
            it should.
    """
    dtype = _DTYPES.get(part, np.int64)
    return open_array(folder, part).astype(dtype, copy=False)


def open_array(folder: Path, part: str, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array as it is in the file, annotation as (N,). Arguments and errors as :func:`read_array`.

    Args:
        folder: of the scene.
        part: name of the array.
        mmap_mode: ``r``: only its head is read.
    """
    path = folder / f"{part}.npy"
    array = load_array(path, lambda: prepare_again(folder), mmap_mode)
    if part in (*ANNOTATION, "over_segment"):
        # Some published trees hold columns (N, 1), and any integer type.
        if np.issubdtype(array.dtype, np.integer) and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        fits = np.issubdtype(array.dtype, np.integer) and array.ndim == 1
        expected = "integers (N,)"
    else:
        kind = {"face": np.integer, "color": np.uint8}.get(part, np.floating)
        fits = np.issubdtype(array.dtype, kind) and array.ndim == 2 and array.shape[1] == 3
        expected = "integers (F, 3)" if part == "face" else f"{np.dtype(_DTYPES[part])} (N, 3)"
    if not fits:
        raise DataError(f"{path}: is {array.dtype} {array.shape}, expected {expected}; {prepare_again(folder)}")
    return array


def load_array(path: Path, describe_remedy: Callable[[], str], mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array in a ``.npy`` file, of any shape and dtype but objects.

    Args:
        path: of the file.
        describe_remedy: what to do if it is bad, asked for only then.
        mmap_mode: of ``numpy.load``; ``r``: only the head is read, and whether the file is as long as it says.

    Raises:
        DataError: the file is missing, truncated, can't be read, no file or no array.
    """
    regular_file(path)
    try:
        with open(path, "rb") as file:
            _refuse_more_than_there_is(file)
            if mmap_mode is not None:
                array: np.ndarray = np.load(path, mmap_mode, allow_pickle=False)
            else:
                array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: is missing; {describe_remedy()}") from None
    except OSError as error:
        raise DataError(describe_os_error(error, describe_remedy())) from None
    except Exception as error:
        # NumPy reads the header as Python: what a damaged one raises can be anything, a MemoryError among it.
        raise DataError(f"{path}: is truncated or no array ({first_line(error)}); {describe_remedy()}") from None
    return array


def _refuse_more_than_there_is(file: BinaryIO) -> None:
    """Raises: ValueError where the header announces more than the file has: NumPy would ask for memory for it first."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    there = os.fstat(file.fileno()).st_size - file.tell()
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize > there:
        raise ValueError(f"it announces {dtype} {shape}, and has {there} bytes")
    file.seek(0)
