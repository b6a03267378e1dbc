"""Points with class ids to a scene of the prepared tree."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pointseg.errors import DataError
from pointseg.formats.scan_file import ScanFile
from pointseg.preparation.jobs import SceneContent, class_facts, label_objects
from pointseg.scans.own_scan import ScanOptions, make_scene
from pointseg.taxonomy import IGNORE, Taxonomy


@dataclass
class LabelledPoints:
    """N points of a scan as their source has them, and of what they are."""

    scan: ScanFile
    """The points; its path is that of a file or folder, for messages."""
    class_id: np.ndarray | None = None
    """(N,) int64, ids of classes; ids that the table lacks count as not labelled. None: there are none."""
    instance: np.ndarray | None = None
    """(N,) int64, id of the object, negative = none. None: there are none."""


def make_content(
    name: str, points: LabelledPoints, taxonomy: Taxonomy, options: ScanOptions, estimate_normals: bool = False
) -> SceneContent:
    """The arrays of the prepared scene, and what the report says of it.

    Points that have no place, as where a camera saw no depth, are left out.

    Args:
        name: of the scene.
        points: of the scan.
        taxonomy: the classes.
        options: unit, upward axis and colour, where the user says them.
        estimate_normals: from neighbouring points, where there are neither normals nor faces.

    Raises:
        DataError: no point has a place, or there are not as many class ids or objects as points.
        UsageError: normals have to be estimated, and Open3D is not installed.
    """
    notes, has_place = list(points.scan.notes), points.scan.is_finite
    if not has_place.any():
        raise DataError(f"{points.scan.path}: no coordinate is finite; scan it again or leave it out")
    if num_left_out := int((~has_place).sum()):
        notes.append(f"{num_left_out:,} points have no place (NaN) and were left out")
    for what, ids in (("class ids", points.class_id), ("objects", points.instance)):
        if ids is not None and len(ids) != len(has_place):
            raise DataError(
                f"{points.scan.path}: has {len(ids)} {what} for {len(has_place)} points, its annotation is of another "
                "scan or cut off; download the scan again"
            )
    class_id, instance = (None if ids is None else ids[has_place] for ids in (points.class_id, points.instance))
    there = points.scan.select(has_place)
    own = make_scene(name, there, options, estimate_normals)
    scene = own.scene
    notes += own.remarks
    arrays = {"coord": scene.xyz, "color": scene.rgb, "normal": scene.normal, "instance": instance}
    arrays["face"] = there.faces
    facts: dict[str, Any] = {"num_points": scene.num_points, "notes": notes, "offset_m": own.frame.offset_m.tolist()}
    if class_id is not None:
        label = taxonomy.label_from_class_id(class_id)
        arrays["segment"] = label
        object_label = label_objects(label, instance, taxonomy.num_classes)
        facts |= {"num_objects": len(object_label), **class_facts(taxonomy, label, object_label)}
        unknown, counts = np.unique(class_id[label == IGNORE], return_counts=True)
        facts["unknown_ids"] = {str(i): int(n) for i, n in zip(unknown.tolist(), counts, strict=True)}
    present = {part: array for part, array in arrays.items() if array is not None}
    return SceneContent(present, {**facts, "parts": sorted(present)})
