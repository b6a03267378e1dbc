"""Many scenes as one sparse tensor's worth of arrays: mixed, voxelised, within a budget, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from pointseg.config import DataConfig
from pointseg.data.augment import crop
from pointseg.data.points import Points, center_points, concatenate
from pointseg.data.voxelize import Voxels, draw_points, stack_features


@dataclass(frozen=True)
class Batch:
    """B scenes, voxelised and concatenated: M voxels."""

    coords: torch.Tensor
    """(M, 4) int32 (scene in batch, x, y, z), unique, sorted."""
    features: torch.Tensor
    """(M, C) float32."""
    labels: torch.Tensor
    """(M,) int64, IGNORE = -1."""
    voxel_of_point: tuple[torch.Tensor, ...]
    """For each scene (N,) int64: rows of this batch. Empty in training, which has no use for it."""
    extent: tuple[int, int, int]
    """Voxels along x, y, z that hold every scene."""
    names: tuple[str, ...]
    """Names of the scenes; of two that were mixed both, with a + between."""
    num_cropped: int = 0
    """Scenes of which a part was left out, so that the batch has ``data.max_voxels``."""
    num_unaugmented: int = 0
    """Scenes that were taken as they are, because augmentation left no point of them."""

    @property
    def num_scenes(self) -> int:
        """B."""
        return len(self.names)

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which copies to a GPU need not wait."""
        return self._map(torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> "Batch":
        """The batch on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return replace(
            self,
            coords=function(self.coords),
            features=function(self.features),
            labels=function(self.labels),
            voxel_of_point=tuple(function(part) for part in self.voxel_of_point),
        )


@dataclass
class DrawnScene:
    """A scene, or two that were mixed, before it becomes voxels."""

    name: str
    points: Points
    generator: torch.Generator
    """What the rest of its way draws from."""
    num_unaugmented: int = 0
    """Scenes in it that were taken as they are."""


def mix(first: Points, second: Points) -> Points:
    """Two scenes as one: both centred, on the same floor, one inside the other (Mix3D: Nekrasov et al., 3DV 2021).

    They are mixed before they become voxels, so that no voxel is there twice. A voxel that has points of both is
    like any other: one point is drawn, and gives it features and label.
    """
    return concatenate([center_points(first), center_points(second)])


def make_batch(scenes: Sequence[DrawnScene], config: DataConfig) -> Batch:
    """Scenes as voxels, one point drawn for each; at most ``config.max_voxels`` of them.

    What is too much is taken from the largest scenes: each keeps what it has, but none more than the largest number
    with which all fit. One that is cropped keeps what is around a random center, and is centred there.
    """
    drawn = [draw_points(scene.points, config.voxel_size_m, scene.generator) for scene in scenes]
    limit = largest_share([len(points) for _, points in drawn], config.max_voxels)
    num_cropped = 0
    for index, (scene, (_, points)) in enumerate(zip(scenes, drawn, strict=True)):
        if len(points) > limit:
            rest = center_points(crop(points, limit, scene.generator), vertical=False)
            drawn[index] = draw_points(rest, config.voxel_size_m, scene.generator)
            num_cropped += 1
    voxels = [
        Voxels(grid.coords, stack_features(points, config.features), points.label, grid.voxel_of_point)
        for grid, points in drawn
    ]
    batch = collate([(scene.name, part) for scene, part in zip(scenes, voxels, strict=True)])
    num_unaugmented = sum(scene.num_unaugmented for scene in scenes)
    return replace(batch, voxel_of_point=(), num_cropped=num_cropped, num_unaugmented=num_unaugmented)


def largest_share(num_voxels: Sequence[int], max_voxels: int | None) -> int:
    """How many voxels a scene may have so that all together have ``max_voxels``, where the smaller ones stay whole."""
    left = sum(num_voxels) if max_voxels is None else max_voxels
    for index, count in enumerate(sorted(num_voxels)):
        share = left // (len(num_voxels) - index)
        if count > share:
            return max(1, share)
        left -= count
    return max(num_voxels)


def collate(scenes: list[tuple[str, Voxels]]) -> Batch:
    """Concatenate scenes in order. Each scene's voxels are sorted, so the batch is."""
    coords, voxel_of_point, offset = [], [], 0
    for index, (_, voxels) in enumerate(scenes):
        scene_column = torch.full((len(voxels.coords), 1), index, dtype=torch.int32, device=voxels.coords.device)
        coords.append(torch.cat([scene_column, voxels.coords], dim=1))
        voxel_of_point.append(voxels.voxel_of_point + offset)
        offset += len(voxels.coords)
    stacked = torch.cat(coords)
    x, y, z = (stacked[:, 1:].amax(dim=0) + 1).tolist()
    return Batch(
        coords=stacked,
        features=torch.cat([voxels.features for _, voxels in scenes]),
        labels=torch.cat([voxels.label for _, voxels in scenes]),
        voxel_of_point=tuple(voxel_of_point),
        extent=(x, y, z),
        names=tuple(name for name, _ in scenes),
    )
