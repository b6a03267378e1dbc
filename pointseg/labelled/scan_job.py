"""One labelled scan file to a prepared scene."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError, describe_os_error
from pointseg.formats.companions import companion_files
from pointseg.formats.reading import read_scan_file
from pointseg.labelled.content import LabelledPoints, make_content
from pointseg.labelled.label_source import BESIDE, explain_missing_labels, find_instances, find_labels
from pointseg.preparation.jobs import SceneContent, SceneJob, describe_files
from pointseg.scans.own_scan import ScanOptions
from pointseg.taxonomy import Taxonomy

# Raise it when the same scan gives other arrays or other facts than before: scenes are then made anew.
IMPORT_VERSION = 1
# Files of the same stem that readers look into.
_COMPANIONS = (".mtl", ".bin", ".png", ".jpg", ".jpeg", *BESIDE)


@dataclass(frozen=True)
class ImportSettings:
    """What is the same for all scans of an import, and decides what the scenes look like."""

    taxonomy: Taxonomy
    options: ScanOptions
    """Unit, upward axis and colour, where the user says them."""
    label_field: str | None = None
    """Property that holds the labels; None: one of the usual names."""
    estimate_normals: bool = False
    """Of scans that have neither normals nor faces."""

    def describe(self) -> dict[str, Any]:
        """JSON-ready, for ``made_from``."""
        options = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.options).items()}
        return {
            "version": IMPORT_VERSION,
            "classes": self.taxonomy.ids_fingerprint,
            "label_field": self.label_field,
            "estimate_normals": self.estimate_normals,
            **options,
        }


@dataclass(frozen=True)
class ScanJob(SceneJob):
    """One scan file."""

    path: Path
    out: Path
    settings: ImportSettings
    needs_labels: bool = True

    @property
    def source_folder(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    def describe_source(self) -> dict[str, Any]:
        """The file and those beside it by size and time, settings, version."""
        files = describe_files(files_of_scan(self.path), self.path.parent)
        return {"scan": self.path.name, "files": files, "needs_labels": self.needs_labels, **self.settings.describe()}

    def make_scene(self) -> SceneContent:
        """Read the scan and its labels. Raises: DataError where one of them is bad."""
        points, where = read_labelled_scan(self.path, self.settings.label_field, self.needs_labels)
        settings = self.settings
        content = make_content(self.out.name, points, settings.taxonomy, settings.options, settings.estimate_normals)
        return SceneContent(content.arrays, {**content.facts, "labels_from": where})


def read_labelled_scan(path: Path, label_field: str | None, needs_labels: bool) -> tuple[LabelledPoints, str | None]:
    """The points of a scan with their class ids, and where those were; ids and place are None where there are none.

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
    notes = scan.notes + ([labels.note] if labels is not None and labels.note else [])
    points = LabelledPoints(
        where=str(path),
        xyz=scan.xyz,
        class_id=None if labels is None else labels.class_id,
        instance=find_instances(scan) if labels is not None else None,
        rgb=scan.rgb,
        normal=scan.normal,
        faces=scan.faces,
        up_axis_hint=scan.up_axis_hint,
        notes=notes,
    )
    return points, None if labels is None else labels.where


@dataclass(frozen=True)
class ClassQuery:
    """A scan whose ids are asked for."""

    path: Path
    label_field: str | None
    needs_labels: bool


def find_class_ids(query: ClassQuery) -> tuple[np.ndarray, str | None] | str:
    """The unique ids in a scan and where they were, to make a table of them; or why it can't be read, in a line."""
    try:
        points, where = read_labelled_scan(query.path, query.label_field, query.needs_labels)
    except DataError as error:
        return str(error)
    except OSError as error:
        return describe_os_error(error)
    return np.empty(0, dtype=np.int64) if points.class_id is None else np.unique(points.class_id), where


def files_of_scan(path: Path) -> list[Path]:
    """The files that a scene is made from, be they there or not."""
    beside = [path.with_name(path.stem + suffix) for suffix in _COMPANIONS if suffix != path.suffix]
    return list(dict.fromkeys([path, *beside, *companion_files(path)]))
