"""Is a prepared tree complete and sane? Every problem is one line that says how to mend it."""

import json
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.atomic import TEMPORARY_PREFIX
from pointseg.errors import DataError, UsageError
from pointseg.scans.parallel import map_scenes
from pointseg.scans.prepared import (
    ANNOTATION,
    GEOMETRY,
    PREPARE_COMMAND,
    REPORT_NAME,
    SEGMENT_OF_TAXONOMY,
    has_annotation,
    prepare_again,
    read_array,
    read_source,
    scene_folders,
)
from pointseg.scans.splits import SPLITS
from pointseg.taxonomy import GROUPS, IGNORE, load_taxonomy

_UNIT_TOLERANCE = 1e-3


@dataclass
class SceneInspection:
    """What was found in one scene."""

    split: str
    name: str
    num_points: int = 0
    problems: list[str] = field(default_factory=list)
    points: dict[str, np.ndarray] = field(default_factory=dict)
    """Taxonomy name -> (K,) int64, points a class; empty for a scene without labels."""
    objects: dict[str, np.ndarray] = field(default_factory=dict)
    """Taxonomy name -> (K,) int64, instances a class."""
    num_zero_normals: int = 0


@dataclass
class TreeInspection:
    """What was found in a prepared tree."""

    root: Path
    scenes: list[SceneInspection]
    problems: list[str]
    """Of scenes and of the tree; empty when all is well."""
    notes: list[str]
    """Worth knowing, but not wrong."""


def inspect_tree(root: Path, workers: int | None = None) -> TreeInspection:
    """Check all scenes of a prepared tree, in ``workers`` processes (None: one a core).

    Raises:
        UsageError: there is no tree at ``root``, or it has no scene.
    """
    folders = [folder for split in SPLITS for folder in scene_folders(root, split)]
    if not folders:
        what = "has no prepared scenes" if root.is_dir() else "there is no such folder"
        raise UsageError(f"{root}: {what}; prepare them with: {PREPARE_COMMAND.format(root=root)}")
    scenes = list(map_scenes(inspect_scene, folders, workers, "checking"))
    problems = [problem for scene in scenes for problem in scene.problems]
    problems += _find_leftovers(root) + _find_repeated(root, scenes)
    notes = []
    num_bare = sum(scene.num_zero_normals for scene in scenes)
    if num_bare:
        notes.append(f"{num_bare} vertices have a zero normal: other programs write them for vertices without a face")
    report_path = root / REPORT_NAME
    if report_path.exists():
        more_problems, more_notes = _compare_with_report(root, report_path, scenes)
        problems += more_problems
        notes += more_notes
    else:
        notes.append(
            f"{report_path} is missing: whether scenes are missing can't be told (the tree is another program's)"
        )
    return TreeInspection(root, scenes, problems, notes)


def inspect_scene(folder: Path) -> SceneInspection:
    """Read every array of a scene and check shapes, dtypes, values, checksums and the age of its source."""
    scene = SceneInspection(split=folder.parent.name, name=folder.name)
    arrays: dict[str, np.ndarray] = {}
    for part in _expected_parts(folder):
        try:
            arrays[part] = read_array(folder, part)
        except DataError as error:
            scene.problems.append(str(error))
    scene.num_points = len(arrays.get("coord", ()))
    if "coord" in arrays and scene.num_points == 0:
        scene.problems.append(f"{folder}: the scene has no points; delete it, and leave it out of the lists")
    problems = _check_lengths(arrays) + _check_values(arrays) + _check_labels(arrays)
    scene.problems += [f"{folder}/{problem}; {prepare_again(folder)}" for problem in problems]
    if "normal" in arrays:
        scene.num_zero_normals = int((~arrays["normal"].any(axis=1)).sum())
    source = read_source(folder)
    if source is not None:
        scene.problems += _check_source(folder, source, set(arrays))
    elif (folder / "source.json").exists():
        scene.problems.append(f"{folder}/source.json: is broken; {prepare_again(folder)}")
    if not scene.problems:
        _count_classes(scene, arrays)
    return scene


