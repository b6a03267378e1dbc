"""A scene on its way to the network: tensors, on any device."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from pointseg.errors import DataError
from pointseg.scans.scene import Scene
from pointseg.taxonomy import IGNORE

_REMEDY_OF_PART = {
    "rgb": "export the mesh with vertex colours, or say one colour for all points with --fill-color R,G,B",
    "normal": "export it with faces or normals",
}


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
    instance: torch.Tensor | None = None
    """(N,) int32, -1 = no object; None where nobody asked for it."""

    def __len__(self) -> int:
        return len(self.xyz)

    def select(self, index: torch.Tensor) -> "Points":
        """The points of a bool mask or of integer positions, in that order."""
        positions = index.nonzero().squeeze(1) if index.dtype == torch.bool else index
        return self._map(lambda part: part.index_select(0, positions))

    def to(self, device: torch.device) -> "Points":
        """The points on ``device``."""
        return self._map(lambda part: part.to(device, non_blocking=True))

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Points":
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: function(part) for name, part in parts.items() if part is not None})


@dataclass(frozen=True)
class PackedScene:
    """A scene as tensors of few bytes: what a cache keeps, and what is sent to a GPU. Nothing writes into it."""

    name: str
    xyz: torch.Tensor
    """(N, 3) float32, metres, z up."""
    rgb: torch.Tensor | None
    """(N, 3) uint8."""
    normal: torch.Tensor | None
    """(N, 3) float32, unit."""
    label: torch.Tensor
    """(N,) int16, IGNORE = -1; all IGNORE where the scene has no labels."""
    instance: torch.Tensor | None = None
    """(N,) int32, -1 = no object; None where nobody asked for it."""

    def unpack(self) -> Points:
        """As points; what need not be converted is shared."""
        rgb = None if self.rgb is None else self.rgb.float().div_(255)
        return Points(self.xyz, rgb, self.normal, self.label.long(), self.instance)

    def to(self, device: torch.device) -> "PackedScene":
        """The scene on ``device``."""
        return self._map(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> "PackedScene":
        """The scene in page-locked memory, from which copies to a GPU need not wait."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "PackedScene":
        return replace(
            self,
            xyz=function(self.xyz),
            rgb=None if self.rgb is None else function(self.rgb),
            normal=None if self.normal is None else function(self.normal),
            label=function(self.label),
            instance=None if self.instance is None else function(self.instance),
        )


def pack_scene(scene: Scene, features: tuple[str, ...], with_instance: bool = False) -> PackedScene:
    """Copy a scene into tensors.

    Args:
        scene: the scan.
        features: inputs of the network: ``xyz``, ``rgb``, ``normal``.
        with_instance: whether to keep which object each point belongs to.

    Raises:
        DataError: the scene lacks a part that the network was trained with, or its instances.
    """
    if with_instance and scene.instance is None:
        raise DataError(
            f"{scene.name}: has no instance.npy, which augment.objects needs; prepare it with instances, or set the "
            "probabilities of augment.objects to 0"
        )
    check_parts(scene, features, scene.name)
    label = np.full(scene.num_points, IGNORE) if scene.label is None else scene.label
    return PackedScene(
        name=scene.name,
        # Contiguous: torch takes no array that was turned round, as colours are from BGR to RGB.
        xyz=torch.tensor(np.ascontiguousarray(scene.xyz)),
        rgb=torch.tensor(np.ascontiguousarray(scene.rgb)) if "rgb" in features else None,
        normal=torch.tensor(np.ascontiguousarray(scene.normal)) if "normal" in features else None,
        label=torch.tensor(np.ascontiguousarray(label), dtype=torch.int16),
        instance=_number_instances(scene.instance) if scene.instance is not None and with_instance else None,
    )


def _number_instances(instance: np.ndarray) -> torch.Tensor:
    """(N,) int32: objects from 0 in the order of their ids, which may be any integers; -1 where an id is negative."""
    ids, number = np.unique(instance, return_inverse=True)
    return torch.from_numpy(np.maximum(number - int((ids < 0).sum()), -1).astype(np.int32))


def check_parts(scene: Scene, features: Collection[str], where: str) -> None:
    """Raises: DataError, of a file or scene that is called ``where``, if it lacks an input of the network."""
    for part, remedy in _REMEDY_OF_PART.items():
        if part in features and getattr(scene, part) is None:
            raise DataError(
                f"{where}: has no {part}, which the network takes as input; {remedy}, "
                f"or train with data.features without {part}"
            )


def points_from_scene(scene: Scene, features: tuple[str, ...]) -> Points:
    """Copy a scene into tensors; as :func:`pack_scene`."""
    return pack_scene(scene, features).unpack()


def concatenate(parts: Sequence[Points]) -> Points:
    """All points of ``parts``, in their order; all of them have colours, normals and instances, or none has."""
    return Points(
        xyz=torch.cat([points.xyz for points in parts]),
        rgb=_join([points.rgb for points in parts]),
        normal=_join([points.normal for points in parts]),
        label=torch.cat([points.label for points in parts]),
        instance=_join([points.instance for points in parts]),
    )


def _join(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    known = [part for part in parts if part is not None]
    assert len(known) in (0, len(parts)), "some have it and others have not"
    return torch.cat(known) if known else None


def center_points(points: Points, vertical: bool = True, center: str = "extremes") -> Points:
    """Shift the middle of the bounding box to the origin in x and y and, if ``vertical``, its bottom to z = 0.

    Args:
        points: N > 0.
        vertical: whether z is shifted, too.
        center: what the box is around: ``extremes``, all points; ``robust``, all but strays
            (:func:`pointseg.scans.extent.extent_without_strays`). Without strays the result is the same, bit by bit.
    """
    if center == "robust":
        from pointseg.scans.extent import extent_without_strays

        extent = extent_without_strays(points.xyz.cpu().numpy())
        low, high = (torch.from_numpy(corner).to(points.xyz.device) for corner in extent)
    else:
        low, high = torch.aminmax(points.xyz, dim=0)
    origin = (low + high) / 2
    origin[2] = low[2] if vertical else 0.0
    return replace(points, xyz=points.xyz - origin)
