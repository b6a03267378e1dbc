"""A raw scan to a prepared scene: whole or not at all, and only if it is not done yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pointseg
from pointseg.command_line import describe_os_error
from pointseg.errors import DataError
from pointseg.scannet.raw_scan import LabelMap, RawScene, read_raw_scene, source_files
from pointseg.scans.prepared_source import arrays_are_complete, read_source, write_scene

SceneKey = tuple[str, str]
"""(split, scene)."""

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

    @property
    def key(self) -> SceneKey:
        """(split, scene)."""
        return self.out.parent.name, self.out.name


@dataclass(frozen=True)
class SceneOutcome:
    """What became of a :class:`SceneJob`."""

    job: SceneJob
    status: str
    """``written``, ``skipped`` (was done and still valid) or ``failed``."""
    reason: str = ""
    """Why it failed, one line with the path and what to do."""
    made_from: Mapping[str, Any] | None = None
    """The state of the raw files, see :func:`describe_source`; None where it could not be read."""


def prepare_scene(job: SceneJob) -> SceneOutcome:
    """Prepare one scene, unless it is done and still valid.

    Raises:
        OSError: the scene can't be written. What can't be read is a ``failed`` outcome instead.
    """
    made_from = None
    try:
        made_from = describe_source(job)
        if _is_done(job, made_from):
            return SceneOutcome(job, "skipped", made_from=made_from)
        scene = read_raw_scene(job.folder, job.label_map, job.align, job.labelled)
    except DataError as error:
        return SceneOutcome(job, "failed", str(error), made_from)
    except OSError as error:
        return SceneOutcome(job, "failed", describe_os_error(error), made_from)
    source = {
        "pointseg": pointseg.__version__,
        "raw_folder": str(job.folder.absolute()),
        "made_from": made_from,
        "facts": describe_scene(scene),
    }
    try:
        write_scene(job.out, scene_arrays(scene), source)
    except OSError:
        # Another run on the same tree may have been faster: then its folder stands where ours was to go.
        if not _is_done(job, made_from):
            raise
        return SceneOutcome(job, "skipped", made_from=made_from)
    return SceneOutcome(job, "written", made_from=made_from)


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


def _is_done(job: SceneJob, made_from: Mapping[str, Any]) -> bool:
    earlier = read_source(job.out)
    return earlier is not None and earlier["made_from"] == made_from and arrays_are_complete(job.out, earlier)
