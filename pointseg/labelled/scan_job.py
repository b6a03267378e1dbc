"""One labelled scan file to a prepared scene."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, describe_os_error
from pointseg.formats.companions import companion_files
from pointseg.formats.reading import read_scan_file
from pointseg.labelled.content import LabelledPoints, make_content
from pointseg.labelled.label_source import (
    FoundLabels,
    explain_missing_labels,
    find_instances,
    find_labels,
    labels_beside,
)
from pointseg.preparation.jobs import SceneContent, SceneJob, describe_files
from pointseg.scans.own_scan import ScanOptions
from pointseg.taxonomy import Taxonomy

# Raise it when the same scan gives other arrays or other facts than before: scenes are then made anew.
IMPORT_VERSION = 4


@dataclass(frozen=True)
class Reading:
    """How scans are read, where their files do not say it."""

    options: ScanOptions
    """Unit, upward axis, colour."""
    label_field: str | None = None
    """Property that holds the labels; None: one of the usual names."""
    estimate_normals: bool = False
    """Of scans that have neither normals nor faces."""

    @property
    def command_options(self) -> list[str]:
        """The options of the command that say the same."""
        words = [] if self.label_field is None else ["--label-field", self.label_field]
        words += ["--estimate-normals"] if self.estimate_normals else []
        words += [] if self.options.unit is None else ["--unit", self.options.unit]
        words += [] if self.options.up is None else [f"--up={self.options.up}"]
        color = self.options.fill_color
        return words + ([] if color is None else ["--fill-color", ",".join(map(str, color))])


@dataclass(frozen=True)
class ScanJob(SceneJob):
    """One scan file."""

    path: Path
    out: Path
    taxonomy: Taxonomy
    reading: Reading
    needs_labels: bool = True

    @property
    def source_folder(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    def describe_source(self) -> dict[str, Any]:
        """The file and those beside it by size and time, the classes, how it is read, version."""
        return {
            "version": IMPORT_VERSION,
            "scan": self.path.name,
            "files": describe_files(files_of_scan(self.path), self.path.parent),
            "classes": self.taxonomy.ids_fingerprint,
            "needs_labels": self.needs_labels,
            "options": self.reading.command_options,
        }

    def make_scene(self) -> SceneContent:
        """Read the scan and its labels. Raises: DataError where one of them is bad."""
        reading = self.reading
        points, labels = read_labelled_scan(self.path, reading.label_field, self.needs_labels)
        content = make_content(self.out.name, points, self.taxonomy, reading.options, reading.estimate_normals)
        where, field = (None, None) if labels is None else (labels.where, labels.field)
        return SceneContent(content.arrays, {**content.facts, "labels_from": where, "label_field": field})


def read_labelled_scan(
    path: Path, label_field: str | None, needs_labels: bool
) -> tuple[LabelledPoints, FoundLabels | None]:
    """The points of a scan with their class ids, and what was found of those; both are None where there are none.

    Raises:
        DataError: scan or labels are bad, or there are none and ``needs_labels``.
    """
    scan = read_scan_file(path)
    try:
        labels = find_labels(scan, label_field)
    except DataError:
        # A property that the others have may be missing in a scan to be predicted.
        if needs_labels or label_field is None:
            raise
        labels = None
    if labels is None and needs_labels:
        raise DataError(explain_missing_labels(scan))
    if labels is None:
        return LabelledPoints(scan), None
    if labels.note:
        scan.notes.append(labels.note)
    return LabelledPoints(scan, labels.class_id, find_instances(scan)), labels


@dataclass(frozen=True)
class ClassQuery:
    """A scan whose ids are asked for."""

    path: Path
    label_field: str | None
    needs_labels: bool


def find_class_ids(query: ClassQuery) -> tuple[np.ndarray, bool] | str:
    """The unique ids in a scan, and whether 0 is "never classified" among them; or why it can't be read, in a line."""
    try:
        _, labels = read_labelled_scan(query.path, query.label_field, query.needs_labels)
    except DataError as error:
        return str(error)
    except OSError as error:
        return describe_os_error(error)
    if labels is None:
        return np.empty(0, dtype=np.int64), False
    return np.unique(labels.class_id), labels.zero_is_unclassified


def files_of_scan(path: Path) -> list[Path]:
    """The files that a scene is made from: the scan, the labels beside it, and what it names."""
    return list(dict.fromkeys([path, *labels_beside(path), *companion_files(path)]))
