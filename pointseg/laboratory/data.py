"""The rooms that all methods share: demo scans of one frequency law, prepared, the test rooms with labels."""

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
from pointseg.rooms import FREQUENCY_LAWS, MAX_SCENES, VERTICES_RANGE, write_demo_scans
from pointseg.scannet.preparation import RawSceneJob
from pointseg.scannet.raw_scan import LABEL_MAP_NAME, read_label_map, scan_folder
from pointseg.scannet.report import build_report
from pointseg.scannet.splits import read_split
from pointseg.scans.prepared import list_scenes
from pointseg.scans.scene_segments import surface_files
from pointseg.scans.tree import SPLITS, SURFACE, scene_folders

SETTINGS_NAME = "rooms.json"
SEED = 0
"""Of the rooms. They are the same whatever the seed of a run: what differs between seeds is the training."""


@dataclass(frozen=True)
class RoomSettings:
    """What rooms are asked for.

    Raises:
        UsageError: a number is out of range, or there is no such law.
    """

    law: str
    """One of ``pointseg.rooms.FREQUENCY_LAWS``."""
    num_scenes: Mapping[str, int]
    """Of train, val and test, each at least 1."""
    num_vertices: int
    """Of a room, about."""

    def __post_init__(self) -> None:
        if self.law not in FREQUENCY_LAWS:
            raise UsageError(f"{self.law!r} is no frequency law of rooms; take one of {', '.join(FREQUENCY_LAWS)}")
        for split in SPLITS:
            if self.num_scenes[split] < 1:
                raise UsageError(
                    f"rooms: {self.num_scenes[split]} {split} rooms; there must be at least one of each split"
                )
        if max(self.num_scenes["train"], self.num_scenes["val"] + self.num_scenes["test"]) > MAX_SCENES:
            raise UsageError(f"rooms: there can be {MAX_SCENES} of train, and as many of val and test together")
        low, high = VERTICES_RANGE
        if not low <= self.num_vertices <= high:
            raise UsageError(f"vertices {self.num_vertices}: the vertices of a room must be {low:,} to {high:,}")


@dataclass(frozen=True)
class Rooms:
    """A prepared tree whose ``train``, ``val`` and ``test`` all have labels."""

    root: Path
    settings: RoomSettings
    fingerprint: str | None
    """Changes when any array of any scene does that a network learns from; None: the rooms are not made yet."""


def make_rooms(folder: Path, settings: RoomSettings, workers: int | None = None, needs_segments: bool = False) -> Rooms:
    """Make and prepare the rooms in ``folder``, or what is missing of them.

    Demo scans of the test split have no labels, as in the benchmark. Here val and test are both made of the split
    ``val``: its first rooms are val, those after them test.

    Args:
        folder: gets ``raw/``, ``prepared/`` and ``rooms.json``.
        settings: what is asked for.
        workers: number of processes; None takes one a core.
        needs_segments: whether methods vote in over-segments: rooms that were made without them are prepared again.

    Raises:
        UsageError: a number is out of range, or the folder holds other rooms.
        DataError: a room can't be prepared.
    """
    # Another laboratory may want the same rooms: the second finds them done.
    with hold_folder(folder, "makes rooms", "choose another --data", wait=True):
        fingerprint = _find_fingerprint(folder, settings, needs_segments)
        if fingerprint is None:
            fingerprint = _complete_rooms(folder, settings, workers)
    return Rooms(folder / "prepared", settings, fingerprint)


def find_rooms(folder: Path, settings: RoomSettings) -> Rooms | None:
    """The rooms in ``folder``, where all of them are there; nothing is made.

    Raises:
        UsageError: the folder holds other rooms.
    """
    fingerprint = _find_fingerprint(folder, settings, needs_segments=False)
    return None if fingerprint is None else Rooms(folder / "prepared", settings, fingerprint)


def prepare_rooms(raw: Path, root: Path, law: str, num_val: int, workers: int | None) -> None:
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
        settings={"raw": str(raw), "law": law},
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


def _find_fingerprint(folder: Path, settings: RoomSettings, needs_segments: bool) -> str | None:
    """Of complete rooms; None where some are missing, or their segments where these are needed."""
    fingerprint = _read_settings(folder / SETTINGS_NAME, _as_dict(settings))
    scenes = {split: scene_folders(folder / "prepared", split) for split in SPLITS}
    is_complete = all(len(scenes[split]) == settings.num_scenes[split] for split in SPLITS)
    if is_complete and needs_segments:
        is_complete = all(surface_files(scene) for of_split in scenes.values() for scene in of_split)
    return fingerprint if is_complete else None


def _complete_rooms(folder: Path, settings: RoomSettings, workers: int | None) -> str:
    """Make what is missing, and return the fingerprint."""
    asked, path, root = _as_dict(settings), folder / SETTINGS_NAME, folder / "prepared"
    # Claimed before the first room: a folder that is cut off in between is known for what it is to become.
    write_text(path, json.dumps({**asked, "fingerprint": None}, indent=1) + "\n")
    num_scenes = settings.num_scenes
    raw_scenes = {"train": num_scenes["train"], "val": num_scenes["val"] + num_scenes["test"], "test": 0}
    write_demo_scans(folder / "raw", raw_scenes, SEED, settings.num_vertices, workers, settings.law)
    prepare_rooms(folder / "raw", root, settings.law, num_scenes["val"], workers)
    fingerprint = fingerprint_tree(root)
    write_text(path, json.dumps({**asked, "fingerprint": fingerprint}, indent=1) + "\n")
    return fingerprint


def _as_dict(settings: RoomSettings) -> dict[str, Any]:
    counts = {split: settings.num_scenes[split] for split in SPLITS}
    return {"law": settings.law, "seed": SEED, "vertices": settings.num_vertices, **counts}


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
        other = next(key for key in sorted(existing.keys() | asked.keys()) if existing.get(key) != asked.get(key))
        raise UsageError(
            f"{path.parent}: holds rooms of other settings ({other} {existing.get(other)}, asked for "
            f"{asked.get(other)}); choose another folder by --data or --out, or delete it"
        )
    return fingerprint
