"""A folder of labelled scans to a prepared tree."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pointseg.errors import DataError, UsageError
from pointseg.labelled.import_report import build_report
from pointseg.labelled.scan_folder import FoundScans, find_scans
from pointseg.labelled.scan_job import ClassQuery, Reading, ScanJob, find_class_ids
from pointseg.labelled.split_lists import choose_splits, describe_lists, refuse_unknown_names, write_lists
from pointseg.labelled.table import name_classes, place_table, write_table
from pointseg.preparation.jobs import SceneJob, prepare_scenes, remove_leftovers_of_tree
from pointseg.preparation.parallel import map_scenes
from pointseg.preparation.prepared_source import read_source
from pointseg.preparation.tree_report import write_report
from pointseg.scans.tree import SPLITS, scene_folders
from pointseg.taxonomy import CLASS_TABLE, NAMES, Taxonomy, load_taxonomy, read_class_table

DEFAULT_VAL_SHARE = 0.2


@dataclass(frozen=True)
class ImportedTree:
    """What came of an import."""

    report: Mapping[str, Any]
    """See :func:`pointseg.labelled.import_report.build_report`."""
    taxonomy: Taxonomy
    counts: Mapping[str, int]
    """Scenes ``written``, ``skipped`` and ``failed`` in this call."""
    reasons: list[str]
    """Why scenes failed, a line each."""
    made_table: bool = False
    """Whether the table was made of the ids, so that its classes have no names yet."""
    earlier_options: str | None = None
    """How scans were read by an import before, where that was in another way, and scenes were made anew."""
    remarks: list[str] = field(default_factory=list)
    """What a person should know of the splits, a line each."""
    other_files: Mapping[str, int] = field(default_factory=dict)
    """Suffix -> number of the files that are no scans."""
    num_predicted: int = 0
    """Number of the files that ``predict`` wrote, which were left out."""


def import_scans(
    source: Path,
    out: Path,
    reading: Reading,
    *,
    classes: Path | None = None,
    val_share: float = DEFAULT_VAL_SHARE,
    workers: int | None = None,
) -> ImportedTree:
    """Import all scans below a folder. A bad scan does not keep the others from being done.

    Args:
        source: the folder; its ``train``, ``val`` and ``test`` are the splits, if it has them.
        out: root of the prepared tree.
        reading: what the files do not say.
        classes: table of the classes; None: the tree's own of an import before, or one made of the ids that are found.
        val_share: of the scenes, where no scan lies in ``val``; see :func:`choose_splits`.
        workers: number of processes; None takes one a core.

    Raises:
        UsageError: there is no scan, or two have one name; no such table; the share is out of range.
        DataError: the table or a list of the tree is broken, a list names what is no scene, or no table can
            be made of the ids.
        OSError: ``out`` can't be written, or the disk is full.
    """
    if not 0 <= val_share < 1:
        raise UsageError(f"--val-share {val_share:g}: is not a share from 0 to below 1; give one such as 0.2")
    refuse_benchmark_tree(out)
    found = find_scans(source, out)
    refuse_unknown_names(found, out)
    lists = choose_splits(found, out, val_share)
    remarks = describe_lists(found, out, lists, val_share)
    made_table = classes is None and not (out / CLASS_TABLE).exists()
    if made_table:
        taxonomy = write_table(out, _name_found_classes(found, lists, reading, workers, source))
    else:
        taxonomy = place_table(out, classes) if classes is not None else read_class_table(out / CLASS_TABLE)
    write_lists(out, lists)
    jobs = _make_jobs(found, lists, out, reading, taxonomy)
    earlier = _find_other_options(jobs, reading)
    options = [str(source.absolute()), *reading.command_options]
    options += [] if val_share == DEFAULT_VAL_SHARE else ["--val-share", f"{val_share:g}"]
    unlisted = found.path_of_scene[""].values() if found.has_splits else ()
    settings = {
        "source": str(source),
        "command": "import",
        "command_options": options,
    }
    names = [path.relative_to(source).as_posix() for path in unlisted]
    tree = prepare_tree(out, taxonomy, jobs, lists, settings, names, workers)
    return replace(
        tree,
        made_table=made_table,
        earlier_options=earlier if tree.counts["written"] else None,
        remarks=remarks,
        other_files=found.other_files,
        num_predicted=found.num_predicted,
    )


def prepare_tree(
    out: Path,
    taxonomy: Taxonomy,
    jobs: list[SceneJob],
    lists: Mapping[str, list[str]],
    settings: Mapping[str, Any],
    unlisted: list[str],
    workers: int | None,
) -> ImportedTree:
    """Do the jobs, and write the report.

    Raises:
        OSError: the tree can't be written.
    """
    counts, failures = prepare_scenes(jobs, workers)
    remove_leftovers_of_tree(out)
    scans_of_split = {split: {job.key[1] for job in jobs if job.key[0] == split} for split in lists}
    report = build_report(
        out,
        taxonomy,
        lists=lists,
        scans_of_split=scans_of_split,
        failures={key: failure.reason for key, failure in failures.items()},
        settings=settings,
        unlisted=unlisted,
    )
    write_report(out, report)
    return ImportedTree(report, taxonomy, counts, [f.reason for f in failures.values()])


def refuse_benchmark_tree(out: Path) -> None:
    """Raises: UsageError where a folder holds scenes with labels of ScanNet's benchmarks: a tree has one kind."""
    for folder in (folder for split in SPLITS for folder in scene_folders(out, split)):
        for name in NAMES:
            if (folder / f"{load_taxonomy(name).segment}.npy").exists():
                raise UsageError(f"{out}: is a tree of ScanNet's classes; choose another folder by --out")


def _make_jobs(
    found: FoundScans, lists: Mapping[str, list[str]], out: Path, reading: Reading, taxonomy: Taxonomy
) -> list[SceneJob]:
    """A job for each scene of the lists whose scan is there."""
    return [
        ScanJob(path, out / split / scene, taxonomy, reading, needs_labels=split != "test")
        for split, scene, path in _find_listed(found, lists)
    ]


def _find_other_options(jobs: list[SceneJob], reading: Reading) -> str | None:
    """The options by which a scene was made that is there; None where all were made by these."""
    for source in filter(None, (read_source(job.out) for job in jobs)):
        options = source["made_from"].get("options")
        if isinstance(options, list) and options != reading.command_options:
            return shlex.join(map(str, options))
    return None


def _find_listed(found: FoundScans, lists: Mapping[str, list[str]]) -> list[tuple[str, str, Path]]:
    """Split, scene and file of the scenes of the lists whose scan is there."""
    paths = {scene: path for of_split in found.path_of_scene.values() for scene, path in of_split.items()}
    return [(split, scene, paths[scene]) for split in SPLITS for scene in lists[split] if scene in paths]


def _name_found_classes(
    found: FoundScans, lists: Mapping[str, list[str]], reading: Reading, workers: int | None, source: Path
) -> Taxonomy:
    """A table of the ids in the scans. Those that can't be read fail later, when their scenes are made."""
    queries = [
        ClassQuery(path, reading.label_field, needs_labels=split != "test")
        for split, _, path in _find_listed(found, lists)
    ]
    results = list(map_scenes(find_class_ids, queries, workers, "looking for classes"))
    readable = [result for result in results if not isinstance(result, str)]
    reasons = [result for result in results if isinstance(result, str)]
    # Scans to be predicted may be read without labels, and say nothing of the classes.
    if reasons and all(len(ids) == 0 for ids, _ in readable):
        raise DataError(f"{reasons[0]} ({len(reasons)} of {len(results)} scans can't be imported)")
    return name_classes(readable, str(source))
