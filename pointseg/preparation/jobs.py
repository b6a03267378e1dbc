"""One scene to a prepared tree: whole or not at all, and only if it is not done yet."""

import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pointseg
from pointseg.atomic import TEMPORARY_PREFIX, temporary_prefix
from pointseg.errors import DataError, describe_os_error, regular_file
from pointseg.preparation.parallel import map_scenes
from pointseg.preparation.prepared_source import (
    arrays_are_complete,
    read_source,
    refuse_to_replace_other,
    write_scene,
)
from pointseg.taxonomy import Taxonomy

SceneKey = tuple[str, str]
"""(split, scene)."""


@dataclass(frozen=True)
class SceneContent:
    """What a prepared scene consists of."""

    arrays: Mapping[str, np.ndarray]
    """Name in the tree -> array."""
    facts: Mapping[str, Any]
    """What the report says of it, JSON-ready; ``num_points`` at least."""


class SceneJob(ABC):
    """One scene to prepare. What it is made from is the subclass's; jobs go to other processes, so they are data."""

    out: Path
    """Where the prepared scene goes: ``ROOT/<split>/<scene>``."""

    @property
    def key(self) -> SceneKey:
        """(split, scene)."""
        return self.out.parent.name, self.out.name

    @property
    @abstractmethod
    def source_folder(self) -> Path:
        """Where its files lie; ``source.json`` keeps it as ``raw_folder``."""

    @abstractmethod
    def describe_source(self) -> dict[str, Any]:
        """Everything that decides what the scene looks like, JSON-ready: ``files`` by size and time, settings, version.

        Raises:
            DataError, OSError: it can't be read.
        """

    @abstractmethod
    def make_scene(self) -> SceneContent:
        """Read the source.

        Raises:
            DataError, OSError: it is bad.
        """


@dataclass(frozen=True)
class SceneOutcome:
    """What became of a :class:`SceneJob`."""

    job: SceneJob
    status: str
    """``written``, ``skipped`` (was done and still valid) or ``failed``."""
    reason: str = ""
    """Why it failed, one line with the path and what to do."""
    made_from: Mapping[str, Any] | None = None
    """The state of the source, :meth:`SceneJob.describe_source`; None where it could not be read."""


@dataclass(frozen=True)
class Failure:
    """Why a scene could not be prepared."""

    reason: str
    made_from: Mapping[str, Any] | None
    """The state of the source that it holds for; None where that can't even be read."""


def prepare_scenes(jobs: Sequence[SceneJob], workers: int | None) -> tuple[dict[str, int], dict[SceneKey, Failure]]:
    """Prepare scenes in ``workers`` processes (None: one a core). A bad one does not keep the others from being done.

    Returns:
        how many were ``written``, ``skipped`` and ``failed``; and why those did.

    Raises:
        OSError: the tree can't be written.
    """
    remove_leftovers(jobs)
    outcomes = list(map_scenes(prepare_scene, jobs, workers, "preparing"))
    failures = {o.job.key: Failure(o.reason, o.made_from) for o in outcomes if o.status == "failed"}
    counts = Counter(outcome.status for outcome in outcomes)
    return {status: counts[status] for status in ("written", "skipped", "failed")}, failures


def prepare_scene(job: SceneJob) -> SceneOutcome:
    """Prepare one scene, unless it is done and still valid.

    Raises:
        OSError: the scene can't be written. What can't be read is a ``failed`` outcome instead.
    """
    made_from = None
    try:
        made_from = job.describe_source()
        if _is_done(job, made_from):
            return SceneOutcome(job, "skipped", made_from=made_from)
        refuse_to_replace_other(job.out)
        content = job.make_scene()
    except DataError as error:
        return SceneOutcome(job, "failed", str(error), made_from)
    except OSError as error:
        return SceneOutcome(job, "failed", describe_os_error(error), made_from)
    source = {
        "pointseg": pointseg.__version__,
        "scene": job.out.name,
        "raw_folder": str(job.source_folder.absolute()),
        "made_from": made_from,
        "facts": dict(content.facts),
    }
    try:
        write_scene(job.out, dict(content.arrays), source)
    except OSError:
        # Another run on the same tree may have been faster: then its folder stands where ours was to go.
        if not _is_done(job, made_from):
            raise
        return SceneOutcome(job, "skipped", made_from=made_from)
    return SceneOutcome(job, "written", made_from=made_from)


