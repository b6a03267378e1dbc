"""Is a prepared tree complete and sane? Every problem is one line that says how to mend it."""

import os
import zlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, UsageError
from pointseg.preparation.completeness import Table, find_gaps, find_leftovers
from pointseg.preparation.jobs import SceneKey, label_objects
from pointseg.preparation.parallel import map_scenes
from pointseg.preparation.prepared_source import read_source
from pointseg.scans.frame_check import describe_size, guess_frame
from pointseg.scans.prepared import geometry_parts, has_annotation, read_array
from pointseg.scans.scene import LARGEST_COORDINATE_M
from pointseg.scans.tree import (
    ANNOTATION,
    GEOMETRY,
    SOURCE_NAME,
    SURFACE,
    find_splits,
    prepare_again,
    prepare_command,
    scene_folders,
)
from pointseg.taxonomy import CLASS_TABLE, IGNORE, NAMES, Taxonomy, load_taxonomy
from pointseg.taxonomy.classes import choose_colors

_UNIT_TOLERANCE = 1e-3
# Of a tree that does not name its classes: more are no labels of classes.
_MOST_LABELS = 10_000


@dataclass(frozen=True)
class Origin:
    """What the check has to know of where a tree's scenes come from."""

    version: int
    """Of the preparation."""
    files_of_source: Callable[[Path, Mapping[str, Any]], list[Path]]
    """From ``raw_folder`` and ``made_from`` of a ``source.json`` to the files that the scene is made from."""
    find_tables: Callable[[Path, Mapping[str, Any]], Sequence[Table]]
    """The tables that labels come from, from the tree and the settings of its report, as far as it can be told."""


@dataclass
class SceneInspection:
    """What was found in one scene."""

    split: str
    name: str
    num_points: int = 0
    problems: list[str] = field(default_factory=list)
    points: dict[str, np.ndarray] = field(default_factory=dict)
    """Key of the taxonomy -> (K,) int64, points a class; empty for a scene without labels."""
    objects: dict[str, np.ndarray] = field(default_factory=dict)
    """Key of the taxonomy -> (K,) int64, instances a class."""
    geometry: frozenset[str] = frozenset()
    """Which of ``GEOMETRY`` it has."""
    odd_size: str | None = None
    """Its extent, where no room in metres has it and nobody said that its unit is known."""
    num_zero_normals: int = 0
    made_from: Mapping[str, Any] = field(default_factory=dict)
    """The state of its source when it was made, where it says so."""
    has_source: bool = False
    """Whether it has a ``source.json``, as every scene has that we prepared."""
    made_as: str | None = None
    """Its name when it was prepared, where it says so."""

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
    splits: tuple[str, ...]
    """Its folders of scenes."""
    taxonomies: tuple[Taxonomy, ...]
    """The classes that its scenes have labels of; those that come first are the finer ones."""


def inspect_tree(
    root: Path,
    origin: Origin,
    workers: int | None = None,
    lists: Mapping[str, Sequence[str]] | None = None,
    classes: Taxonomy | None = None,
) -> TreeInspection:
    """Check all scenes of a prepared tree, in ``workers`` processes (None: one a core).

    Args:
        root: the prepared tree.
        origin: of its scenes, as far as we prepared them.
        workers: number of processes.
        lists: split -> scenes that have to be there, beside those that the report of the preparation names.
        classes: of a tree of own classes; None: by its ``classes.tsv``.

    Raises:
        UsageError: there is no tree at ``root``, or it has no scene.
        DataError: ``classes.tsv`` is no table of classes.
    """
    splits = find_splits(root)
    folders = [folder for split in splits for folder in scene_folders(root, split)]
    if not folders:
        what = "has no prepared scenes" if root.is_dir() else "there is no such folder"
        raise UsageError(f"{root}: {what}; prepare them with: {prepare_command(root)}")
    taxonomies = _find_taxonomies(root, folders, classes)
    function = partial(inspect_scene, taxonomies=taxonomies, origin=origin)
    scenes = list(map_scenes(function, folders, workers, "checking"))
    problems = [problem for scene in scenes for problem in scene.problems] + find_leftovers(root, splits)
    tables_of_scene = {scene.key: scene.made_from for scene in scenes if scene.has_source}
    gaps = find_gaps(root, [scene.key for scene in scenes], tables_of_scene, origin.find_tables, lists)
    notes = list(gaps.notes)
    if taxonomies is None:
        taxonomies = (_number_classes(root, scenes),)
        notes.append(f"there is no {root / CLASS_TABLE}, so classes have numbers; name them with --classes TSV")
    problems += gaps.problems + _find_renamed(root, scenes, gaps.scenes) + _find_uneven_parts(root, scenes)
    num_bare = sum(scene.num_zero_normals for scene in scenes)
    notes += _find_odd_sizes(root, scenes)
    if num_bare:
        notes.append(f"{num_bare} vertices have a zero normal: other programs write them for vertices without a face")
    return TreeInspection(root, scenes, problems, notes, splits, taxonomies)


