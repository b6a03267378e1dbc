"""The prepared tree: scenes as NumPy arrays that load at once.

``ROOT/{train,val,test}/<scene>/{coord,color,normal,segment20,segment200,instance}.npy``, names and dtypes
as Pointcept's preparation writes them (int64 labels), so that either program reads the other's tree. A tree of own
classes has ``ROOT/classes.tsv`` and one ``segment.npy`` a scene, and its splits may have other names. Test
scenes have no segment and instance. ``color``, ``normal`` and ``instance`` may be absent where no scan of the tree has
them. Scenes that we prepared also hold ``source.json``: what they were made from
(:mod:`pointseg.scans.prepared_source`).
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.command_line import describe_os_error
from pointseg.commands import COMMANDS, called
from pointseg.errors import DataError, UsageError
from pointseg.scans.scene import Scene
from pointseg.taxonomy import CLASS_TABLE, IGNORE, Taxonomy

SPLITS = ("train", "val", "test")
REPORT_NAME = "preprocess_report.json"
SOURCE_NAME = "source.json"
GEOMETRY = ("coord", "color", "normal")
SEGMENTS = ("segment", "segment20", "segment200")
"""Arrays of labels: of own classes (``classes.tsv``), and of the benchmarks'."""
ANNOTATION = (*SEGMENTS, "instance")
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
            raise UsageError(_describe_missing_split(Path(root), name))
        scenes += found
    return scenes


def name_splits(split: str | Sequence[str]) -> str:
    """What to call a split, or several together."""
    return split if isinstance(split, str) else " + ".join(split)


def _describe_missing_split(root: Path, split: str) -> str:
    if not root.is_dir():
        return f"{root}: there is no such folder; prepare scans with: {prepare_command(root)}"
    others = sorted(child.name for child in root.iterdir() if child.is_dir() and scene_folders(root, child.name))
    if others:
        return f"{root}: has no {split} scenes; it has the folders {', '.join(others)}: choose one of them"
    return f"{root}: has no {split} scenes; prepare them with: {prepare_command(root)}"


def scene_folders(root: str | os.PathLike[str], split: str) -> list[Path]:
    """As :func:`list_scenes`, but an empty list where there is none. Hidden folders (unfinished writes) don't count."""
    folder = Path(root) / split
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def find_splits(root: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the folders of scenes below a prepared tree: train, val and test first, then others by name.

    Other folders count where one of their scenes has a ``coord.npy``, as ``Area_1`` of S3DIS.
    """
    root = Path(root)
    others = sorted(
        child.name
        for child in (root.iterdir() if root.is_dir() else ())
        if child.name not in SPLITS
        and not child.name.startswith(".")
        and any((folder / "coord.npy").exists() for folder in scene_folders(root, child.name))
    )
    known = SPLITS if not others or any(scene_folders(root, split) for split in SPLITS) else ()
    return (*known, *others)


def read_scene(folder: str | os.PathLike[str], taxonomy: Taxonomy) -> Scene:
    """Load a prepared scene, with its labels of a taxonomy where it has any.

    A scene in a folder ``train`` or ``val`` must have them; one in another may have none. Labels become int64;
    IGNORE (-1) stays.

    Raises:
        DataError: an array is missing, broken, or of another length, or a label is out of range.
    """
    folder = Path(folder)
    segment = taxonomy.segment
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
    return folder.parent.name in ("train", "val") or any((folder / f"{segment}.npy").exists() for segment in SEGMENTS)


def refuse_scenes_without_labels(folders: list[Path]) -> None:
    """Raises: UsageError where a prepared scene has nothing to evaluate against."""
    for folder in folders:
        if not has_annotation(folder):
            raise UsageError(f"{folder}: has no labels to evaluate against; evaluate another split, or use predict")


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
    """The command that makes the tree at ``root``, with the options in its report; RAW or SCANS if it has none."""
    own = (Path(root) / CLASS_TABLE).is_file()
    command, options = ("import", ["SCANS"]) if own else ("prepare", ["--raw", "RAW"])
    try:
        settings = json.loads((Path(root) / REPORT_NAME).read_text(encoding="utf-8"))["settings"]
        options = [str(word) for word in settings["command_options"]]
        command = str(settings.get("command", command))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return called(command if command in COMMANDS else "prepare", *options, "--out", str(root))


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
