"""The names in a prepared tree, what is there, and how to make again what is not."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pointseg.commands import called

SPLITS = ("train", "val", "test")
REPORT_NAME = "preprocess_report.json"
SOURCE_NAME = "source.json"
GEOMETRY = ("coord", "color", "normal")
SEGMENTS = ("segment", "segment20", "segment200")
"""Arrays of labels: of own classes (``classes.tsv``), and of the benchmarks'."""
ANNOTATION = (*SEGMENTS, "instance")


def scene_folders(root: str | os.PathLike[str], split: str) -> list[Path]:
    """As :func:`list_scenes`, but an empty list where there is none. Hidden folders (unfinished writes) don't count."""
    folder = Path(root) / split
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def name_splits(split: str | Sequence[str]) -> str:
    """What to call a split, or several together."""
    return split if isinstance(split, str) else " + ".join(split)


def describe_missing_split(root: Path, split: str) -> str:
    """Why a split has no scenes, and what to do."""
    if not root.is_dir():
        return f"{root}: there is no such folder; prepare scans with: {prepare_command(root)}"
    others = sorted(child.name for child in root.iterdir() if child.is_dir() and scene_folders(root, child.name))
    if others:
        return f"{root}: has no {split} scenes; it has the folders {', '.join(others)}: choose one of them"
    return f"{root}: has no {split} scenes; prepare them with: {prepare_command(root)}"


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
    """The remedy for a damaged scene; one that has nothing of ours in it may be a raw scan, and is to be kept."""
    ours = (SOURCE_NAME, *(f"{part}.npy" for part in (*GEOMETRY, *ANNOTATION)))
    if not any((folder / name).is_file() for name in ours):
        return f"is this a folder of the prepared tree? make one with {called('prepare')}"
    return f"delete {folder} and run: {prepare_command(folder.parent.parent)}"
