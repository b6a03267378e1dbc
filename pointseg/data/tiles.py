"""A scene too large to predict at once, cut into overlapping tiles.

A tile is a core and a margin of context around it. The cores hold each voxel once; a tile's prediction counts for its
core alone, so that every voxel is predicted by the tile in which it is farthest from a cut. The cuts run in x and y
along the grid of the coarsest voxels of the network: what it pools in a tile is what it pools in the whole scene.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pointseg.data.voxelize import build_grid
from pointseg.errors import UsageError


@dataclass(frozen=True)
class Tile:
    """Points of one tile, by their row in the scene."""

    row: torch.Tensor
    """(n,) int64, ascending: points of the core and of the margin."""
    is_core: torch.Tensor
    """(n,) bool: the points that this tile predicts, at least one."""


@dataclass(frozen=True)
class TileLimits:
    """How large a tile may be."""

    max_voxels: int
    """Of core and margin together."""
    margin: int
    """Columns of context on each side of a core; a core is as wide at least."""
    points_per_voxel: int | None
    """Core points that count as one voxel, where memory is taken for each point; None: points take none."""


@dataclass(frozen=True)
class TileCore:
    """A core: the columns from ``low`` to before ``high`` in x and in y."""

    low: tuple[int, int]
    high: tuple[int, int]

    def holds(self, column: torch.Tensor, margin: int = 0) -> torch.Tensor:
        """(C,) bool: which columns (C, 2) are in it, or at most ``margin`` columns away on each axis."""
        low = column.new_tensor(self.low) - margin
        high = column.new_tensor(self.high) + margin
        return ((column >= low) & (column < high)).all(dim=1)

    def halves(self, axis: int, cut: int) -> tuple["TileCore", "TileCore"]:
        """What is before ``cut`` on the axis, and the rest."""
        high, low = list(self.high), list(self.low)
        high[axis] = low[axis] = cut
        return TileCore(self.low, (high[0], high[1])), TileCore((low[0], low[1]), self.high)


class Columns:
    """A scene seen from above: the columns of voxels that hold anything.

    Args:
        xyz: (N, 3) metres.
        voxel_size_m: edge of a voxel, metres.
        step: width of a column in x and in y, voxels.
    """

    def __init__(self, xyz: torch.Tensor, voxel_size_m: float, step: int) -> None:
        grid = build_grid(xyz, voxel_size_m)
        x, y = grid.coords[:, :2].long().div_(step, rounding_mode="floor").unbind(1)
        num_y = int(y.max()) + 1
        # One number a column: `unique` of rows is many times slower.
        key, column_of_voxel, self.num_voxels = (x * num_y + y).unique(return_inverse=True, return_counts=True)
        self.position = torch.stack([key // num_y, key % num_y], dim=1)
        self.of_point = column_of_voxel[grid.voxel_of_point]
        """(N,) int64: rows of ``position``, ``num_voxels`` and ``num_points``."""
        self.num_points = torch.bincount(self.of_point, minlength=len(self.position))

    def size_of(self, box: TileCore, limits: TileLimits) -> int:
        """Voxels of the tile around a core, or what its points are worth in voxels, if that is more."""
        num_voxels = int(self.num_voxels[box.holds(self.position, limits.margin)].sum())
        if limits.points_per_voxel is None:
            return num_voxels
        num_points = int(self.num_points[box.holds(self.position)].sum())
        return max(num_voxels, -(-num_points // limits.points_per_voxel))

    def split(self, limits: TileLimits) -> list[TileCore]:
        """The cores: halves of halves, until each tile is small enough or can't be cut any more.

        Every one holds a voxel, and all voxels are in one of them.
        """
        low, high = torch.aminmax(self.position, dim=0)
        waiting, done = [TileCore(tuple(low.tolist()), tuple((high + 1).tolist()))], []
        while waiting:
            box = waiting.pop()
            cut = self._choose_cut(box, limits.margin) if self.size_of(box, limits) > limits.max_voxels else None
            if cut is None:
                done.append(box)
            else:
                waiting += reversed(box.halves(*cut))
        return done

    def points_of(self, box: TileCore, margin: int) -> Tile:
        """The points of the tile around a core."""
        row = box.holds(self.position, margin)[self.of_point].nonzero().squeeze(1)
        return Tile(row, box.holds(self.position)[self.of_point[row]])

    def _choose_cut(self, box: TileCore, margin: int) -> tuple[int, int] | None:
        """Axis and position that halve the voxels best, on the longer axis if it can be cut; None: neither can.

        Both sides keep the width of a margin: below it, most of the work would be for the margins.
        """
        inside = box.holds(self.position)
        position, num_voxels = self.position[inside], self.num_voxels[inside]
        low, high = (corner.tolist() for corner in torch.aminmax(position, dim=0))
        width = [last + 1 - first for first, last in zip(low, high, strict=True)]
        thinnest = max(margin, 1)
        for axis in (0, 1) if width[0] >= width[1] else (1, 0):
            if width[axis] < 2 * thinnest:
                continue
            # (width,) voxels up to each position; the cut after `before` columns halves them best.
            slices = num_voxels.new_zeros(width[axis]).index_add_(0, position[:, axis] - low[axis], num_voxels)
            up_to = slices.cumsum(0)
            unevenness = (2 * up_to - up_to[-1]).abs()[thinnest - 1 : width[axis] - thinnest]
            return axis, low[axis] + thinnest + int(unevenness.argmin())
        return None


def cut_tiles(
    xyz: torch.Tensor,
    voxel_size_m: float,
    name: str,
    *,
    step: int,
    limits: TileLimits,
) -> Iterator[Tile]:
    """The tiles of a scene, in a fixed order; one alone where the whole scene is within the limits.

    Args:
        xyz: (N, 3) metres.
        voxel_size_m: edge of a voxel, metres.
        name: of the scene, for errors.
        step: voxels that cuts have to keep together in x and y, a column: ``2**num_stages`` of the network.
        limits: how large a tile may be.

    Raises:
        UsageError: a tile of this scene can't be as small as the limits want it.
        DataError: the scene is too large to index.
    """
    columns = Columns(xyz, voxel_size_m, step)
    boxes = columns.split(limits)
    # The cuts don't depend on the budget, only how many there are: with this one all tiles are small enough.
    needed = max(columns.size_of(box, limits) for box in boxes)
    if needed > limits.max_voxels:
        raise UsageError(
            f"{name}: can't be cut into tiles of {limits.max_voxels:,} voxels with {limits.margin * step} voxels of "
            f"context around them; set inference.max_voxels (--max-voxels) to {needed} or more"
        )
    for box in boxes:
        yield columns.points_of(box, limits.margin)
