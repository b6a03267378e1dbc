"""Raw scans to a prepared tree: all scenes, or those of one shard, and the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointseg.errors import UsageError
from pointseg.preparation.jobs import Failure, SceneKey, prepare_scenes, remove_leftovers_of_tree
from pointseg.preparation.tree_report import write_report
from pointseg.scannet.preparation import RawSceneJob
from pointseg.scannet.raw_scan import LABEL_MAP_NAME, read_label_map, scan_folder, scans_folder
from pointseg.scannet.report import build_report
from pointseg.scannet.sharding import (
    Shard,
    assign_scenes,
    failures_of_parts,
    find_open_scenes,
    read_parts,
    remove_parts,
    write_part,
)
from pointseg.scannet.splits import PUBLISHED_LISTS, read_splits
from pointseg.scans.tree import SPLITS
from pointseg.taxonomy import CLASS_TABLE


@dataclass(frozen=True)
class TreePlan:
    """What is to be prepared."""

    out: Path
    """Root of the prepared tree."""
    lists: Mapping[str, list[str]]
    """Split -> scenes of its list."""
    scans_of_split: Mapping[str, set[str]]
    """Split -> scenes that the raw data has for it."""
    settings: Mapping[str, Any]
    """See :func:`describe_settings`."""
    classes_without_category: list[str]
    """Classes that the label map does not know."""
    jobs: list[RawSceneJob]
    """Every scene that is in a list and in the raw data."""

    def write_report(self, failures: Mapping[SceneKey, Failure], pending: Mapping[SceneKey, str]) -> dict[str, Any]:
        """The report of the tree as it is now; its file is written only if it says something else than before."""
        report = build_report(
            self.out,
            lists=self.lists,
            scans_of_split=self.scans_of_split,
            failures={key: failure.reason for key, failure in failures.items()},
            pending=pending,
            settings=self.settings,
            classes_without_category=self.classes_without_category,
        )
        write_report(self.out, report)
        return report


def prepare(
    raw: Path,
    out: Path,
    *,
    split_dir: Path,
    label_map: Path | None = None,
    workers: int | None = None,
    align: bool = True,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Prepare all scenes of ``raw`` that are in a split list, and write ``out/preprocess_report.json``.

    A bad scene does not keep the others from being done; the report lists it under ``failed``.

    Args:
        raw: folder with ``scans/`` and ``scans_test/`` in ScanNet's layout.
        out: root of the prepared tree.
        split_dir: folder with the split lists.
        label_map: the category table; None takes the one in ``raw``.
        workers: number of processes; None takes one a core.
        align: turn the scans by their ``axisAlignment``.
        shard: prepare this part of the scenes only. Shards may run at the same time, on several machines; each reports
            on the whole tree as it then is, and names the shards that still have something to do.

    Returns:
        The report (see :func:`pointseg.scannet.report.build_report`) with ``run`` beside it: the number of scenes
        ``written``, ``skipped`` and ``failed`` in this call, and the ``reasons`` of those that failed.

    Raises:
        UsageError: there is no raw data, no list or no label map, or no scene of the lists was found; or ``out`` holds
            scenes of other classes, or is a place of the raw scans.
        DataError: a list or the label map is broken.
        OSError: ``out`` can't be written, or the disk is full.
    """
    inside = [scans_folder(raw, split).resolve() for split in SPLITS]
    if out.resolve() == raw.resolve() or any(out.resolve().is_relative_to(folder) for folder in inside):
        raise UsageError(f"{out}: is a place of the raw scans; choose another folder by --out")
    if (out / CLASS_TABLE).exists():
        raise UsageError(
            f"{out}: is a tree of other classes, those of its {CLASS_TABLE}; choose another folder by --out"
        )
    plan = plan_tree(raw, out, split_dir, label_map or raw / LABEL_MAP_NAME, align)
    number_of_scene = assign_scenes(plan.lists, shard.count if shard else 1)
    own_jobs = [job for job in plan.jobs if shard is None or number_of_scene[job.key] == shard.number]
    counts, failures = prepare_scenes(own_jobs, workers)
    if shard is None:
        remove_leftovers_of_tree(out)
        report = plan.write_report(failures, pending={})
        remove_parts(out)
    else:
        write_part(out, shard, failures, has_written=counts["written"] > 0)
        report = _report_on_shards(plan, shard, number_of_scene)
    return {**report, "run": {**counts, "reasons": [failure.reason for failure in failures.values()]}}


def plan_tree(raw: Path, out: Path, split_dir: Path, label_map: Path, align: bool) -> TreePlan:
    """Find out what is to be done. Arguments and errors as :func:`prepare`; nothing is written."""
    scans_of_split = find_scans(raw)
    lists = read_splits(split_dir)
    categories = read_label_map(label_map)
    jobs = [
        RawSceneJob(scan_folder(raw, scene, split), out / split / scene, categories, align, labelled=split != "test")
        for split in SPLITS
        for scene in lists[split]
        if scene in scans_of_split[split]
    ]
    if not jobs:
        raise UsageError(f"{raw}: none of the scenes listed in {split_dir} is there; check --raw and --splits")
    settings = describe_settings(raw, split_dir, label_map, align)
    return TreePlan(out, lists, scans_of_split, settings, categories.classes_without_category, jobs)


def describe_settings(raw: Path, split_dir: Path, label_map: Path, align: bool) -> dict[str, Any]:
    """What the preparation was called with, and the options of the command that does the same from any folder."""
    options = ["--raw", str(raw.absolute())]
    if label_map != raw / LABEL_MAP_NAME:
        options += ["--label-map", str(label_map.absolute())]
    if split_dir not in (raw / "splits", PUBLISHED_LISTS):
        options += ["--splits", str(split_dir.absolute())]
    if not align:
        options.append("--no-align")
    splits = "the benchmark's lists" if split_dir == PUBLISHED_LISTS else str(split_dir)
    paths = {"raw": str(raw), "splits": splits, "label_map": str(label_map.absolute())}
    return {**paths, "align": align, "command_options": options}


def find_scans(raw: Path) -> dict[str, set[str]]:
    """Names of the scene folders in the raw data, by the splits that they can belong to.

    Raises:
        UsageError: ``raw`` holds neither ``scans`` nor ``scans_test``.
    """
    found = {}
    for split in SPLITS:
        parent = scans_folder(raw, split)
        children = parent.iterdir() if parent.is_dir() else ()
        found[split] = {child.name for child in children if child.is_dir() and not child.name.startswith(".")}
    if not any(scans_folder(raw, split).is_dir() for split in SPLITS):
        raise UsageError(f"{raw}: has no scans/ and no scans_test/; give the folder of the ScanNet download by --raw")
    return found


def _report_on_shards(plan: TreePlan, shard: Shard, number_of_scene: Mapping[SceneKey, int]) -> dict[str, Any]:
    """Write the whole report from the tree and all parts; when the last shard has ended, it is complete.

    Two shards may end at once, and the one that looked first may write last. So each looks at the parts again
    after it wrote, and starts over where one has changed: what stands in the end has seen every part.
    """
    while True:
        parts = read_parts(plan.out, shard.count)
        failures, pending = find_open_scenes(plan.jobs, failures_of_parts(parts))
        report = plan.write_report(failures, {key: str(Shard(number_of_scene[key], shard.count)) for key in pending})
        if read_parts(plan.out, shard.count) == parts:
            break
    if not pending:
        remove_parts(plan.out, keep_count=shard.count)
    return report
