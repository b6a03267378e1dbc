"""Points to voxels and back: the grid, and one drawn point a voxel, as training has it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from pointseg.data.points import Points
from pointseg.errors import DataError

_MAX_CELLS = 2**31 - 1
_EXACT_CELLS = 2**16
"""Up to here float32 knows where in a cell a point is, to a hundredth of it."""


class TooWideError(DataError):
    """The extent of a scene has more voxels than can be numbered."""


@dataclass(frozen=True)
class VoxelGrid:
    """Which of M voxels each of N points falls in."""

    coords: torch.Tensor
    """(M, 3) int32, unique, from 0 (or counted from the origin that was given), sorted by x, then y, then z."""
    voxel_of_point: torch.Tensor
    """(N,) int64: rows of ``coords``."""
    point_order: torch.Tensor
    """(N,) int64: the points grouped by voxel."""
    first: torch.Tensor
    """(M,) int64: where each voxel's group starts in ``point_order``."""

    @property
    def num_voxels(self) -> int:
        """M."""
        return len(self.coords)

    def count_points(self) -> torch.Tensor:
        """(M,) int64: points in each voxel."""
        return torch.bincount(self.voxel_of_point, minlength=self.num_voxels)


@dataclass(frozen=True)
class Voxels:
    """One scene as the network sees it."""

    coords: torch.Tensor
    """(M, 3) int32."""
    features: torch.Tensor
    """(M, C) float32."""
    label: torch.Tensor
    """(M,) int64."""
    voxel_of_point: torch.Tensor
    """(N,) int64."""


def build_grid(
    xyz: torch.Tensor, voxel_size_m: float, order: torch.Tensor | None = None, origin: torch.Tensor | None = None
) -> VoxelGrid:
    """Lay points (N, 3) on a grid whose first cell begins at their smallest coordinate.

    Args:
        xyz: coordinates, metres.
        voxel_size_m: edge of a voxel, metres.
        order: (N,) a permutation; within a voxel, points are grouped in this order.
        origin: (3,) float32 or float64, where the first cell begins, metres, if the points are part of a scene on one
            grid: the smallest coordinates of the whole.

    Raises:
        TooWideError: the extent over the voxel size does not fit int32 coordinates.
    """
    begin = torch.aminmax(xyz, dim=0).min if origin is None else origin
    place = ((xyz - begin.to(xyz.dtype)) / voxel_size_m).floor_()
    largest = place.amax(dim=0).double() + 1
    if bool((largest > _EXACT_CELLS).any()):  # one far point, and in float32 the others would lie in other voxels
        place = ((xyz.double() - begin.double()) / voxel_size_m).floor_()
        largest = place.amax(dim=0) + 1
    # Asked of floats, since a large one becomes any integer at all.
    if bool((largest > _MAX_CELLS).any()) or largest.prod() >= 2.0**62:
        voxels, metres = (" x ".join(f"{size * edge:.6g}" for size in largest.tolist()) for edge in (1.0, voxel_size_m))
        raise TooWideError(
            f"a scene of {voxels} voxels of {voxel_size_m} m is too large to index (its extent is {metres} m); "
            "are the coordinates in metres, and is no point far from the others? "
            "raise data.voxel_size_m otherwise"
        )
    cell = place.long()
    if origin is not None:
        cell.clamp_(min=0)  # a turned part of a scene may be a rounding error outside of the turned whole
    extent = cell.amax(dim=0) + 1
    key = (cell[:, 0] * extent[1] + cell[:, 1]) * extent[2] + cell[:, 2]
    if order is None:
        sorted_key, point_order = key.sort(stable=True)
    else:
        sorted_key, position = key.index_select(0, order).sort(stable=True)
        point_order = order.index_select(0, position)
    starts_voxel = torch.ones_like(sorted_key, dtype=torch.bool)
    starts_voxel[1:] = sorted_key[1:] != sorted_key[:-1]
    voxel_of_point = torch.empty_like(point_order)
    voxel_of_point[point_order] = starts_voxel.cumsum(0) - 1
    first = starts_voxel.nonzero().squeeze(1)
    coords = cell.index_select(0, point_order.index_select(0, first)).int()
    return VoxelGrid(coords, voxel_of_point, point_order, first)


def draw_points(points: Points, voxel_size_m: float, generator: torch.Generator) -> tuple[VoxelGrid, Points]:
    """Lay points on a grid and keep one of each voxel, each with the same chance: the form for training.

    Label and features of a voxel are those of one point, also where points of several labels share it.
    """
    order = torch.randperm(len(points), generator=generator, device=generator.device).to(points.xyz.device)
    grid = build_grid(points.xyz, voxel_size_m, order)
    return grid, points.select(grid.point_order.index_select(0, grid.first))


class VoxelInputs(NamedTuple):
    """What a network takes of each voxel."""

    features: tuple[str, ...]
    """``xyz``, ``rgb`` or ``normal``, in this order."""
    color_range: tuple[int, int] = (0, 1)
    """What it takes black and white for."""


def stack_features(points: Points, features: Sequence[str], color_range: tuple[int, int] = (0, 1)) -> torch.Tensor:
    """The inputs of the network.

    Args:
        points: N of them.
        features: ``xyz``, ``rgb`` or ``normal``, in this order.
        color_range: what the network takes black and white for.

    Returns:
        (N, 3 len(features)) float32.
    """
    low, high = color_range
    points = points if points.rgb is None or low == 0 else replace(points, rgb=points.rgb * (high - low) + low)
    return torch.cat([getattr(points, name) for name in features], dim=1)
