"""A raw scan to a prepared scene: what of :mod:`pointseg.preparation.jobs` is ScanNet's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointseg.preparation.jobs import SceneContent, SceneJob, class_facts, describe_files
from pointseg.scannet.raw_scan import LabelMap, RawScene, read_raw_scene, source_files
from pointseg.taxonomy import load_taxonomy

# Raise it when the same raw scan gives other arrays or other facts than before: scenes are then made anew.
PREPARATION_VERSION = 3


@dataclass(frozen=True)
class RawSceneJob(SceneJob):
    """One raw scan to prepare."""

    folder: Path
    """The raw scan; its name is the scene's."""
    out: Path
    label_map: LabelMap
    align: bool = True
    labelled: bool = True

    @property
    def source_folder(self) -> Path:
        """The raw scan."""
        return self.folder

    def describe_source(self) -> dict[str, Any]:
        """Files by size and time, settings, version."""
        files = describe_files(source_files(self.folder, self.labelled, self.align), self.folder)
        label_map = self.label_map.fingerprint if self.labelled else None
        return {"version": PREPARATION_VERSION, "files": files, "align": self.align, "label_map": label_map}

    def make_scene(self) -> SceneContent:
        """Read the raw scan, with 20 and 200 labels."""
        scene = read_raw_scene(self.folder, self.label_map, self.align, self.labelled)
        return SceneContent(scene_arrays(scene), describe_scene(scene))


def files_of_source(folder: Path, made_from: Mapping[str, Any]) -> list[Path]:
    """The raw files that a scene is made from, given what its ``source.json`` says."""
    return source_files(folder, labelled=made_from["label_map"] is not None, align=made_from["align"])


def scene_arrays(scene: RawScene) -> dict[str, np.ndarray]:
    """The arrays of the prepared tree by name."""
    mesh = scene.mesh
    assert mesh.rgb is not None, "the raw reader refuses meshes without colours"
    assert mesh.normal is not None, "the raw reader computes normals"
    arrays = {"coord": mesh.xyz, "color": mesh.rgb, "normal": mesh.normal}
    if scene.over_segment is not None:
        arrays["over_segment"] = scene.over_segment.astype(np.int32)
    else:
        # Segments are made of them where they are asked for: that takes longer than all the rest of a preparation.
        assert mesh.faces is not None, "the raw reader refuses meshes without faces"
        arrays["face"] = mesh.faces
    if scene.annotation is not None:
        arrays["segment20"] = scene.annotation.label20
        arrays["segment200"] = scene.annotation.label200
        arrays["instance"] = scene.annotation.instance
    return arrays


def describe_scene(scene: RawScene) -> dict[str, Any]:
    """What the report says of a scene: counts a class (label -> number), unknown labels, alignment, doubts."""
    facts: dict[str, Any] = {"num_points": scene.mesh.num_vertices, "alignment": scene.alignment}
    if scene.doubts:
        facts["doubts"] = scene.doubts
    annotation = scene.annotation
    if annotation is not None:
        facts["num_objects"] = len(annotation.object_label200)
        facts["unknown_labels"] = dict(sorted(annotation.unknown_labels.items()))
        facts |= class_facts(load_taxonomy("scannet200"), annotation.label200, annotation.object_label200)
        facts |= class_facts(load_taxonomy("scannet20"), annotation.label20, annotation.object_label20)
    return facts
