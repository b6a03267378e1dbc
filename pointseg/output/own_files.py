"""A file that a command writes takes the place of nothing that it reads, nor of a file of the tree or run beside it."""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from pointseg.atomic import check_writable
from pointseg.errors import DataError, UsageError
from pointseg.formats.ply_header import read_mesh_header
from pointseg.output.prediction_record import RECORD_NAME
from pointseg.scans.tree import REPORT_NAME, SPLITS, find_splits
from pointseg.taxonomy import CLASS_TABLE

# Of a prepared tree, a raw one, a run, and a folder of predictions: files, and folders with all that is in them.
_KEPT = {REPORT_NAME, CLASS_TABLE, RECORD_NAME, "splits", *SPLITS, "scans", "scans_test"}
_KEPT |= {"config.yaml", "surroundings.json", "metrics.jsonl", "checkpoints", "tensorboard"}
_COORDINATES, _NORMALS, _COLORS = ["x", "y", "z"], ["nx", "ny", "nz"], ["red", "green", "blue"]


def check_output_file(out: str | os.PathLike[str] | None, option: str, inputs: Iterable[Path]) -> None:
    """Check where a single file is to be written, before the work begins.

    Args:
        out: the file; None: it was not asked for.
        option: that it was given by.
        inputs: files and folders that the command reads; those that are not there don't count.

    Raises:
        UsageError: it is one of the inputs, lies in a prepared scene, or is a file of a tree, a run or predictions.
        OSError: it can't be written.
    """
    if out is None:
        return
    out = Path(out)
    for path in inputs:
        if path.is_dir():
            folder, place = path.resolve(), out.resolve()
            first = place.relative_to(folder).parts[:1] if place.is_relative_to(folder) else ()
            if first and (first[0] in {*_KEPT, *find_splits(folder)} or (folder / "coord.npy").exists()):
                raise UsageError(
                    f"{out}: would take a place in {path}, which is read; choose another name with {option}"
                )
        elif out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"{out}: is read, and would be written over; choose another name with {option}")
    check_writable(out)


def refuse_to_replace_other_mesh(out: Path) -> None:
    """Raises: UsageError where a PLY file is there, and by its header it is none that ``visualize`` writes."""
    if not out.exists():
        return
    try:
        names = read_mesh_header(out).properties["vertex"]
    except DataError:
        names = []
    if names not in (_COORDINATES + _COLORS, _COORDINATES + _NORMALS + _COLORS):
        raise UsageError(f"{out}: is there already, and is no mesh of this command; choose another name with --save")


def refuse_to_replace_other_zip(out: Path) -> None:
    """Raises: UsageError where a zip is there, and holds anything but ``<scene>.txt`` at its root."""
    if not out.exists():
        return
    try:
        with zipfile.ZipFile(out) as archive:
            names = archive.namelist()
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile):
        names = [""]
    if not all(name.endswith(".txt") and not {"/", "\\"} & set(name) for name in names):
        raise UsageError(f"{out}: is there already, and is no submission; choose another name with --out")
