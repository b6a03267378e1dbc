"""Other public data sets in their official layouts, read through the library scenezoo (extra ``datasets``).

Each is five answers: which scenes each split has, which classes there are, what maps annotations to them, which files a
scene is made of, and what its points are. Tables that a data set publishes apart from its scans are taken from its
folder, or from ``metadata`` there, and fetched by the library where they are in neither.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, UsageError, missing_library
from pointseg.formats.scan_file import ScanFile, bytes_from_unit
from pointseg.labelled import s3dis
from pointseg.labelled.content import LabelledPoints
from pointseg.taxonomy import Taxonomy, parse_class_table


@dataclass(frozen=True)
class DatasetReader:
    """How a data set is read. ``library`` is what scenezoo's ``get_dataset`` returns."""

    list_splits: Callable[[Any], dict[str, list[str]]]
    """Split -> ids of its scenes, also of those that are not on this disk."""
    list_classes: Callable[[Any], dict[int, str]]
    """Class id -> name, in the order of the labels."""
    read_mapping: Callable[[Any], Any]
    """From the names or ids in annotations to those of classes, JSON-ready; None where annotations name classes."""
    find_files: Callable[[Any, str], list[Path]]
    """The files that a scene is made of."""
    read_points: Callable[[Any, str], LabelledPoints]
    """The points of a scene; without class ids where it has none."""
    find_skipped: Callable[[Any], list[str]] = lambda _library: []
    """A line for each folder that looks like a scene, or like scenes, and is read as none."""
    name_scene: Callable[[str], str] = str
    """From an id to the name of the scene's folder."""
    tables: Mapping[str, str] | None = None
    """Argument of the library's reader -> name of the published table."""


def open_dataset(name: str, root: Path, offline: bool = False) -> Any:
    """Scenezoo's reader of the data set at ``root``; ``offline``, it takes no table from the network.

    Raises:
        UsageError: scenezoo is not installed, or there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder; give the one that the data set was unpacked in")
    try:
        from scenezoo import get_dataset
    except ImportError:
        raise UsageError(missing_library(f"--dataset {name}: reading it", "scenezoo", "datasets")) from None

    tables = {}
    for argument, file in (READERS[name].tables or {}).items():
        found = [path for path in (root / file, root / "metadata" / file) if path.is_file()]
        if found:
            tables[argument] = str(found[0])
    return get_dataset(name, root, offline=offline, **tables)


def read_table_of(name: str, library: Any) -> Taxonomy:
    """The classes of a data set. Raises: DataError where its table is not there."""
    classes = call_library(name, READERS[name].list_classes, library)
    rows = "".join(f"{i}\t{class_name}\n" for i, class_name in classes.items())
    return parse_class_table(f"id\tname\n{rows}", name, f"classes of {name}")


def describe_mapping(name: str, library: Any) -> str:
    """A fingerprint of all that turns an annotation into a label: the classes, and what maps to them.

    Raises:
        DataError: a table of the data set is missing or broken.
    """
    reader = READERS[name]
    parts = [list(call_library(name, reader.list_classes, library).items())]
    parts.append(call_library(name, reader.read_mapping, library))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def call_library(name: str, function: Callable[..., Any], library: Any, *arguments: Any) -> Any:
    """Call ``function(library, *arguments)``; whatever it raises on the files of a data set becomes a line.

    Raises:
        DataError: with what the library says.
    """
    try:
        return function(library, *arguments)
    except DataError:
        raise
    except Exception as error:
        tables = ", ".join((READERS[name].tables or {}).values())
        remedy = (
            f"if it can't be fetched, put {tables} into that folder" if tables else "compare with its official layout"
        )
        if arguments:  # the tables were read before
            remedy = f"download the scan {arguments[0]} again"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{library.root_dir}: can't be read as {name} ({reason}); {remedy}") from None


def _scannetpp_splits(library: Any) -> dict[str, list[str]]:
    names = {"train": "nvs_sem_train", "val": "nvs_sem_val", "test": "sem_test"}
    return {split: _strip(library.splits.get(name, [])) for split, name in names.items()}


def _scannetpp_classes(library: Any) -> dict[int, str]:
    names = library.metadata.get("top100_classes")
    if not names:
        raise DataError(
            f"{library.root_dir}/metadata/semantic_benchmark/top100.txt: is missing; download the data set's metadata"
        )
    return dict(enumerate(_strip(names)))


def _scannetpp_mapping(library: Any) -> dict[str, Any]:
    """Name in annotations -> class; names that are not in it stand for themselves."""
    mapping = library.metadata.get("label_mapping")
    if mapping is None:
        raise DataError(
            f"{library.root_dir}/metadata/semantic_benchmark/map_benchmark.csv: is missing, so objects of other names "
            "than the classes' would be without label; download the data set's metadata"
        )
    return {name.strip(): row.get("semantic_map_to", name).strip() for name, row in mapping.items()}


def _strip(lines: Sequence[str]) -> list[str]:
    """The lines of a list that say something; blanks around a name don't count."""
    return [line.strip() for line in lines if line.strip()]