def summarize_inspection(tree: TreeInspection) -> list[str]:
    """Counts a split, then head, common and tail: how many classes occur, their share of points, scenes a class."""
    rows = histogram_rows(tree, "scannet200")
    lines = [f"{'split':<6} {'scenes':>7} {'points':>14}"]
    groups = [f"{'split':<6} {'group':<7} {'classes seen':>13} {'points':>14} {'objects':>9} {'scenes a class':>15}"]
    for split in SPLITS:
        scenes = [scene for scene in tree.scenes if scene.split == split]
        lines.append(f"{split:<6} {len(scenes):>7} {sum(scene.num_points for scene in scenes):>14,}")
        if not any(scene.points for scene in scenes):
            continue
        for group in GROUPS:
            members = [row for row in rows if row["group"] == group]
            seen = sum(row[f"{split}_points"] > 0 for row in members)
            points, objects = (sum(row[f"{split}_{what}"] for row in members) for what in ("points", "objects"))
            median = float(np.median([row[f"{split}_scenes"] for row in members]))
            groups.append(
                f"{split:<6} {group:<7} {f'{seen} of {len(members)}':>13} {points:>14,} {objects:>9,} {median:>15.1f}"
            )
    return [*lines, *(groups if len(groups) > 1 else [])]


def histogram_rows(tree: TreeInspection, taxonomy_name: str) -> list[dict[str, Any]]:
    """One row a class: label, scannet_id, name, group, and points, objects and scenes in each split."""
    taxonomy = load_taxonomy(taxonomy_name)
    rows: list[dict[str, Any]] = [
        {"label": label, "scannet_id": int(taxonomy.scannet_ids[label]), "name": name}
        | ({"group": taxonomy.groups[label]} if taxonomy.groups else {})
        for label, name in enumerate(taxonomy.class_names)
    ]
    for split in SPLITS:
        labelled = [s for s in tree.scenes if s.split == split and taxonomy_name in s.points]
        zero = np.zeros((1, taxonomy.num_classes), dtype=np.int64)
        points = np.concatenate([zero, *(s.points[taxonomy_name][None] for s in labelled)])
        objects = np.concatenate([zero, *(s.objects[taxonomy_name][None] for s in labelled)])
        for label, row in enumerate(rows):
            row[f"{split}_points"] = int(points[:, label].sum())
            row[f"{split}_objects"] = int(objects[:, label].sum())
            row[f"{split}_scenes"] = int((points[:, label] > 0).sum())
    return rows


def encode_inspection(tree: TreeInspection) -> dict[str, Any]:
    """All that was found, for ``--json``."""
    return {
        "root": str(tree.root),
        "problems": tree.problems,
        "notes": tree.notes,
        "splits": {
            split: {
                "num_scenes": sum(s.split == split for s in tree.scenes),
                "num_points": sum(s.num_points for s in tree.scenes if s.split == split),
            }
            for split in SPLITS
        },
        "classes": {name: histogram_rows(tree, name) for name in SEGMENT_OF_TAXONOMY},
    }


def _expected_parts(folder: Path) -> list[str]:
    """Names of the arrays that a scene must have, and of the annotation that it happens to have."""
    required = ("segment20", "segment200") if has_annotation(folder) else ()
    optional = [part for part in ANNOTATION if part not in required and (folder / f"{part}.npy").exists()]
    return [*GEOMETRY, *required, *optional]


def _check_lengths(arrays: dict[str, np.ndarray]) -> list[str]:
    num_points = len(arrays.get("coord", ()))
    return [
        f"{part}.npy: has {len(array)} rows, coord.npy has {num_points}"
        for part, array in arrays.items()
        if "coord" in arrays and len(array) != num_points
    ]


def _check_values(arrays: dict[str, np.ndarray]) -> list[str]:
    problems = [
        f"{part}.npy: {int((~np.isfinite(arrays[part])).any(axis=1).sum())} rows are not finite"
        for part in ("coord", "normal")
        if part in arrays and not np.isfinite(arrays[part]).all()
    ]
    if "normal" in arrays and not problems:
        length = np.linalg.norm(arrays["normal"].astype(np.float64), axis=1)
        num_bad = int(((np.abs(length - 1) > _UNIT_TOLERANCE) & (length > 0)).sum())
        if num_bad:
            problems.append(f"normal.npy: {num_bad} normals are not of unit length")
    return problems


