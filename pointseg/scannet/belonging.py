"""Whether the files of a raw scan are all of this scan: what they say of it themselves, and whether they fit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.errors import DataError
from pointseg.scans.segment_ids import unique_ids

_PREFIX = "scannet."  # of names in the second release
_MESH_SUFFIX = "_vh_clean"
_MIN_VERTICES = 1000
_MIN_COHERENCE = 0.1  # of what there is in a segmentation of this mesh, where chance is 0 and one segment 1
_MIN_KNOWN_SHARE = 0.5


def refuse_other_scene(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a JSON file that says it is of another scene than its name.

    The second release writes ``scannet.scene0000_00``, the first ``scene0000_00``; who writes neither key is believed.

    Args:
        path: ``SCENE/SCENE.aggregation.json`` or ``SCENE/SCENE_vh_clean_2.0.010000.segs.json``.
        content: of the file: ``sceneId``, ``segmentsFile``.

    Raises:
        DataError: it is of another scene.
    """
    scene = path.name.partition(_MESH_SUFFIX)[0].removesuffix(".aggregation.json")
    for key in ("sceneId", "segmentsFile"):
        value = content.get(key)
        if not isinstance(value, str) or (key == "segmentsFile" and _MESH_SUFFIX not in value):
            continue
        owner = Path(value).name.partition(_MESH_SUFFIX)[0].removeprefix(_PREFIX)
        if owner != scene.removeprefix(_PREFIX):
            raise DataError(f"{path}: is of {owner}, by its {key}, not of {scene}; download it again")


def doubt_segments(
    segment_of_vertex: np.ndarray, faces: np.ndarray, segments_of_object: Sequence[np.ndarray]
) -> list[str]:
    """What speaks against the segments being those of the mesh, and of the objects, in words.

    A segment hangs together: in the demo scenes four fifths of the edges lie within one, of a mesh whose vertices are
    in another order a hundredth. The objects of a release name segments that there are.

    Args:
        segment_of_vertex: (N,) integer.
        faces: (F, 3) integer.
        segments_of_object: (S,) integer for each object.
    """
    doubts = []
    segment_ids, position_of_vertex = unique_ids(segment_of_vertex)
    if len(segment_of_vertex) >= _MIN_VERTICES:
        within = float((segment_of_vertex[faces[:, 0]] == segment_of_vertex[faces[:, 1]]).mean())
        share = np.bincount(position_of_vertex) / len(segment_of_vertex)
        chance = float((share**2).sum())
        if chance < 1 and (within - chance) / (1 - chance) < _MIN_COHERENCE:
            doubts.append(
                f"{within:.0%} of the mesh's edges lie within a segment, so the segments are of another mesh, or its "
                "vertices are in another order"
            )
    named = np.unique(np.concatenate(segments_of_object)) if len(segments_of_object) else np.empty(0, dtype=np.int64)
    num_unknown = int((~np.isin(named, segment_ids)).sum())
    if num_unknown > (1 - _MIN_KNOWN_SHARE) * len(named):
        doubts.append(
            f"{num_unknown} of the {len(named)} segments that its objects name are not in the mesh, so these are of "
            "another one"
        )
    return doubts
