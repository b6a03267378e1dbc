"""A scene on its way to the network: tensors, on any device."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from pointseg.errors import DataError
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE


@dataclass(frozen=True)
class Points:
    """N points as tensors that augmentation and voxelisation work on; all on one device."""

    xyz: torch.Tensor
    """(N, 3) float32, metres, z up."""
    rgb: torch.Tensor | None
    """(N, 3) float32 in 0..1."""
    normal: torch.Tensor | None
    """(N, 3) float32, unit."""
    label: torch.Tensor
    """(N,) int64, IGNORE = -1; all IGNORE where the scene has no labels."""

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, index: torch.Tensor) -> "Points":
        """The points of a bool mask or of integer positions, in that order."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: part[index] for name, part in parts.items() if part is not None})


def points_from_scene(scene: Scene, features: tuple[str, ...]) -> Points:
    """Copy a scene into tensors.

    Args:
        scene: the scan.
        features: inputs of the network: ``xyz``, ``rgb``, ``normal``.

    Raises:
        DataError: the scene lacks a part that the network was trained with.
    """
    for part, remedy in (("rgb", "export the mesh with vertex colours"), ("normal", "export it with faces or normals")):
        if part in features and getattr(scene, part) is None:
            raise DataError(
                f"{scene.name}: has no {part}, which the network takes as input; {remedy}, "
                f"or train with data.features without {part}"
            )
    label = np.full(scene.num_points, IGNORE) if scene.label is None else scene.label
    return Points(
        xyz=torch.tensor(np.asarray(scene.xyz)),
        rgb=torch.tensor(np.asarray(scene.rgb)).float().div_(255) if "rgb" in features else None,
        normal=torch.tensor(np.asarray(scene.normal)) if "normal" in features else None,
        label=torch.tensor(np.asarray(label), dtype=torch.int64),
    )


def center_points(points: Points, vertical: bool = True) -> Points:
    """Shift the middle of the bounding box to the origin in x and y and, if ``vertical``, its bottom to z = 0."""
    low, high = points.xyz.amin(dim=0), points.xyz.amax(dim=0)
    origin = (low + high) / 2
    origin[2] = low[2] if vertical else 0.0
    return replace(points, xyz=points.xyz - origin)
