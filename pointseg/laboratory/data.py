"""The rooms that all methods share: demo scans of the law ``longtail``, prepared, the test rooms with labels."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointseg.atomic import write_text
from pointseg.errors import DataError, UsageError
from pointseg.folder_lock import hold_folder
from pointseg.preparation.jobs import prepare_scenes
from pointseg.preparation.prepared_source import read_source
from pointseg.preparation.tree_report import write_report
from pointseg.rooms import write_demo_scans
from pointseg.scannet.preparation import RawSceneJob
from pointseg.scannet.raw_scan import LABEL_MAP_NAME, read_label_map, scan_folder
from pointseg.scannet.report import build_report
from pointseg.scannet.splits import read_split
from pointseg.scans.prepared import list_scenes
from pointseg.scans.scene_segments import surface_files
from pointseg.scans.tree import SPLITS, SURFACE, scene_folders

SETTINGS_NAME = "rooms.json"
LAW = "longtail"
SEED = 0
"""Of the rooms. They are the same whatever the seed of a run: what differs between seeds is the training."""


@dataclass(frozen=True)
class Rooms:
    """A prepared tree whose ``train``, ``val`` and ``test`` all have labels."""

    root: Path
    num_scenes: Mapping[str, int]
    num_vertices: int
    fingerprint: str
    """Changes when any array of any scene does that a network learns from."""


def make_rooms(
    folder: Path,
    num_scenes: Mapping[str, int],
    num_vertices: int,
    workers: int | None = None,
    needs_segments: bool = False,
) -> Rooms:
    """Make and prepare the rooms in ``folder``, or what is missing of them.

    Demo scans of the test split have no labels, as in the benchmark. Here val and test are both made of the split
    ``val``: its first rooms are val, those after them test.

    Args:
        folder: gets ``raw/``, ``prepared/`` and ``rooms.json``.
        num_scenes: of train, val and test, each at least 1.
        num_vertices: of a room, about.
        workers: number of processes; None takes one a core.
        needs_segments: whether methods vote in over-segments: rooms that were made without them are prepared again.

    Raises:
        UsageError: a number is out of range, or the folder holds other rooms.
        DataError: a room can't be prepared.
    """
    for split in SPLITS:
        if num_scenes[split] < 1:
            raise UsageError(f"--rooms: {num_scenes[split]} {split} rooms; there must be at least one of each split")
    # Another laboratory may want the same rooms: the second finds them done.
    with hold_folder(folder, "makes rooms", "choose another --data", wait=True):
        fingerprint = _complete_rooms(folder, num_scenes, num_vertices, workers, needs_segments)
    return Rooms(folder / "prepared", dict(num_scenes), num_vertices, fingerprint)


def prepare_rooms(raw: Path, root: Path, num_val: int, workers: int | None) -> None:
    """Prepare all scans of ``raw``, with labels; those of its split ``val`` after the first ``num_val`` as ``test``."""
    val_and_test = read_split(raw / "splits", "val")
    lists = {
        "train": read_split(raw / "splits", "train"),
        "val": val_and_test[:num_val],
        "test": val_and_test[num_val:],
    }
    categories = read_label_map(raw / LABEL_MAP_NAME)
    jobs = [
        RawSceneJob(scan_folder(raw, scene, "val" if split == "test" else split), root / split / scene, categories)
        for split in SPLITS
        for scene in lists[split]
    ]
    _, failures = prepare_scenes(jobs, workers)
    if failures:
        first = next(iter(failures.values()))
        raise DataError(f"{first.reason} ({len(failures)} of {len(jobs)} rooms failed)")
    report = build_report(
        root,
        lists=lists,
        scans_of_split={split: set(scenes) for split, scenes in lists.items()},
        failures={},
        settings={"raw": str(raw), "law": LAW},
        classes_without_category=categories.classes_without_category,
    )
    write_report(root, report)


def fingerprint_tree(root: Path) -> str:
    """A hash over the checksums of all arrays of a prepared tree that a network learns from.

    Segments are made of the same raw scans: rooms of before there were any are the same rooms.
    """
    arrays = {
        f"{split}/{folder.name}": _without_surface((read_source(folder) or {}).get("arrays"))
        for split in SPLITS
        for folder in list_scenes(root, split)
    }
    return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode()).hexdigest()[:16]


def _without_surface(arrays: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if arrays is None else {name: row for name, row in arrays.items() if name not in SURFACE}


def _complete_rooms(
    folder: Path, num_scenes: Mapping[str, int], num_vertices: int, workers: int | None, needs_segments: bool
) -> str:
    """Make what is missing, and return the fingerprint."""
    asked = {"law": LAW, "seed": SEED, "vertices": num_vertices, **{s: num_scenes[s] for s in SPLITS}}
    path, root = folder / SETTINGS_NAME, folder / "prepared"
    fingerprint = _read_settings(path, asked)
    scenes = {split: scene_folders(root, split) for split in SPLITS}
    is_complete = fingerprint is not None and all(len(scenes[split]) == num_scenes[split] for split in SPLITS)
    if is_complete and needs_segments:
        is_complete = all(surface_files(scene) for of_split in scenes.values() for scene in of_split)
    if fingerprint is not None and is_complete:
        return fingerprint
    # Claimed before the first room: a folder that is cut off in between is known for what it is to become.
    write_text(path, json.dumps({**asked, "fingerprint": None}, indent=1) + "\n")
    raw_scenes = {"train": num_scenes["train"], "val": num_scenes["val"] + num_scenes["test"], "test": 0}
    write_demo_scans(folder / "raw", raw_scenes, SEED, num_vertices, workers, LAW)
    prepare_rooms(folder / "raw", root, num_scenes["val"], workers)
    fingerprint = fingerprint_tree(root)
    write_text(path, json.dumps({**asked, "fingerprint": fingerprint}, indent=1) + "\n")
    return fingerprint


def _read_settings(path: Path, asked: Mapping[str, Any]) -> str | None:
    """The fingerprint of the rooms that ``path`` tells of; None where they are not complete."""
    if not path.is_file():
        return None
    try:
        existing = json.loads(path.read_text(encoding="utf-8"))
        fingerprint: str | None = existing.pop("fingerprint")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{path}: can't be read; delete its folder or choose another by --data") from None
    if existing != asked:
        other = next(key for key in asked if existing.get(key) != asked[key])
        raise UsageError(
            f"{path.parent}: holds rooms of other settings ({other} {existing.get(other)}, asked for {asked[other]}); "
            "choose another folder by --data or --out, or delete it"
        )
    return fingerprint