def _scannetpp_files(library: Any, scene: str) -> list[Path]:
    folder = library.root_dir / "data" / scene / "scans"
    names = ("mesh_aligned_0.05.ply", "segments.json", "segments_anno.json", "mesh_aligned_0.05_mask.txt")
    return [folder / name for name in names]


def _scannetpp_points(library: Any, scene: str) -> LabelledPoints:
    """Of vertices in several objects the smallest object counts, as in the library."""
    folder = library.root_dir / "data" / scene / "scans"
    points = _mesh_points(library.get_mesh(scene), folder)
    if (folder / "segments_anno.json").is_file():
        objects = library.get_segmentation(scene, segmentation_type="instance")
        mapping = _scannetpp_mapping(library)
        id_of_name = {name: i for i, name in _scannetpp_classes(library).items()}
        class_of_object = {
            i: id_of_name.get(mapping.get(name.strip(), name.strip()), -1) for i, name in objects.id_to_name.items()
        }
        points.instance = objects.labels.astype(np.int64)
        points.class_id = _look_up(points.instance, class_of_object)
    return points


def _threerscan_files(library: Any, scene: str) -> list[Path]:
    return [library.scans_dir / scene / "labels.instances.annotated.v2.ply"]


def _threerscan_points(library: Any, scene: str) -> LabelledPoints:
    """The annotated mesh, whose colours are those of the objects, and so no colours of the room."""
    mesh = library.get_mesh(scene, mesh_type="instance")
    points = _mesh_points(mesh, library.scans_dir / scene)
    points.scan = replace(points.scan, rgb=None)
    points.class_id = library.get_segmentation(scene, segmentation_type="rio27").labels.astype(np.int64)
    points.instance = _zero_is_none(library.get_segmentation(scene).labels)
    return points


def _multiscan_files(library: Any, scene: str) -> list[Path]:
    folder = library.root_dir / scene
    return [folder / f"{scene}.ply", folder / f"{scene}.annotations.json"]


def _multiscan_points(library: Any, scene: str) -> LabelledPoints:
    points = _mesh_points(library.get_mesh(scene), library.root_dir / scene)
    assert points.scan.faces is not None, "the library refuses meshes without faces"
    semantic = library.get_segmentation(scene, segmentation_type="object_semantic").labels
    objects = library.get_segmentation(scene, segmentation_type="object_instance").labels
    points.class_id = _labels_of_vertices(points.scan.faces, semantic, points.scan.num_points)
    points.instance = _zero_is_none(_labels_of_vertices(points.scan.faces, objects, points.scan.num_points))
    return points


def _matterport_splits(library: Any) -> dict[str, list[str]]:
    """Each region of a house is a scene; of houses that are not on this disk none is known."""
    return {
        split: [
            f"{house}/{region}"
            for house in houses
            if (library.scans_dir / house).is_dir()
            for region in library.get_region_ids(house)
        ]
        for split, houses in library.splits.items()
    }


def _matterport_files(library: Any, scene: str) -> list[Path]:
    house, region = scene.split("/")
    folder = library.scans_dir / house / "region_segmentations"
    return [path for path in sorted(folder.rglob(f"region{region.removeprefix('region')}.*")) if path.is_file()]


