"""What the check of a prepared tree has to know of scenes that were imported."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pointseg.errors import PointsegError
from pointseg.labelled.scan_job import IMPORT_VERSION, files_of_scan
from pointseg.preparation.completeness import Table
from pointseg.preparation.inspection import Origin
from pointseg.taxonomy import CLASS_TABLE, read_class_table


def labelled_origin() -> Origin:
    """Of scenes that ``pointseg import`` made."""
    return Origin(IMPORT_VERSION, _files_of_source, "classes", _find_table)


def _files_of_source(folder: Path, made_from: Mapping[str, Any]) -> list[Path]:
    if "scan" in made_from:
        return files_of_scan(folder / made_from["scan"])
    return [folder / name for name in made_from["files"]]


def _find_table(root: Path, _settings: Mapping[str, Any]) -> Table | None:
    with suppress(PointsegError):
        path = root / CLASS_TABLE
        return Table("table of classes", path, read_class_table(path).ids_fingerprint)
    return None
