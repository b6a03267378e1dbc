"""Many scenes as one sparse tensor's worth of arrays."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from pointseg.data.voxelize import Voxels


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
    """For each scene (N,) int64: rows of this batch."""
    extent: tuple[int, int, int]
    """Voxels along x, y, z that hold every scene."""
    names: tuple[str, ...]
    """Names of the scenes."""

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