def _matterport_points(library: Any, scene: str) -> LabelledPoints:
    house, region = scene.split("/")
    mesh = library.get_mesh(house, mesh_type="region", region_id=region)
    points = _mesh_points(mesh, library.scans_dir / house)
    assert points.scan.faces is not None, "the library refuses meshes without faces"
    semantic = library.get_segmentation(house, region_id=region, segmentation_type="semantic", label_space="mpcat40")
    objects = library.get_segmentation(house, region_id=region)
    points.class_id = _labels_of_vertices(points.scan.faces, semantic.labels, points.scan.num_points)
    points.instance = _labels_of_vertices(points.scan.faces, objects.labels, points.scan.num_points)
    return points


def _mesh_points(mesh: Any, where: Path) -> LabelledPoints:
    """Vertices and faces of an Open3D mesh, not labelled."""
    rgb = bytes_from_unit(np.asarray(mesh.vertex_colors)) if mesh.has_vertex_colors() else None
    return LabelledPoints(ScanFile(where, np.array(mesh.vertices), np.array(mesh.triangles), rgb))


def _zero_is_none(ids: np.ndarray) -> np.ndarray:
    """(N,) int64 ids of objects, -1 = none, of a data set that writes 0 for none."""
    return np.where(ids == 0, -1, ids).astype(np.int64)


def _look_up(ids: np.ndarray, value_of_id: Mapping[int, int]) -> np.ndarray:
    """(N,) int64: the value of each id; -1 where it has none."""
    unique, inverse = np.unique(ids, return_inverse=True)
    return np.array([value_of_id.get(i, -1) for i in unique.tolist()], dtype=np.int64)[inverse]


def _labels_of_vertices(faces: np.ndarray, label: np.ndarray, num_vertices: int) -> np.ndarray:
    """(N,) int64: the label that most faces of a vertex have, of equally many the smaller; -1 without a face.

    Args:
        faces: (F, 3) integer.
        label: (F,) integer.
        num_vertices: N.
    """
    values, dense = np.unique(label, return_inverse=True)
    corner = faces.ravel().astype(np.int64)  # corners times labels can be more than 32 bits
    pairs, counts = np.unique(corner * len(values) + np.repeat(dense, 3), return_counts=True)
    vertex = pairs // len(values)
    order = np.lexsort((-(pairs % len(values)), counts, vertex))  # the last of each vertex is the most frequent
    result = np.full(num_vertices, -1, dtype=np.int64)
    result[vertex[order]] = values[pairs[order] % len(values)]
    return result


READERS = {
    "s3dis": DatasetReader(
        s3dis.list_splits,
        lambda library: dict(enumerate(library.class_names)),
        lambda library: None,
        s3dis.find_files,
        s3dis.read_points,
        find_skipped=s3dis.find_skipped,
        name_scene=lambda scene: scene.split("/")[1],
    ),
    "scannetpp": DatasetReader(
        _scannetpp_splits, _scannetpp_classes, _scannetpp_mapping, _scannetpp_files, _scannetpp_points
    ),
    "3rscan": DatasetReader(
        lambda library: library.splits,
        lambda library: dict(sorted(library.metadata["semantic_spaces"]["rio27"].items())),
        lambda library: None,
        _threerscan_files,
        _threerscan_points,
        tables={"label_mapping_file": "3RScan.v2 Semantic Classes - Mapping.csv"},
    ),
    "multiscan": DatasetReader(
        lambda library: library.splits,
        lambda library: {i: n for i, n in sorted(library.metadata["object_semantic_id_to_name"].items()) if i > 0},
        lambda library: library.metadata["object_name_to_semantic_id"],
        _multiscan_files,
        _multiscan_points,
        tables={
            "split_file": "scans_split.csv",
            "object_label_file": "object_semantic_label_map.csv",
            "part_label_file": "part_semantic_label_map.csv",
        },
    ),
    "matterport3d": DatasetReader(
        _matterport_splits,
        lambda library: {
            i: name
            for i, name in sorted(library.metadata["label_spaces"]["mpcat40"].items())
            if i > 0 and name != "unlabeled"
        },
        lambda library: [
            [row["index"], row["raw_category"], row["mpcat40index"]]
            for row in library.metadata["label_mapping"].values()
        ],
        _matterport_files,
        _matterport_points,
        name_scene=lambda scene: scene.replace("/", "_"),
        tables={
            "label_mapping_file": "category_mapping.tsv",
            "train_split_file": "scenes_train.txt",
            "val_split_file": "scenes_val.txt",
            "test_split_file": "scenes_test.txt",
        },
    ),
}
"""Name -> reader."""
DATASETS = tuple(READERS)