def _find_taxonomies(root: Path, folders: Sequence[Path], classes: Taxonomy | None) -> tuple[Taxonomy, ...] | None:
    """The classes of a tree: its own, or the benchmarks'; None where it has ``segment.npy`` and nobody names them."""
    if classes is not None:
        return (classes,)
    if (root / CLASS_TABLE).exists():
        return (load_taxonomy(str(root / CLASS_TABLE)),)
    benchmarks = tuple(load_taxonomy(name) for name in NAMES)
    is_own = any((folder / "segment.npy").exists() for folder in folders)
    has_benchmark = any((folder / f"{t.segment}.npy").exists() for folder in folders for t in benchmarks)
    return None if is_own and not has_benchmark else benchmarks


def _number_classes(root: Path, scenes: Sequence[SceneInspection]) -> Taxonomy:
    """As many classes as there are labels, with numbers for names; the scenes' counts get one entry for each."""
    num_classes = max(2, *(len(scene.points.get("own", ())) for scene in scenes))
    for scene in scenes:
        for counts in (scene.points, scene.objects):
            if "own" in counts:
                counts["own"] = np.pad(counts["own"], (0, num_classes - len(counts["own"])))
    names = tuple(f"label {label}" for label in range(num_classes))
    return Taxonomy(
        root.name, names, np.arange(num_classes, dtype=np.int32), np.array(choose_colors(num_classes), dtype=np.uint8)
    )


def _find_renamed(root: Path, scenes: Sequence[SceneInspection], told: Set[SceneKey]) -> list[str]:
    """A line for each scene that was prepared under another name, unless one tells already what is wrong with it."""
    return [
        f"{root / scene.split / scene.name}: is {scene.made_as}, by its {SOURCE_NAME}; give the folder its name again"
        for scene in scenes
        if scene.made_as not in (None, scene.name) and scene.key not in told
    ]


def _find_uneven_parts(root: Path, scenes: Sequence[SceneInspection]) -> list[str]:
    """A line for each array of the geometry that some whole scenes have and others have not."""
    whole = [scene for scene in scenes if not scene.problems]
    problems = []
    for part in GEOMETRY:
        without = [scene for scene in whole if part not in scene.geometry]
        if without and len(without) < len(whole):
            where = root / without[0].split / without[0].name
            problems.append(
                f"{where}: has no {part}.npy, as {len(without)} scenes, while others have; add it to all or none"
            )
    return problems


def _find_odd_sizes(root: Path, scenes: Sequence[SceneInspection]) -> list[str]:
    """A line for the scenes that are too small or too large for rooms, if there are any."""
    odd = [scene for scene in scenes if scene.odd_size is not None]
    if not odd:
        return []
    more = f" ({len(odd) - 1} more scenes are none either)" if odd[1:] else ""
    return [
        f"{root / odd[0].split / odd[0].name}: {odd[0].odd_size}{more}; make them anew with the unit of their scans "
        "(--unit of the import)"
    ]


