"""Raw ScanNet scans: mesh, segments, objects and axis alignment of one scene, with labels by the official rule.

The rule (ScanNet200's preprocessing, Rozenberszki et al., ECCV 2022): the label of an object is a raw
category, which the label map turns into an id; ids outside the benchmark are ignored; objects are taken in
the order of the file, and a vertex in several objects belongs to the last one.
"""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, UsageError, regular_file
from pointseg.formats.ply import BINARY_LITTLE_ENDIAN, Mesh, read_mesh, read_mesh_header
from pointseg.scannet.alignment import doubt_alignment, read_axis_alignment, transform
from pointseg.scannet.belonging import doubt_segments, refuse_other_scene
from pointseg.scans.normals import vertex_normals
from pointseg.scans.segment_ids import unique_ids
from pointseg.taxonomy import IGNORE, load_taxonomy

LABEL_MAP_NAME = "scannetv2-labels.combined.tsv"
_ID_COLUMNS = {"scannet200": "id", "scannet20": "nyu40id"}
_DOWNLOAD_AGAIN = "download it again"


@dataclass(frozen=True)
class LabelMap:
    """Raw category -> class label, for both benchmarks. A category outside a benchmark maps to IGNORE."""

    label200_of: dict[str, int]
    label20_of: dict[str, int]

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a category or the label of one changes."""
        text = json.dumps([self.label200_of, self.label20_of], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def classes_without_category(self) -> list[str]:
        """Names of the 200 classes that no raw category maps to: not empty for the map of before ScanNet200."""
        mapped = set(self.label200_of.values())
        return [name for label, name in enumerate(load_taxonomy("scannet200").class_names) if label not in mapped]


@dataclass
class Annotation:
    """What is known of the N vertices of a scene, and of its objects."""

    label200: np.ndarray
    """(N,) int64, ScanNet200 label or IGNORE."""
    label20: np.ndarray
    """(N,) int64, ScanNet label (20 classes) or IGNORE."""
    instance: np.ndarray
    """(N,) int64, id of the object in the file, -1 = none."""
    object_label200: np.ndarray
    """(num_objects,) int64, in the order of the file."""
    object_label20: np.ndarray
    """(num_objects,) int64, in the order of the file."""
    unknown_labels: Counter[str]
    """Object labels that the label map does not have -> number of objects."""


@dataclass
class RawScene:
    """One scan as it was published, turned to its axes where asked."""

    name: str
    mesh: Mesh
    annotation: Annotation | None
    alignment: str
    """``applied``, ``absent`` (the scan gives none) or ``off`` (not asked for)."""
    over_segment: np.ndarray | None = None
    """(N,) int64, 0 to the number of segments - 1: those of its file; None where it has none."""
    doubts: list[str] = field(default_factory=list)
    """What looks as if a file were another scan's, a line each."""


def scans_folder(raw: Path, split: str) -> Path:
    """Folder of all scenes of a split in the raw data: test scans lie apart from the others."""
    return raw / ("scans_test" if split == "test" else "scans")


def scan_folder(raw: Path, scene: str, split: str) -> Path:
    """Folder of one scene in the raw data."""
    return scans_folder(raw, split) / scene


def mesh_path(raw: Path, scene: str, split: str) -> Path:
    """The mesh of a scene in the raw data; its vertices are what predictions are about."""
    return _mesh_path(scan_folder(raw, scene, split))


def is_annotated_mesh(path: Path) -> bool:
    """Whether this is the mesh of a raw scan that has its objects beside it."""
    return path == _mesh_path(path.parent) and _objects_path(path.parent).is_file()


def source_files(folder: Path, labelled: bool, align: bool) -> list[Path]:
    """The files that :func:`read_raw_scene` reads. Of a scan without labels that of its segments may be missing."""
    files = [_mesh_path(folder), _segments_path(folder)]
    if labelled:
        files.append(_objects_path(folder))
    return [*files, _info_path(folder)] if align else files


