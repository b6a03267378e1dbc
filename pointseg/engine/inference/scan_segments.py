"""Which points of a scan have one label, for votes: by what its files say."""

import numpy as np

from pointseg.errors import DataError
from pointseg.scannet.raw_scan import read_segments, segments_beside
from pointseg.scans.scan_input import ScanInput
from pointseg.scans.scene_segments import (
    NO_VOTES,
    number_segments,
    read_scene_segments,
    segments_of_mesh,
)


def find_segments(scan: ScanInput) -> np.ndarray:
    """The over-segments of a scan's points: those published beside its mesh, or else those of its faces.

    Returns:
        (n,) int64 for the points of the scene, 0 to the number of segments - 1.

    Raises:
        DataError: it has no faces, or the published segments are damaged or of another mesh.
    """
    path, xyz = scan.file.path, np.asarray(scan.scene.xyz)
    if path.is_dir():
        return read_scene_segments(path, xyz)
    if (published := segments_beside(path)) is not None:
        return number_segments(read_segments(published, scan.file.num_points)[scan.has_place])
    if scan.faces is None:
        raise DataError(f"{path}: has no faces, so there are no segments to vote in; {NO_VOTES}, or give a mesh")
    return segments_of_mesh(xyz, scan.faces)
