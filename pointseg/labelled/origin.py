"""What the check of a prepared tree has to know of scenes that were imported."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pointseg.errors import PointsegError
from pointseg.labelled.datasets import READERS, describe_mapping, open_dataset
from pointseg.labelled.scan_job import IMPORT_VERSION, files_of_scan
from pointseg.preparation.completeness import Table
from pointseg.preparation.inspection import Origin
from pointseg.taxonomy import CLASS_TABLE, read_class_table


def labelled_origin() -> Origin:
    """Of scenes that ``pointseg import`` made."""
    return Origin(IMPORT_VERSION, _files_of_source, _find_tables)


def _files_of_source(folder: Path, made_from: Mapping[str, Any]) -> list[Path]:
    if "scan" in made_from:
        return files_of_scan(folder / made_from["scan"])
    return [folder / name for name in made_from["files"]]


def _find_tables(root: Path, settings: Mapping[str, Any]) -> list[Table]:
    tables = []
    with suppress(PointsegError):
        path = root / CLASS_TABLE
        tables.append(Table("table of classes", path, "classes", read_class_table(path).fingerprints))
    with suppress(PointsegError):  # the data set, or the library, may be on another machine
        match settings.get("command_options"):
            case [str(source), "--dataset", str(name)] if name in READERS:
                mapping = describe_mapping(name, open_dataset(name, Path(source), offline=True))
                tables.append(Table("label mapping", Path(source), "mapping", frozenset((mapping,))))
    return tables