def inspect_scene(folder: Path, taxonomies: Sequence[Taxonomy] | None, origin: Origin) -> SceneInspection:
    """Read every array of a scene and check shapes, dtypes, values, checksums and the age of its source.

    Args:
        folder: of the scene.
        taxonomies: the classes of its labels; None: those of ``segment.npy``, however many there are.
        origin: of the scene, if it has a ``source.json``.
    """
    segments = ["segment"] if taxonomies is None else [taxonomy.segment for taxonomy in taxonomies]
    scene = SceneInspection(split=folder.parent.name, name=folder.name)
    arrays: dict[str, np.ndarray] = {}
    for part in _expected_parts(folder, segments):
        try:
            arrays[part] = read_array(folder, part)
        except DataError as error:
            scene.problems.append(str(error))
    scene.geometry = frozenset(arrays.keys() & set(GEOMETRY))
    scene.num_points = len(arrays.get("coord", ()))
    if "coord" in arrays and scene.num_points == 0:
        scene.problems.append(f"{folder}: the scene has no points; take it out of the tree and the lists")
    problems = _check_lengths(arrays) + _check_values(arrays) + _check_labels(arrays, taxonomies)
    scene.problems += [f"{folder}/{problem}; {prepare_again(folder)}" for problem in problems]
    if "normal" in arrays:
        scene.num_zero_normals = int((~arrays["normal"].any(axis=1)).sum())
    if (folder / SOURCE_NAME).exists():
        scene.has_source = True
        try:
            source = read_source(folder)
            if source is None:
                raise ValueError("it lacks what the preparation writes")
            scene.made_as = str(source.get("scene", folder.name))
            scene.problems += _check_checksums(folder, source, segments, set(arrays))
            scene.problems += _check_raw_files(folder, source, origin)
            scene.made_from = source["made_from"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            scene.problems.append(f"{folder}/{SOURCE_NAME}: is broken ({reason}); {prepare_again(folder)}")
    if not scene.problems:
        _count_classes(scene, arrays, taxonomies)
        options = scene.made_from.get("options")
        if not isinstance(options, list) or "--unit" not in options:
            scene.odd_size = describe_size(guess_frame(arrays["coord"], up="z"))
    return scene


def _expected_parts(folder: Path, segments: Sequence[str]) -> list[str]:
    """Names of the arrays that a scene must have, and of the annotation and surface that it happens to have."""
    required = sorted(segments) if has_annotation(folder) else []
    optional = [p for p in (*ANNOTATION, *SURFACE) if p not in required and (folder / f"{p}.npy").exists()]
    return [*geometry_parts(folder), *required, *optional]


def _check_lengths(arrays: dict[str, np.ndarray]) -> list[str]:
    num_points = len(arrays.get("coord", ()))
    return [
        f"{part}.npy: has {len(array)} rows, coord.npy has {num_points}"
        for part, array in arrays.items()
        if "coord" in arrays and part != "face" and len(array) != num_points
    ]


def _check_values(arrays: dict[str, np.ndarray]) -> list[str]:
    problems = [
        f"{part}.npy: {int((~np.isfinite(arrays[part])).any(axis=1).sum())} rows are not finite"
        for part in ("coord", "normal")
        if part in arrays and not np.isfinite(arrays[part]).all()
    ]
    if "coord" in arrays and (num_far := int((np.abs(arrays["coord"]) > LARGEST_COORDINATE_M).any(axis=1).sum())):
        problems.append(f"coord.npy: {num_far} rows are beyond {LARGEST_COORDINATE_M:g} m")
    if "normal" in arrays and not problems:
        length = np.linalg.norm(arrays["normal"].astype(np.float64), axis=1)
        num_bad = int(((np.abs(length - 1) > _UNIT_TOLERANCE) & (length > 0)).sum())
        if num_bad:
            problems.append(f"normal.npy: {num_bad} normals are not of unit length")
    if "coord" in arrays:
        highest = len(arrays["coord"]) - 1
        for part in SURFACE:
            array = arrays.get(part, np.zeros(1, dtype=np.int64))
            if array.min(initial=0) < 0 or array.max(initial=0) > highest:
                problems.append(f"{part}.npy: values are {array.min()}..{array.max()}, expected 0..{highest}")
    return problems


def _check_labels(arrays: dict[str, np.ndarray], taxonomies: Sequence[Taxonomy] | None) -> list[str]:
    anything = np.iinfo(np.int64).max
    highest = {taxonomy.segment: taxonomy.num_classes - 1 for taxonomy in taxonomies or ()}
    highest["instance"] = anything
    if taxonomies is None:
        highest["segment"] = _MOST_LABELS - 1
    problems = []
    for part, array in arrays.items():
        if part not in highest or not len(array):
            continue
        low, high = int(array.min()), int(array.max())
        if low < IGNORE or high > highest[part]:
            expected = f"{IGNORE}..{highest[part]}" if highest[part] != anything else f"{IGNORE} or more"
            problems.append(f"{part}.npy: values are {low}..{high}, expected {expected}")
    return problems


def _check_checksums(folder: Path, source: dict[str, Any], segments: Sequence[str], intact: set[str]) -> list[str]:
    """Problems with the arrays that could be read, and with those that nobody has missed yet."""
    problems = []
    for name, row in source["arrays"].items():
        path = folder / f"{name}.npy"
        if not path.exists():
            if name not in _expected_parts(folder, segments):  # else it was named before
                problems.append(f"{path}: is missing; {prepare_again(folder)}")
        elif name in intact and zlib.crc32(path.read_bytes()) != row["crc32"]:
            problems.append(f"{path}: is not what was written, its checksum differs; {prepare_again(folder)}")
    return problems


def _check_raw_files(folder: Path, source: dict[str, Any], origin: Origin) -> list[str]:
    """Whether the preparation would make the scene anew: raw files that changed, where they are still in place."""
    made_from, raw_folder = source["made_from"], Path(source["raw_folder"])
    changes = []
    if made_from["version"] != origin.version:
        changes.append(f"was made by version {made_from['version']} of the preparation, now {origin.version}")
    for path in origin.files_of_source(raw_folder, made_from):
        try:
            status = path.stat()
        except OSError:
            continue  # raw data may be put away once it is prepared
        name = Path(os.path.relpath(path, raw_folder)).as_posix()
        if made_from["files"].get(name) != [status.st_size, status.st_mtime_ns]:
            what = "changed since" if name in made_from["files"] else "was not there then"
            changes.append(f"is not up to date, {path} {what}")
    return [f"{folder}: {change}; run: {prepare_command(folder.parent.parent)}" for change in changes]


def _count_classes(
    scene: SceneInspection, arrays: dict[str, np.ndarray], taxonomies: Sequence[Taxonomy] | None
) -> None:
    if taxonomies is None:
        kinds = [("own", "segment", int(arrays["segment"].max(initial=0)) + 1 if "segment" in arrays else 1)]
    else:
        kinds = [(taxonomy.key, taxonomy.segment, taxonomy.num_classes) for taxonomy in taxonomies]
    for key, segment, num_classes in kinds:
        if segment not in arrays:
            continue
        labels = arrays[segment]
        scene.points[key] = np.bincount(labels[labels >= 0], minlength=num_classes)
        objects = label_objects(labels, arrays.get("instance"), num_classes)
        scene.objects[key] = np.bincount(objects, minlength=num_classes)
