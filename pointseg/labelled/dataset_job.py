"""One scene of another data set to a prepared scene, and all of them to a tree."""

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pointseg.errors import DataError, UsageError
from pointseg.labelled.content import make_content
from pointseg.labelled.datasets import READERS, call_library, describe_mapping, open_dataset, read_table_of
from pointseg.labelled.import_tree import ImportedTree, prepare_tree, refuse_benchmark_tree
from pointseg.labelled.scan_job import IMPORT_VERSION
from pointseg.labelled.split_lists import write_lists
from pointseg.labelled.table import write_table
from pointseg.preparation.jobs import SceneContent, SceneJob, describe_files
from pointseg.scans.own_scan import ScanOptions
from pointseg.taxonomy import CLASS_TABLE, Taxonomy, read_class_table


@dataclass(frozen=True)
class DatasetJob(SceneJob):
    """One scene of a data set."""

    dataset: str
    root: Path
    """Of the data set."""
    scene_id: str
    """As the data set calls it."""
    out: Path
    taxonomy: Taxonomy
    needs_labels: bool = True

    @property
    def source_folder(self) -> Path:
        """The data set."""
        return self.root

    def describe_source(self) -> dict[str, Any]:
        """The files of the scene by size and time, version of ours and of the library."""
        library = _open_dataset(self.dataset, self.root)
        return {
            "version": IMPORT_VERSION,
            "dataset": self.dataset,
            "scene_id": self.scene_id,
            "scenezoo": version("scenezoo"),
            "classes": self.taxonomy.fingerprint,
            "mapping": describe_mapping(self.dataset, library),
            "files": describe_files(READERS[self.dataset].find_files(library, self.scene_id), library.root_dir),
        }

    def make_scene(self) -> SceneContent:
        """Read the scene through the library. Raises: DataError where that can't be."""
        library = _open_dataset(self.dataset, self.root)
        points = call_library(self.dataset, READERS[self.dataset].read_points, library, self.scene_id)
        if points.class_id is None and self.needs_labels:
            raise DataError(f"{points.scan.path}: has no labels; download its annotation, or take it out of the lists")
        options = ScanOptions(unit="m", up="z")  # the library turns all of them
        content = make_content(self.out.name, points, self.taxonomy, options)
        return SceneContent(content.arrays, {**content.facts, "labels_from": f"data set {self.dataset}"})


def import_dataset(name: str, source: Path, out: Path, workers: int | None = None) -> ImportedTree:
    """Import another data set: its classes, its splits, and those of its scenes that are on this disk.

    Args:
        name: one of ``DATASETS``.
        source: its folder, in the official layout.
        out: root of the prepared tree.
        workers: number of processes; None takes one a core.

    Raises:
        UsageError: scenezoo is not installed, or none of the scenes is there.
        DataError: a table of the data set is missing or broken, or the tree has other classes.
        OSError: ``out`` can't be written, or the disk is full.
    """
    refuse_benchmark_tree(out)
    _open_dataset.cache_clear()  # the tables may have changed since an import before
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{out}: lies in the folder of the data set; choose another folder by --out")
    reader, library = READERS[name], open_dataset(name, source)
    splits = call_library(name, reader.list_splits, library)
    taxonomy = read_table_of(name, library)
    table = out / CLASS_TABLE
    # By the names too: with the same ids in another order, one label would stand for two classes.
    if table.is_file() and read_class_table(table).fingerprint != taxonomy.fingerprint:
        raise DataError(f"{table}: has other classes than {name} in {source}; choose another folder by --out")
    call_library(name, reader.read_mapping, library)
    jobs: list[SceneJob] = []
    for split, ids in splits.items():
        for scene_id in ids:
            files = call_library(name, reader.find_files, library, scene_id)
            if any(path.is_file() for path in files):
                place = out / split / reader.name_scene(scene_id)
                jobs.append(DatasetJob(name, source, scene_id, place, taxonomy, needs_labels=split != "test"))
    if not jobs:
        raise UsageError(f"{source}: has none of the scenes of {name}; give the folder of its official layout")
    lists = {split: sorted(reader.name_scene(i) for i in ids) for split, ids in splits.items()}
    if not table.is_file():
        taxonomy = write_table(out, taxonomy)
    write_lists(out, lists)
    settings = {
        "source": str(source),
        "command": "import",
        "command_options": [str(source.absolute()), "--dataset", name],
    }
    tree = prepare_tree(out, taxonomy, jobs, lists, settings, [], workers)
    return replace(tree, reasons=tree.reasons + call_library(name, reader.find_skipped, library))


@lru_cache(maxsize=1)
def _open_dataset(name: str, root: Path) -> Any:
    """Once a process: to read the tables takes longer than some scenes."""
    return open_dataset(name, root)