def _check_labels(arrays: dict[str, np.ndarray]) -> list[str]:
    highest = {segment: load_taxonomy(name).num_classes - 1 for name, segment in SEGMENT_OF_TAXONOMY.items()}
    highest["instance"] = np.iinfo(np.int64).max
    problems = []
    for part, array in arrays.items():
        if part not in highest or not len(array):
            continue
        low, high = int(array.min()), int(array.max())
        if low < IGNORE or high > highest[part]:
            expected = f"{IGNORE}..{highest[part]}" if part != "instance" else f"{IGNORE} or more"
            problems.append(f"{part}.npy: values are {low}..{high}, expected {expected}")
    return problems


def _check_source(folder: Path, source: dict[str, Any], intact: set[str]) -> list[str]:
    """Problems with what ``source.json`` says of the arrays and of the raw files, where these are still in place."""
    problems = []
    for name, row in source["arrays"].items():
        path = folder / f"{name}.npy"
        if not path.exists():
            if name not in (*GEOMETRY, "segment20", "segment200"):  # else it was named before
                problems.append(f"{path}: is missing; {prepare_again(folder)}")
        elif name in intact and zlib.crc32(path.read_bytes()) != row["crc32"]:
            problems.append(f"{path}: is not what was written, its checksum differs; {prepare_again(folder)}")
    raw_folder = Path(source["raw_folder"])
    if raw_folder.is_dir():
        for name, (size, mtime_ns) in source["made_from"]["files"].items():
            raw_file = raw_folder / name
            if raw_file.exists() and [raw_file.stat().st_size, raw_file.stat().st_mtime_ns] != [size, mtime_ns]:
                problems.append(f"{folder}: is older than {raw_file}; run: {_command(folder)}")
    return problems


def _command(folder: Path) -> str:
    return PREPARE_COMMAND.format(root=folder.parent.parent)


def _count_classes(scene: SceneInspection, arrays: dict[str, np.ndarray]) -> None:
    for name, segment in SEGMENT_OF_TAXONOMY.items():
        if segment not in arrays:
            continue
        num_classes = load_taxonomy(name).num_classes
        labels = arrays[segment]
        scene.points[name] = np.bincount(labels[labels >= 0], minlength=num_classes)
        instances = arrays.get("instance", np.full(len(labels), IGNORE))
        of_object = (labels >= 0) & (instances >= 0)
        # An object has one label, but other programs' trees may split one: count pairs.
        pairs = np.unique(instances[of_object] * num_classes + labels[of_object])
        scene.objects[name] = np.bincount(pairs % num_classes, minlength=num_classes)


def _find_leftovers(root: Path) -> list[str]:
    places = [root, *(root / split for split in SPLITS)]
    return [
        f"{path}: is left of a run that was killed; delete it"
        for place in places
        for path in sorted(place.glob(f"{TEMPORARY_PREFIX}*"))
    ]


def _find_repeated(root: Path, scenes: list[SceneInspection]) -> list[str]:
    counts = Counter(scene.name for scene in scenes)
    return [
        f"{root}: {name} is in {' and '.join(s.split for s in scenes if s.name == name)}; "
        "a scene belongs to one split, delete the wrong one"
        for name in sorted(name for name, number in counts.items() if number > 1)
    ]


def _compare_with_report(root: Path, path: Path, scenes: list[SceneInspection]) -> tuple[list[str], list[str]]:
    """Problems and notes from the report of the preparation: what failed, what went missing since."""
    command = f"run: {PREPARE_COMMAND.format(root=root)}"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        failed = [(row["split"], row["scene"], row["reason"]) for row in report["failed"]]
        prepared = {(split, scene) for split, row in report["splits"].items() for scene in row["scenes"]}
        num_missing = {split: len(names) for split, names in report["missing"].items() if names}
        stale = [f"{row['split']}/{row['scene']} {row['why']}" for row in report["stale"]]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{path}: is broken ({type(error).__name__}: {error}); delete it and {command}"], []
    here = {(scene.split, scene.name) for scene in scenes}
    problems = [f"{root}/{split}/{scene}: could not be prepared: {reason}" for split, scene, reason in failed]
    problems += [
        f"{root}/{split}/{scene}: was prepared and is gone; {command}" for split, scene in sorted(prepared - here)
    ]
    notes = []
    if num_missing:
        counts = ", ".join(f"{number} {split}" for split, number in num_missing.items())
        notes.append(f"not in the raw data when it was prepared: {counts} scenes of the lists")
    if stale:
        notes.append(f"stale: {len(stale)} scenes, first: {stale[0]}")
    return problems, notes
