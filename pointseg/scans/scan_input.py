"""What is to be predicted: a scan from its file, or a prepared scene from its folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointseg.errors import DataError, UsageError
from pointseg.formats.reading import read_scan_file
from pointseg.formats.scan_file import ScanFile
from pointseg.scans.own_scan import NORMALS_ESTIMATED, ScanOptions, make_scene
from pointseg.scans.prepared import read_scene
from pointseg.scans.scene import Scene
from pointseg.scans.tree import SOURCE_NAME
from pointseg.taxonomy import Taxonomy

_MESH_SUFFIX = "_vh_clean_2"
_NOTHING = ScanOptions()


@dataclass(frozen=True)
class ScanInput:
    """A scan as a network takes it, and as its file has it."""

    scene: Scene
    """The points that have a place, in the order of the file."""
    file: ScanFile
    """All N points; of a prepared scene, without faces."""
    has_place: np.ndarray
    """(N,) bool: which of them are points of the scene. The coordinates of the others are not finite."""
    faces: np.ndarray | None
    """(F, 3) int32, rows of the scene; None where there are none."""
    remarks: tuple[str, ...] = ()
    """What a person should know of this reading, a line each."""


def read_scan_input(path: Path, taxonomy: Taxonomy, needs_normal: bool, options: ScanOptions = _NOTHING) -> ScanInput:
    """Read a scan to predict or to look at.

    Args:
        path: a file in any format that is read, or the folder of a prepared scene.
        taxonomy: the classes of a prepared scene's labels.
        needs_normal: whether normals that are not there have to be made, from faces or neighbours.
        options: what the user says of a file; a prepared scene needs none.

    Raises:
        DataError: the file can't be read, or no point has a place; or a folder is that of no scene.
        UsageError: a library that reads the format, or makes the normals, is not installed; the unit or the axis is
            not known; or something is said of a prepared scene.
    """
    if path.is_dir():
        if options != _NOTHING:
            raise UsageError(
                f"{path}: is a prepared scene, in metres with z up and in its own colours; leave out unit, up and fill "
                "colour, or give the file of a scan"
            )
        if not any(path.glob("*.npy")) and not (path / SOURCE_NAME).exists():
            raise DataError(
                f"{path}: is no prepared scene, which has coord.npy; give the files of scans, not their folder"
            )
        scene = read_scene(path, taxonomy)
        rgb = None if scene.rgb is None else np.asarray(scene.rgb)
        file = ScanFile(path, np.asarray(scene.xyz), rgb=rgb)
        return ScanInput(scene, file, np.ones(scene.num_points, dtype=bool), None)
    file = read_scan_file(path)
    has_place, remarks = file.is_finite, [f"{path}: {note}" for note in file.notes]
    num_without = int((~has_place).sum())
    if num_without == file.num_points:
        raise DataError(f"{path}: no point has finite coordinates; export the scan again")
    if num_without:
        share = f"{num_without:,} of {file.num_points:,} points"
        remarks.append(f"{path}: the coordinates of {share} are not finite or beyond 1e12; they get no class")
    there = file.select(has_place)
    own = make_scene(scan_name(path), there, options, needs_normal)
    # That normals are estimated holds for all such scans, and without a name it is said once.
    remarks += [line if line == NORMALS_ESTIMATED else f"{path}: {line}" for line in own.remarks]
    return ScanInput(own.scene, file, has_place, there.faces, tuple(remarks))


def scan_name(path: Path) -> str:
    """ScanNet's id of the scene where the file is named as in its release, else the file's stem."""
    return path.resolve().name if path.is_dir() else path.stem.removesuffix(_MESH_SUFFIX) or path.stem
