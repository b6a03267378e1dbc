"""Is a prepared tree complete and sane? Every problem is one line that says how to mend it."""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, UsageError
from pointseg.scannet.completeness import find_gaps, find_leftovers
from pointseg.scannet.preparation import PREPARATION_VERSION, SceneKey
from pointseg.scannet.raw_scan import source_files
from pointseg.scannet.splits import read_splits
from pointseg.scans.parallel import map_scenes
from pointseg.scans.prepared import has_annotation, read_array
from pointseg.scans.prepared_source import read_source
from pointseg.scans.tree import ANNOTATION, GEOMETRY, SOURCE_NAME, SPLITS, prepare_again, prepare_command, scene_folders
from pointseg.taxonomy import IGNORE, NAMES, load_taxonomy

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
    label_map: str | None = None
    """Fingerprint of the label map that it was made with, where it says so."""
    has_source: bool = False
    """Whether it has a ``source.json``, as every scene has that we prepared."""

    @property
    def key(self) -> SceneKey:
        """(split, scene)."""
        return self.split, self.name


@dataclass
class TreeInspection:
    """What was found in a prepared tree."""

    root: Path
    scenes: list[SceneInspection]
    problems: list[str]
    """Of scenes and of the tree; empty when all is well."""
    notes: list[str]
    """Worth knowing, but not wrong."""


def inspect_tree(root: Path, workers: int | None = None, split_dir: Path | None = None) -> TreeInspection:
    """Check all scenes of a prepared tree, in ``workers`` processes (None: one a core).

    Which scenes there have to be is known from the report of the preparation, and from the lists in ``split_dir`` where
    that is given.

    Raises:
        UsageError: there is no tree at ``root``, or it has no scene; a list is not there.
        DataError: a list is broken.
    """
    lists = None if split_dir is None else read_splits(split_dir)
    folders = [folder for split in SPLITS for folder in scene_folders(root, split)]
    if not folders:
        what = "has no prepared scenes" if root.is_dir() else "there is no such folder"
        raise UsageError(f"{root}: {what}; prepare them with: {prepare_command(root)}")
    scenes = list(map_scenes(inspect_scene, folders, workers, "checking"))
    problems = [problem for scene in scenes for problem in scene.problems] + find_leftovers(root)
    label_map_of_scene = {scene.key: scene.label_map for scene in scenes if scene.has_source}
    gaps, notes = find_gaps(root, [scene.key for scene in scenes], label_map_of_scene, lists)
    num_bare = sum(scene.num_zero_normals for scene in scenes)
    if num_bare:
        notes.append(f"{num_bare} vertices have a zero normal: other programs write them for vertices without a face")
    return TreeInspection(root, scenes, problems + gaps, notes)


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
    if (folder / SOURCE_NAME).exists():
        scene.has_source = True
        try:
            source = read_source(folder)
            if source is None:
                raise ValueError("it lacks what the preparation writes")
            scene.problems += _check_checksums(folder, source, set(arrays)) + _check_raw_files(folder, source)
            scene.label_map = source["made_from"]["label_map"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            scene.problems.append(f"{folder}/{SOURCE_NAME}: is broken ({reason}); {prepare_again(folder)}")
    if not scene.problems:
        _count_classes(scene, arrays)
    return scene


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
    highest = {load_taxonomy(name).segment: load_taxonomy(name).num_classes - 1 for name in NAMES}
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


def _check_checksums(folder: Path, source: dict[str, Any], intact: set[str]) -> list[str]:
    """Problems with the arrays that could be read, and with those that nobody has missed yet."""
    problems = []
    for name, row in source["arrays"].items():
        path = folder / f"{name}.npy"
        if not path.exists():
            if name not in _expected_parts(folder):  # else it was named before
                problems.append(f"{path}: is missing; {prepare_again(folder)}")
        elif name in intact and zlib.crc32(path.read_bytes()) != row["crc32"]:
            problems.append(f"{path}: is not what was written, its checksum differs; {prepare_again(folder)}")
    return problems


def _check_raw_files(folder: Path, source: dict[str, Any]) -> list[str]:
    """Whether the preparation would make the scene anew: raw files that changed, where they are still in place."""
    made_from, raw_folder = source["made_from"], Path(source["raw_folder"])
    changes = []
    if made_from["version"] != PREPARATION_VERSION:
        changes.append(f"was made by version {made_from['version']} of the preparation, now {PREPARATION_VERSION}")
    for path in source_files(raw_folder, labelled=made_from["label_map"] is not None, align=made_from["align"]):
        try:
            status = path.stat()
        except OSError:
            continue  # raw data may be put away once it is prepared
        if made_from["files"].get(path.name) != [status.st_size, status.st_mtime_ns]:
            what = "changed since" if path.name in made_from["files"] else "was not there then"
            changes.append(f"is not up to date, {path} {what}")
    return [f"{folder}: {change}; run: {prepare_command(folder.parent.parent)}" for change in changes]


def _count_classes(scene: SceneInspection, arrays: dict[str, np.ndarray]) -> None:
    for name in NAMES:
        taxonomy = load_taxonomy(name)
        if taxonomy.segment not in arrays:
            continue
        num_classes = taxonomy.num_classes
        labels = arrays[taxonomy.segment]
        scene.points[name] = np.bincount(labels[labels >= 0], minlength=num_classes)
        instances = arrays.get("instance", np.full(len(labels), IGNORE))
        of_object = (labels >= 0) & (instances >= 0)
        # An object has one label, but other programs' trees may split one: count pairs.
        pairs = np.unique(instances[of_object] * num_classes + labels[of_object])
        scene.objects[name] = np.bincount(pairs % num_classes, minlength=num_classes)
