"""Points with class ids to a scene of the prepared tree."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pointseg.errors import DataError
from pointseg.formats.scan_file import finite_rows, keep_faces
from pointseg.preparation.jobs import SceneContent, class_facts, label_objects
from pointseg.scans.own_scan import ScanOptions, make_scene
from pointseg.taxonomy import IGNORE, Taxonomy


@dataclass
class LabelledPoints:
    """N points of a scan as their source has them. What it does not say is None."""

    where: str
    """The file or folder, for messages."""
    xyz: np.ndarray
    """(N, 3) float, in the unit and axes of the source."""
    class_id: np.ndarray | None
    """(N,) int64, ids of classes; ids that the table lacks count as not labelled."""
    instance: np.ndarray | None = None
    """(N,) int64, id of the object, negative = none."""
    rgb: np.ndarray | None = None
    """(N, 3) uint8."""
    normal: np.ndarray | None = None
    """(N, 3) float32, unit length."""
    faces: np.ndarray | None = None
    """(F, 3) int, to compute normals from where there are none."""
    up_axis_hint: str | None = None
    """The axis that its format says is up."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of its reading."""


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
        DataError: no point has a place.
        UsageError: normals have to be estimated, and Open3D is not installed.
    """
    notes = list(points.notes)
    points, num_left_out = _leave_out_points_without_place(points)
    if num_left_out:
        notes.append(f"{num_left_out:,} points have no place (NaN) and were left out")
    own = make_scene(
        name,
        points.xyz,
        options,
        points.rgb,
        points.normal,
        points.faces,
        needs_normal=estimate_normals,
        format_up=points.up_axis_hint,
        where=points.where,
    )
    scene = own.scene
    notes += [remark.removeprefix(f"{points.where}: ") for remark in own.remarks]
    arrays = {"coord": scene.xyz, "color": scene.rgb, "normal": scene.normal, "instance": points.instance}
    facts: dict[str, Any] = {"num_points": scene.num_points, "notes": notes, "offset_m": own.frame.offset_m.tolist()}
    if points.class_id is not None:
        label = taxonomy.label_from_class_id(points.class_id)
        arrays["segment"] = label
        object_label = label_objects(label, points.instance, taxonomy.num_classes)
        facts |= {"num_objects": len(object_label), **class_facts(taxonomy, label, object_label)}
        unknown, counts = np.unique(points.class_id[label == IGNORE], return_counts=True)
        facts["unknown_ids"] = {str(i): int(n) for i, n in zip(unknown.tolist(), counts, strict=True)}
    present = {part: array for part, array in arrays.items() if array is not None}
    return SceneContent(present, {**facts, "parts": sorted(present)})


def _leave_out_points_without_place(points: LabelledPoints) -> tuple[LabelledPoints, int]:
    is_finite = finite_rows(points.xyz)
    num_left_out = int((~is_finite).sum())
    if not num_left_out:
        return points, 0
    if not is_finite.any():
        raise DataError(f"{points.where}: no coordinate is finite; scan it again or leave it out")

    def kept(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[is_finite]

    faces = keep_faces(points.faces, is_finite)
    parts = (kept(points.class_id), kept(points.instance), kept(points.rgb), kept(points.normal))
    return LabelledPoints(points.where, points.xyz[is_finite], *parts, faces, points.up_axis_hint), num_left_out