def describe_files(paths: Sequence[Path], folder: Path) -> dict[str, list[int]]:
    """Path from ``folder`` -> size and time of last change, of the files that are there."""
    files = {}
    for path in paths:
        if path.exists():
            status = regular_file(path).stat()
            files[Path(os.path.relpath(path, folder)).as_posix()] = [status.st_size, status.st_mtime_ns]
    return files


def count_labels(labels: np.ndarray) -> dict[str, int]:
    """Label -> how often it occurs, for the labels that do; keys are text as JSON wants them."""
    counts = np.bincount(labels[labels >= 0])
    return {str(label): int(counts[label]) for label in np.flatnonzero(counts)}


def class_facts(taxonomy: Taxonomy, label: np.ndarray, object_label: np.ndarray) -> dict[str, dict[str, int]]:
    """The facts by which a report counts classes: ``points200`` and ``objects200`` of ScanNet200, ``points`` of own.

    Args:
        taxonomy: the classes.
        label: (N,) integer, of the points.
        object_label: (O,) integer, of the objects.
    """
    suffix = taxonomy.segment.removeprefix("segment")
    return {f"points{suffix}": count_labels(label), f"objects{suffix}": count_labels(object_label)}


def label_objects(label: np.ndarray, instance: np.ndarray | None, num_classes: int) -> np.ndarray:
    """A label for each object; one whose points have several labels counts once for each.

    Args:
        label: (N,) integer, of the points; negative: none.
        instance: (N,) integer, ids of objects of any size; negative: none. None: objects are not known.
        num_classes: above all labels.

    Returns:
        (O,) integer.
    """
    if instance is None:
        return np.empty(0, dtype=np.int64)
    of_object = (label >= 0) & (instance >= 0)
    _, dense = np.unique(instance[of_object], return_inverse=True)
    return np.unique(dense * num_classes + label[of_object]) % num_classes


def remove_leftovers(jobs: Sequence[SceneJob]) -> None:
    """Delete what a killed run left half-written of these scenes."""
    prefixes_of_parent: dict[Path, set[str]] = {}
    for job in jobs:
        prefixes_of_parent.setdefault(job.out.parent, set()).add(temporary_prefix(job.out.name))
    for parent, prefixes in prefixes_of_parent.items():
        for leftover in parent.glob(f"{TEMPORARY_PREFIX}*"):
            name = re.fullmatch(r"(.+?-)(old-)?[a-z0-9_]+", leftover.name)
            if name and name[1] in prefixes:
                _remove_leftover(leftover, name[1])


def remove_leftovers_of_tree(root: Path) -> None:
    """Delete the files that a killed run left half-written at the root and among the split lists.

    For those who write to the tree alone: one of several shards would take away what another one is writing.
    """
    for folder in (root, root / "splits"):
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            if leftover.is_file():
                leftover.unlink(missing_ok=True)


def _remove_leftover(leftover: Path, prefix: str) -> None:
    """Move it away, then delete it: should somebody be writing there after all, they fail, and leave no half scene."""
    aside = Path(tempfile.mkdtemp(prefix=f"{prefix}old-", dir=leftover.parent))
    try:
        os.replace(leftover, aside)
    except FileNotFoundError:
        pass  # it was no leftover, and is done now
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _is_done(job: SceneJob, made_from: Mapping[str, Any]) -> bool:
    earlier = read_source(job.out)
    return earlier is not None and earlier["made_from"] == made_from and arrays_are_complete(job.out, earlier)