def read_label_map(path: Path) -> LabelMap:
    """Read ``scannetv2-labels.combined.tsv``: ``raw_category`` -> ``id`` and ``nyu40id``.

    A category that stands twice counts as it stands first, as in the official script. An empty id
    is no class.

    Raises:
        UsageError: the file is missing.
        DataError: it lacks a column, or an id is not a number.
    """
    try:
        with regular_file(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t")
            for name in ("raw_category", *_ID_COLUMNS.values()):
                if (count := list(reader.fieldnames or ()).count(name)) != 1:
                    what = f"{count} columns" if count else "no column"
                    raise DataError(f"{path}: has {what} {name!r}; use {LABEL_MAP_NAME} of the ScanNet release")
            rows = [(reader.line_num, row) for row in reader]
            for line, row in rows:
                if None in row.values():
                    raise DataError(f"{path}:{line}: has fewer columns than the first line; {_DOWNLOAD_AGAIN}")
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there is no label map; ScanNet publishes it as {LABEL_MAP_NAME}, give its path by --label-map"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise DataError(f"{path}: is no table of text; {_DOWNLOAD_AGAIN}") from None
    label_of: dict[str, dict[str, int]] = {}
    for taxonomy_name, column in _ID_COLUMNS.items():
        ids = [_read_id(path, line, row[column]) for line, row in rows]
        labels = load_taxonomy(taxonomy_name).label_from_class_id(np.array(ids, dtype=np.int64))
        # Reversed, so that the first row of a category is the one that stays.
        label_of[taxonomy_name] = {
            row["raw_category"]: int(k) for (_, row), k in zip(rows[::-1], labels[::-1], strict=True)
        }
    return LabelMap(label200_of=label_of["scannet200"], label20_of=label_of["scannet20"])


def read_raw_scene(folder: Path, label_map: LabelMap, align: bool = True, labelled: bool = True) -> RawScene:
    """Read one scan: mesh with colours and area-weighted normals, and its annotation where ``labelled``.

    Args:
        folder: the scene's folder; its name is the scene's.
        label_map: raw categories to labels.
        align: turn the mesh by the scene's ``axisAlignment``, normals too.
        labelled: False for test scans, which have a mesh only.

    Raises:
        DataError: a file is missing, truncated or not what it has to be.
    """
    mesh = _read_scan_mesh(_mesh_path(folder))
    alignment = read_axis_alignment(_info_path(folder), required=labelled) if align else None
    if alignment is not None:
        mesh.xyz = transform(mesh.xyz, alignment)
    assert mesh.faces is not None, "_read_scan_mesh refuses meshes without faces"
    mesh.normal = vertex_normals(mesh.xyz, mesh.faces)
    doubts = []
    if alignment is not None and (doubt := doubt_alignment(mesh.xyz, mesh.normal)) is not None:
        doubts.append(f"{_info_path(folder).name} may be another scene's: turned by it, {doubt}")
    annotation = over_segment = None
    segments_path = _segments_path(folder)
    if labelled or segments_path.exists():
        segment_of_vertex = read_segments(segments_path, mesh.num_vertices)
        objects = _read_objects(_objects_path(folder)) if labelled else []
        annotation = annotate_vertices(segment_of_vertex, objects, label_map) if labelled else None
        found = doubt_segments(segment_of_vertex, mesh.faces, [o.segments for o in objects])
        doubts += [f"{segments_path.name} may be another scan's: {doubt}" for doubt in found]
        over_segment = unique_ids(segment_of_vertex)[1]
    state = "applied" if alignment is not None else "absent" if align else "off"
    return RawScene(folder.name, mesh, annotation, state, over_segment, doubts)


@dataclass
class ScanObject:
    """An annotated object: an entry of ``segGroups``."""

    object_id: int
    raw_category: str
    segments: np.ndarray
    """(S,) int64, ids of the over-segments that make it up."""


def annotate_vertices(segment_of_vertex: np.ndarray, objects: list[ScanObject], label_map: LabelMap) -> Annotation:
    """Labels and instances of all vertices by the official rule (see the module's docstring).

    An object of an ignored or unknown category overwrites too: its vertices become IGNORE. Segments
    that the mesh does not have are of no consequence.

    Args:
        segment_of_vertex: (N,) integer, over-segment of each vertex.
        objects: in the order of the file.
        label_map: raw categories to labels.
    """
    segment_ids, position_of_vertex = unique_ids(segment_of_vertex)
    object_of_segment = np.full(len(segment_ids), -1, dtype=np.int64)
    for index, scan_object in enumerate(objects):
        object_of_segment[np.isin(segment_ids, scan_object.segments)] = index
    object_of_vertex = object_of_segment[position_of_vertex]

    def label_of_objects(label_of: dict[str, int]) -> np.ndarray:
        return np.array([label_of.get(o.raw_category, IGNORE) for o in objects], dtype=np.int64)

    object_label200, object_label20 = label_of_objects(label_map.label200_of), label_of_objects(label_map.label20_of)
    object_ids = np.array([o.object_id for o in objects], dtype=np.int64)
    # Index -1, no object, picks the value that is appended.
    return Annotation(
        label200=np.append(object_label200, IGNORE)[object_of_vertex],
        label20=np.append(object_label20, IGNORE)[object_of_vertex],
        instance=np.append(object_ids, -1)[object_of_vertex],
        object_label200=object_label200,
        object_label20=object_label20,
        unknown_labels=Counter(o.raw_category for o in objects if o.raw_category not in label_map.label200_of),
    )


def _mesh_path(folder: Path) -> Path:
    return folder / f"{folder.name}_vh_clean_2.ply"


def _segments_path(folder: Path) -> Path:
    return folder / f"{folder.name}_vh_clean_2.0.010000.segs.json"


def _objects_path(folder: Path) -> Path:
    return folder / f"{folder.name}.aggregation.json"


def _info_path(folder: Path) -> Path:
    return folder / f"{folder.name}.txt"


def _read_id(path: Path, line: int, text: str | None) -> int:
    try:
        number = int(text) if text and text.strip() else 0  # 0 is no class in either benchmark
        return int(np.int64(number))
    except (ValueError, OverflowError):
        raise DataError(f"{path}: id {text!r} in line {line} is no whole number; {_DOWNLOAD_AGAIN}") from None


def _read_scan_mesh(path: Path) -> Mesh:
    """A mesh as ScanNet publishes it: binary little-endian, with faces and colours."""
    if not path.exists():
        raise DataError(f"{path}: is missing; download it")
    try:
        header, mesh = read_mesh_header(path), read_mesh(path)
    except DataError as error:
        what, _, remedy = str(error).rpartition("; ")  # whoever exported it is not whoever reads this
        raise DataError(f"{what or remedy}; {_DOWNLOAD_AGAIN}") from None
    if header.encoding != BINARY_LITTLE_ENDIAN:
        raise DataError(f"{path}: is {header.encoding}, expected {BINARY_LITTLE_ENDIAN}; {_DOWNLOAD_AGAIN}")
    if mesh.faces is None:
        raise DataError(f"{path}: the mesh has no faces; {_DOWNLOAD_AGAIN}")
    if mesh.rgb is None:
        raise DataError(f"{path}: the vertices have no red, green and blue; {_DOWNLOAD_AGAIN}")
    return mesh


def segments_beside(mesh: Path) -> Path | None:
    """The published over-segments of a mesh, ``<scene>_vh_clean_2.0.010000.segs.json`` beside it, if they are there."""
    path = mesh.with_name(f"{mesh.stem}.0.010000.segs.json")
    return path if mesh.name.endswith("_vh_clean_2.ply") and path.exists() else None


def read_segments(path: Path, num_vertices: int) -> np.ndarray:
    """(N,) int64: over-segment of each vertex.

    Raises:
        DataError: the file is missing, broken, of another scene, or of a mesh of another size.
    """
    segments = _as_integers(path, "segIndices", _read_json(path).get("segIndices"))
    if len(segments) != num_vertices:
        raise DataError(
            f"{path}: segIndices are {len(segments)}, the mesh has {num_vertices} vertices; "
            "download the mesh and this file again"
        )
    return segments


def _read_objects(path: Path) -> list[ScanObject]:
    groups = _read_json(path).get("segGroups")
    if not isinstance(groups, list):
        raise DataError(f"{path}: has no list segGroups; {_DOWNLOAD_AGAIN}")
    objects = []
    for index, group in enumerate(groups):
        what = f"segGroups[{index}]"
        if not isinstance(group, dict) or not isinstance(group.get("label"), str):
            raise DataError(f"{path}: {what} has no label; {_DOWNLOAD_AGAIN}")
        object_id = group.get("id", index)
        if type(object_id) is not int or not 0 <= object_id < 2**63:
            raise DataError(f"{path}: the id of {what} is no whole number from 0; {_DOWNLOAD_AGAIN}")
        segments = _as_integers(path, f"segments of {what}", group.get("segments"))
        objects.append(ScanObject(object_id, group["label"], segments))
    return objects


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(regular_file(path).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: is missing; download it") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is broken JSON ({error}); {_DOWNLOAD_AGAIN}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: is a JSON {type(content).__name__}, expected an object; {_DOWNLOAD_AGAIN}")
    refuse_other_scene(path, content)
    return content


def _as_integers(path: Path, what: str, values: object) -> np.ndarray:
    """(len(values),) int64."""
    try:
        array = np.array(values if isinstance(values, list) else None)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.ndim != 1 or (array.size and array.dtype != np.int64):
        raise DataError(f"{path}: {what} is no list of whole numbers; {_DOWNLOAD_AGAIN}")
    return array.astype(np.int64)
