"""Which points of a scene are one piece of surface, and so are to have one label: of a prepared scene, or of a mesh."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pointseg.errors import DataError
from pointseg.scans.over_segments import segment_mesh
from pointseg.scans.prepared import has_part, open_array, read_array
from pointseg.scans.segment_ids import unique_ids
from pointseg.scans.tree import SURFACE, prepare_again

NO_VOTES = "use --vote none (inference.vote=none)"


def read_scene_segments(folder: Path, xyz: np.ndarray) -> np.ndarray:
    """The over-segments of a prepared scene: those of its raw scan, or else those of its faces.

    Args:
        folder: of the scene.
        xyz: (N, 3) its ``coord``.

    Returns:
        (N,) int64: 0 to the number of segments - 1.

    Raises:
        DataError: it has neither, or they are damaged or of another mesh.
    """
    part = _surface_part(folder)
    array = read_array(folder, part)
    _check_length(folder, part, array, xyz)
    highest = len(xyz) - 1
    if array.min(initial=0) < 0 or array.max(initial=0) > highest:
        raise DataError(
            f"{folder}/{part}.npy: values are {array.min()}..{array.max()}, expected 0..{highest}; "
            f"{prepare_again(folder)}"
        )
    return number_segments(array) if part == "over_segment" else segments_of_mesh(xyz, array)


def check_segments(folders: Sequence[Path]) -> None:
    """Look for what :func:`read_scene_segments` reads, before the work begins.

    Raises:
        DataError: a scene has neither over-segments nor faces, or the array is truncated, or of another length, dtype
            or shape than it has to be.
    """
    for folder in folders:
        part = _surface_part(folder)
        _check_length(folder, part, open_array(folder, part, "r"), open_array(folder, "coord", "r"))


def surface_files(folder: Path) -> list[Path]:
    """The files that :func:`read_scene_segments` reads beside ``coord``."""
    return [folder / f"{part}.npy" for part in SURFACE if has_part(folder, part)][:1]


def segments_of_mesh(xyz: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The over-segments of a mesh, in which vertices at one place are one.

    Where a surface has a seam in its picture, or a corner of its own for each face, a mesh has several vertices at one
    place, and no side of a face goes from one to the other.

    Args:
        xyz: (N, 3) floating point, finite, metres.
        faces: (F, 3) integers, rows of ``xyz``.

    Returns:
        (N,) int64: 0 to the number of segments - 1.
    """
    order = np.lexsort(xyz.T)
    is_new = np.ones(len(xyz), dtype=bool)
    is_new[1:] = (xyz[order[1:]] != xyz[order[:-1]]).any(axis=1)
    if is_new.all():
        return segment_mesh(xyz, faces)
    place = np.empty(len(xyz), dtype=np.int64)
    place[order] = np.cumsum(is_new) - 1
    return number_segments(segment_mesh(xyz[order[is_new]], place[faces])[place])


def number_segments(ids: np.ndarray) -> np.ndarray:
    """(N,) int64, 0 to the number of segments - 1, from (N,) integers of any size."""
    return unique_ids(ids)[1].astype(np.int64, copy=False)


def _check_length(folder: Path, part: str, array: np.ndarray, xyz: np.ndarray) -> None:
    if part == "over_segment" and len(array) != len(xyz):
        raise DataError(
            f"{folder}/{part}.npy: has {len(array)} rows, coord.npy has {len(xyz)}; {prepare_again(folder)}"
        )


def _surface_part(folder: Path) -> str:
    for part in SURFACE:
        if has_part(folder, part):
            return part
    raise DataError(
        f"{folder}: has no faces (neither over_segment.npy nor face.npy), so there are no segments to vote in; "
        f"{NO_VOTES}, or prepare the scene again from a mesh"
    )
