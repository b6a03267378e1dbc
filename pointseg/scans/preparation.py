"""Raw scans to a prepared tree: every scene whole or not at all, and only those that are not done yet."""

import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pointseg
from pointseg.atomic import TEMPORARY_PREFIX, write_text
from pointseg.command_line import describe_os_error
from pointseg.errors import DataError, UsageError
from pointseg.scans.parallel import map_scenes
from pointseg.scans.prepared import REPORT_NAME, arrays_are_complete, read_source, write_scene
from pointseg.scans.report import build_report, encode_report
from pointseg.scans.scannet import (
    LABEL_MAP_NAME,
    LabelMap,
    RawScene,
    read_label_map,
    read_raw_scene,
    scan_folder,
    scans_folder,
    source_files,
)
from pointseg.scans.splits import SPLITS, read_splits

# Raise it when the same raw scan gives other arrays or other facts than before: scenes are then made anew.
PREPARATION_VERSION = 1


@dataclass(frozen=True)
class SceneJob:
    """One scene to prepare."""

    folder: Path
    """The raw scan; its name is the scene's."""
    out: Path
    """Where the prepared scene goes."""
    label_map: LabelMap
    align: bool = True
    labelled: bool = True


@dataclass(frozen=True)
class SceneOutcome:
    """What became of a :class:`SceneJob`."""

    job: SceneJob
    status: str
    """``written``, ``skipped`` (was done and still valid) or ``failed``."""
    reason: str = ""
    """Why it failed, one line with the path and what to do."""


def prepare(
    raw: Path,
    out: Path,
    *,
    split_dir: Path,
    label_map: Path | None = None,
    workers: int | None = None,
    align: bool = True,
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

    Returns:
        The report (see :func:`pointseg.scans.report.build_report`) with ``run`` beside it: the number of scenes
        ``written``, ``skipped`` and ``failed`` in this call.

    Raises:
        UsageError: there is no raw data, no list or no label map, or no scene of the lists was found.
        DataError: a list or the label map is broken.
        OSError: ``out`` can't be written, or the disk is full.
    """
    scans_of_split = find_scans(raw)
    lists = read_splits(split_dir)
    label_map_path = label_map or raw / LABEL_MAP_NAME
    categories = read_label_map(label_map_path)
    jobs = [
        SceneJob(scan_folder(raw, scene, split), out / split / scene, categories, align, labelled=split != "test")
        for split in SPLITS
        for scene in lists[split]
        if scene in scans_of_split[split]
    ]
    if not jobs:
        raise UsageError(f"{raw}: none of the scenes listed in {split_dir} is there; check --raw and --splits")
    _remove_leftovers(jobs)
    outcomes = list(map_scenes(prepare_scene, jobs, workers, "preparing"))
    report = build_report(
        out,
        lists=lists,
        scans_of_split=scans_of_split,
        failures={(o.job.out.parent.name, o.job.out.name): o.reason for o in outcomes if o.status == "failed"},
        settings={"raw": str(raw), "splits": str(split_dir), "label_map": str(label_map_path), "align": align},
        classes_without_category=categories.classes_without_category,
    )
    _write_if_new(out / REPORT_NAME, encode_report(report))
    counts = Counter(outcome.status for outcome in outcomes)
    return {**report, "run": {status: counts[status] for status in ("written", "skipped", "failed")}}


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


def prepare_scene(job: SceneJob) -> SceneOutcome:
    """Prepare one scene, unless it is done and still valid.

    Raises:
        OSError: the scene can't be written. What can't be read is a ``failed`` outcome instead.
    """
    try:
        made_from = describe_source(job)
        earlier = read_source(job.out)
        if earlier is not None and earlier.get("made_from") == made_from and arrays_are_complete(job.out, earlier):
            return SceneOutcome(job, "skipped")
        scene = read_raw_scene(job.folder, job.label_map, job.align, job.labelled)
    except DataError as error:
        return SceneOutcome(job, "failed", str(error))
    except OSError as error:
        return SceneOutcome(job, "failed", describe_os_error(error))
    source = {
        "pointseg": pointseg.__version__,
        "raw_folder": str(job.folder.absolute()),
        "made_from": made_from,
        "facts": describe_scene(scene),
    }
    write_scene(job.out, scene_arrays(scene), source)
    return SceneOutcome(job, "written")


def describe_source(job: SceneJob) -> dict[str, Any]:
    """Everything that decides what the prepared scene looks like: files by size and time, settings, version."""
    files = {}
    for path in source_files(job.folder, job.labelled, job.align):
        if path.exists():
            status = path.stat()
            files[path.name] = [status.st_size, status.st_mtime_ns]
    label_map = job.label_map.fingerprint if job.labelled else None
    return {"version": PREPARATION_VERSION, "files": files, "align": job.align, "label_map": label_map}


def scene_arrays(scene: RawScene) -> dict[str, np.ndarray]:
    """The arrays of the prepared tree by name."""
    mesh = scene.mesh
    assert mesh.rgb is not None, "the raw reader refuses meshes without colours"
    assert mesh.normal is not None, "the raw reader computes normals"
    arrays = {"coord": mesh.xyz, "color": mesh.rgb, "normal": mesh.normal}
    if scene.annotation is not None:
        arrays["segment20"] = scene.annotation.label20
        arrays["segment200"] = scene.annotation.label200
        arrays["instance"] = scene.annotation.instance
    return arrays


def describe_scene(scene: RawScene) -> dict[str, Any]:
    """What the report says of a scene: counts a class (label -> number), unknown labels, alignment."""
    facts: dict[str, Any] = {"num_points": scene.mesh.num_vertices, "alignment": scene.alignment}
    annotation = scene.annotation
    if annotation is not None:
        facts["num_objects"] = len(annotation.object_label200)
        facts["unknown_labels"] = dict(sorted(annotation.unknown_labels.items()))
        facts["points200"] = _count_labels(annotation.label200)
        facts["objects200"] = _count_labels(annotation.object_label200)
        facts["points20"] = _count_labels(annotation.label20)
        facts["objects20"] = _count_labels(annotation.object_label20)
    return facts


def _count_labels(labels: np.ndarray) -> dict[str, int]:
    """Label -> how often it occurs, for the labels that do; keys are text as JSON wants them."""
    counts = np.bincount(labels[labels >= 0])
    return {str(label): int(counts[label]) for label in np.flatnonzero(counts)}


def _remove_leftovers(jobs: list[SceneJob]) -> None:
    """Delete what a killed run left half-written of these scenes."""
    scenes_of_parent: dict[Path, set[str]] = {}
    for job in jobs:
        scenes_of_parent.setdefault(job.out.parent, set()).add(job.out.name)
    for parent, scenes in scenes_of_parent.items():
        for leftover in parent.glob(f"{TEMPORARY_PREFIX}*"):
            name = re.fullmatch(rf"{re.escape(TEMPORARY_PREFIX)}(.+?)-(old-)?[a-z0-9_]+", leftover.name)
            if name and name[1] in scenes:
                shutil.rmtree(leftover, ignore_errors=True)


def _write_if_new(path: Path, text: str) -> None:
    """A second run that changes nothing writes nothing."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
