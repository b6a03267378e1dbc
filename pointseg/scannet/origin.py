"""What the check of a prepared tree has to know of scenes that were made from ScanNet's raw scans."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pointseg.errors import PointsegError
from pointseg.preparation.completeness import Table
from pointseg.preparation.inspection import Origin
from pointseg.scannet.preparation import PREPARATION_VERSION, files_of_source
from pointseg.scannet.raw_scan import read_label_map


def scannet_origin() -> Origin:
    """Of scenes that ``pointseg prepare`` made."""
    return Origin(PREPARATION_VERSION, files_of_source, _find_label_map)


def _find_label_map(_root: Path, settings: Mapping[str, Any]) -> list[Table]:
    path = settings.get("label_map")
    if path is not None and Path(path).is_file():
        with suppress(PointsegError):
            fingerprint = read_label_map(Path(path)).fingerprint
            return [Table("label map", Path(path), "label_map", frozenset((fingerprint,)))]
    return []
