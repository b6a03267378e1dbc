"""Many scenes as one sparse tensor's worth of arrays: mixed, voxelised, within a budget, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from pointseg.config import DataConfig
from pointseg.data.augment import draw_uniform
from pointseg.data.points import Points, center_points, concatenate
from pointseg.data.voxelize import TooWideError, VoxelGrid, VoxelInputs, Voxels, draw_points, stack_features
from pointseg.errors import DataError


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
    """Scenes cut below ``data.max_points``, so that the batch has ``data.max_voxels``."""
    num_unaugmented: int = 0
    """Scenes that were taken as they are, because augmentation left no point of them."""
    teacher_features: torch.Tensor | None = None
    """(M, C') float32: what a teacher takes of the voxels; None where it is ``features``, or there is no teacher."""

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

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All of them."""
        further = () if self.teacher_features is None else (self.teacher_features,)
        return (self.coords, self.features, self.labels, *further, *self.voxel_of_point)

    def with_features(self, features: torch.Tensor) -> "Batch":
        """The same voxels with other features (M, C'), for another network."""
        return replace(self, features=features, teacher_features=None)

    def split(self, scenes_at_once: int) -> list["Batch"]:
        """The batch as several of so many scenes, the last of what is left.

        How many scenes were cropped or not augmented is known of the whole alone: the parts say 0. The host waits for
        the sizes of the scenes.
        """
        if self.num_scenes <= scenes_at_once:
            return [self]
        num_voxels = torch.bincount(self.coords[:, 0], minlength=self.num_scenes).tolist()
        parts, end = [], 0
        for first in range(0, self.num_scenes, scenes_at_once):
            scenes = slice(first, first + scenes_at_once)
            begin, end = end, end + sum(num_voxels[scenes])
            coords = self.coords[begin:end].clone()
            coords[:, 0] -= first
            parts.append(
                Batch(
                    coords=coords,
                    features=self.features[begin:end],
                    labels=self.labels[begin:end],
                    voxel_of_point=tuple(rows - begin for rows in self.voxel_of_point[scenes]),
                    extent=self.extent,
                    names=self.names[scenes],
                    teacher_features=None if self.teacher_features is None else self.teacher_features[begin:end],
                )
            )
        return parts

    def _map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return replace(
            self,
            coords=function(self.coords),
            features=function(self.features),
            labels=function(self.labels),
            voxel_of_point=tuple(function(part) for part in self.voxel_of_point),
            teacher_features=None if self.teacher_features is None else function(self.teacher_features),
        )


@dataclass
class DrawnScene:
    """A scene, or two that were mixed, before it becomes voxels."""

    name: str
    points: Points
    generator: torch.Generator
    """What the rest of its way draws from."""
    num_scenes: int = 1
    """Scenes in it."""
    num_unaugmented: int = 0
    """Those of them that were taken as they are."""


def mix(first: Points, second: Points, center: str = "extremes") -> Points:
    """Two scenes as one: both centred, on the same floor, one inside the other (Mix3D: Nekrasov et al., 3DV 2021).

    They are mixed before they become voxels, so that no voxel is there twice. A voxel that has points of both is
    like any other: one point is drawn, and gives it features and label.
    """
    return concatenate([center_points(points, center=center) for points in (first, second)])


def _draw_points(scene: DrawnScene, voxel_size_m: float) -> tuple[VoxelGrid, Points]:
    try:
        return draw_points(scene.points, voxel_size_m, scene.generator)
    except TooWideError as error:
        raise DataError(f"{scene.name}: {error}") from None


def make_batch(scenes: Sequence[DrawnScene], config: DataConfig, teacher: VoxelInputs | None = None) -> Batch:
    """Scenes as voxels, one point drawn for each: a sphere of each scene, and no more than ``max_voxels`` of all.

    The sphere has a share drawn from ``crop_share`` of the scene, and no more than ``max_points``; of two scenes that
    were mixed twice as many. What is too much for the batch is taken from the largest: each keeps what it has, but
    none more than the largest number with which all fit. Each sphere, or whole scene, is centred horizontally, as in
    the recipe with which SpUNet-34 was published.

    Args:
        scenes: of the batch.
        config: of the run.
        teacher: what a teacher takes, where it is other than what the network takes.

    Raises:
        DataError: a scene has more voxels than can be numbered; the message names it.
    """
    drawn = [_draw_points(scene, config.voxel_size_m) for scene in scenes]
    sizes = [len(points) for _, points in drawn]
    if config.crop_share is not None:
        shares = [draw_uniform(1, *config.crop_share, scene.generator) for scene in scenes]
        sizes = [max(1, round(size * float(share))) for size, share in zip(sizes, shares, strict=True)]
    if config.max_points is not None:
        sizes = [min(size, scene.num_scenes * config.max_points) for size, scene in zip(sizes, scenes, strict=True)]
    limit = largest_share(sizes, config.max_voxels)
    voxels, seen_by_teacher = [], []
    for scene, size, (grid, points) in zip(scenes, sizes, drawn, strict=True):
        coords, points = crop(grid.coords, points, min(size, limit), scene.generator)
        # A whole scene, too: augmentation moves the middle of its box.
        points = center_points(points, vertical=False, center=config.center)
        own_voxel = torch.arange(len(coords), device=coords.device)
        features = stack_features(points, config.features, config.color_range)
        voxels.append((scene.name, Voxels(coords, features, points.label, own_voxel)))
        if teacher is not None:
            seen_by_teacher.append(stack_features(points, *teacher))
    return replace(
        collate(voxels),
        voxel_of_point=(),
        num_cropped=sum(size > limit for size in sizes),
        num_unaugmented=sum(scene.num_unaugmented for scene in scenes),
        teacher_features=torch.cat(seen_by_teacher) if seen_by_teacher else None,
    )


def crop(
    coords: torch.Tensor, points: Points, num_voxels: int, generator: torch.Generator
) -> tuple[torch.Tensor, Points]:
    """Keep the voxels whose points are nearest to that of a randomly chosen one.

    They stay on their grid: laid on another one, what was drawn for two voxels would fall into one.

    Args:
        coords: (M, 3) int32.
        points: M, the one of each voxel.
        num_voxels: how many to keep; if there are no more, all are kept as they are.
        generator: the source of the draw.

    Returns:
        coordinates from 0 and points, in their order.
    """
    if len(points) <= num_voxels:
        return coords, points
    center = points.xyz[torch.randint(len(points), (), generator=generator, device=generator.device)]
    squared_distance = (points.xyz - center).square().sum(dim=1)
    farthest = squared_distance.kthvalue(num_voxels).values
    is_nearer, is_last = squared_distance < farthest, squared_distance == farthest
    # Of several that are as far as the last, the first.
    is_kept = is_nearer | (is_last & (is_last.cumsum(0) <= num_voxels - is_nearer.sum()))
    kept = is_kept.nonzero().squeeze(1)
    coords = coords.index_select(0, kept)
    return coords - coords.amin(dim=0), points.select(kept)


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
