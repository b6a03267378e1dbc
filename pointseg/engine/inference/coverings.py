"""Points as voxels for a network that is to speak for each of them."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from pointseg.config import DataConfig
from pointseg.data.points import Points
from pointseg.data.voxel_means import voxelize_by_mean
from pointseg.data.voxelize import Voxels, build_grid, stack_features


class Coverings:
    """Makes voxels as the network was trained with them.

    Args:
        data: the config's voxel size, features and their ranges.
        coarsest_voxel: of the network. The voxels of a tile are moved to zero by a multiple of it, so that the network
            pools the same ones as in the whole scene.
    """

    def __init__(self, data: DataConfig, coarsest_voxel: int) -> None:
        self._voxel_size_m = data.voxel_size_m
        self._features = data.features
        self._color_range = data.color_range
        self._coarsest_voxel = coarsest_voxel

    def by_mean(self, points: Points, grid_origin: torch.Tensor | None = None) -> Voxels:
        """Each voxel has the mean of its points; ``voxel_of_point`` says which voxel speaks for a point.

        Args:
            points: of a scene or a part of it.
            grid_origin: (3,) where the grid begins; None: at the smallest coordinates.
        """
        voxels = voxelize_by_mean(points, self._voxel_size_m, self._features, grid_origin, self._color_range)
        return replace(voxels, coords=self._move_to_zero(voxels.coords))

    def in_turn(self, points: Points, grid_origin: torch.Tensor | None = None) -> Iterator[tuple[Voxels, torch.Tensor]]:
        """Each point stands once for its voxel, so that none hides behind another.

        Yields:
            voxels, and the points (rows of ``points``) that they speak for; all together speak for each point once.
        """
        grid = build_grid(points.xyz, self._voxel_size_m, origin=grid_origin)
        coords = self._move_to_zero(grid.coords)
        count = grid.count_points()
        for turn in range(int(count.max())):
            # The turn-th point of each voxel; a voxel with fewer points shows its last one again.
            chosen = grid.point_order[grid.first + count.sub(1).clamp_max(turn)]
            features = stack_features(points.select(chosen), self._features, self._color_range)
            yield Voxels(coords, features, points.label[chosen], grid.voxel_of_point), chosen[count > turn]

    def _move_to_zero(self, coords: torch.Tensor) -> torch.Tensor:
        step = self._coarsest_voxel
        return coords - coords.amin(dim=0).div(step, rounding_mode="floor").mul(step)
