"""The names in a prepared tree, what is there, and how to make again what is not."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointseg.commands import COMMANDS, called
from pointseg.errors import regular_file
from pointseg.taxonomy import CLASS_TABLE

SPLITS = ("train", "val", "test")
REPORT_NAME = "preprocess_report.json"
SOURCE_NAME = "source.json"
GEOMETRY = ("coord", "color", "normal")
SEGMENTS = ("segment", "segment20", "segment200")
"""Arrays of labels: of own classes (``classes.tsv``), and of the benchmarks'."""
ANNOTATION = (*SEGMENTS, "instance")
SURFACE = ("over_segment", "face")
"""What a scene may have that says which of its points hang together; one of them is enough."""


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


def name_splits(split: str | Sequence[str]) -> str:
    """What to call a split, or several together."""
    return split if isinstance(split, str) else " + ".join(split)


def describe_missing_split(root: Path, split: str) -> str:
    """Why a split has no scenes, and what to do."""
    if not root.is_dir():
        return f"{root}: there is no such folder; prepare scans with: {prepare_command(root)}"
    others = [name for name in find_splits(root) if scene_folders(root, name)]
    if others:
        return f"{root}: has no {split} scenes; it has the folders {', '.join(others)}: choose one of them"
    return f"{root}: has no {split} scenes; prepare them with: {prepare_command(root)}"


def prepare_command(root: str | os.PathLike[str]) -> str:
    """The command that makes the tree at ``root``, with the options in its report; RAW or SCANS if it has none."""
    own = (Path(root) / CLASS_TABLE).is_file()
    command, options = ("import", ["SCANS"]) if own else ("prepare", ["--raw", "RAW"])
    settings = read_settings(root)
    if isinstance(words := settings.get("command_options"), list):
        options = [str(word) for word in words]
        command = str(settings.get("command", command))
    return called(command if command in COMMANDS else "prepare", *options, "--out", str(root))


def describe_other_table(kind: str, table: Path, command: str) -> str:
    """Why a scene does not go with a table that was changed after it was made, and what to do.

    Args:
        kind: what to call the table: ``label map``.
        table: its path.
        command: that makes the scene anew.
    """
    return f"was made with another {kind} than {table} is now; run: {command}"


def read_settings(root: str | os.PathLike[str]) -> dict[str, Any]:
    """What the tree at ``root`` was made with, by its report; empty where it has none that can be read."""
    try:
        settings = json.loads(regular_file(Path(root) / REPORT_NAME).read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


def describe_scans_at(place: Path, root: str | os.PathLike[str]) -> str | None:
    """What scans there are at a place where something else is to be written; None: none are known.

    Args:
        place: a folder, which need not be there.
        root: a prepared tree; others are known by their report.
    """
    place = place.resolve()
    reported = [folder for folder in (place, *place.parents) if (folder / REPORT_NAME).is_file()]
    for tree in (Path(root).resolve(), *reported):
        if place == tree:
            return "is a prepared tree"
        if place.is_relative_to(tree) and place.relative_to(tree).parts[0] in {"splits", *SPLITS, *find_splits(tree)}:
            return f"lies among the scenes of the prepared tree {tree}"
    words = read_settings(root).get("command_options")
    sources = [Path(str(word)) for word in words] if isinstance(words, list) else []
    if any(source.is_dir() and source.resolve() == place for source in sources):
        return f"is a folder of scans that {root} was made of"
    return None


def describe_absent_scenes(root: str | os.PathLike[str], *wanted: str | Sequence[str] | None) -> str | None:
    """A line on the scenes that the tree's report calls failed or pending and that are not there; None: none.

    Args:
        root: the prepared tree.
        wanted: splits whose scenes are to be used, each one or several; None: none.
    """
    names = [[split] if isinstance(split, str) else split for split in wanted if split]
    splits = list(dict.fromkeys(name for several in names for name in several))
    absent = []
    try:
        report = json.loads(regular_file(Path(root) / REPORT_NAME).read_text(encoding="utf-8"))
        for key, why in (("failed", "failed in the preparation"), ("pending", "is not prepared yet")):
            absent += [(f"{row['split']}/{row['scene']}", why) for row in report.get(key, ()) if row["split"] in splits]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    absent = [(name, why) for name, why in absent if not (Path(root) / name).is_dir()]
    if not absent:
        return None
    there = sum(len(scene_folders(root, split)) for split in splits)
    name, why = absent[0]
    others = f", as {len(absent) - 1} more" if absent[1:] else ""
    return (
        f"{root}: {name} {why}{others}: {there} of {there + len(absent)} scenes of {' + '.join(splits)} are there; "
        f"see what is missing with: {called('check', str(root))}"
    )


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
