"""Tiles: every point is in one core, every core has its margin, every tile is within the budget, none is empty."""

import pytest
import torch

from pointseg.data.tiles import Tile, TileLimits, cut_tiles
from pointseg.data.voxelize import build_grid
from pointseg.errors import UsageError

VOXEL_SIZE_M, STEP = 0.1, 4


def _storey(num_points: int = 6000, seed: int = 0) -> torch.Tensor:
    """(N, 3) metres: a floor of 12 m x 5 m with a dense corner, and two points far away from it."""
    generator = torch.Generator().manual_seed(seed)
    floor = torch.rand(num_points, 3, generator=generator) * torch.tensor([12.0, 5.0, 0.3])
    corner = torch.rand(num_points // 3, 3, generator=generator) * torch.tensor([1.5, 1.0, 2.0])
    return torch.cat([floor, corner, torch.tensor([[30.0, -20.0, 0.0], [31.0, 40.0, 0.0]])])


def _tiles(xyz: torch.Tensor, max_voxels: int, margin: int = 2, points_per_voxel: int | None = None) -> list[Tile]:
    limits = TileLimits(max_voxels, margin, points_per_voxel)
    return list(cut_tiles(xyz, VOXEL_SIZE_M, "scene0000_00", step=STEP, limits=limits))


def _num_voxels(xyz: torch.Tensor) -> int:
    return build_grid(xyz, VOXEL_SIZE_M).num_voxels


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_each_point_is_in_one_core_and_each_tile_within_the_budget(margin: int) -> None:
    xyz = _storey()
    grid = build_grid(xyz, VOXEL_SIZE_M)
    max_voxels = grid.num_voxels // 2
    tiles = _tiles(xyz, max_voxels, margin)
    assert len(tiles) > 2
    cores = torch.cat([tile.row[tile.is_core] for tile in tiles])
    assert torch.equal(cores.sort().values, torch.arange(len(xyz)))
    for tile in tiles:
        assert tile.is_core.any()
        assert torch.equal(tile.row, tile.row.unique())
        assert len(grid.voxel_of_point[tile.row].unique()) <= max_voxels


def test_a_core_sees_its_margin_and_cuts_keep_columns_whole() -> None:
    """All points up to the margin from a core are in its tile, and what the network pools together stays together."""
    xyz, margin = _storey(), 2
    voxel = build_grid(xyz, VOXEL_SIZE_M)
    column = voxel.coords[voxel.voxel_of_point][:, :2] // STEP
    tiles = _tiles(xyz, voxel.num_voxels // 2, margin)
    core_of_column: dict[tuple[int, ...], int] = {}
    for number, tile in enumerate(tiles):
        core = column[tile.row[tile.is_core]].unique(dim=0)
        for position in core.tolist():
            assert core_of_column.setdefault(tuple(position), number) == number
        distance = (column[:, None] - core[None]).abs().amax(dim=2).amin(dim=1)
        inside = torch.zeros(len(xyz), dtype=torch.bool).index_fill_(0, tile.row, True)
        assert inside[distance <= margin].all()
        assert not inside.all()


def test_the_tile_of_a_voxel_is_the_one_in_which_it_is_farthest_from_a_cut() -> None:
    """Along a corridor a cut is a plane: the points that two tiles share are nearer to the other's border."""
    generator = torch.Generator().manual_seed(0)
    xyz = torch.rand(4000, 3, generator=generator) * torch.tensor([40.0, 0.3, 0.3])
    tiles = _tiles(xyz, 1000, margin=4)
    assert len(tiles) >= 3
    for left in tiles:
        for right in tiles:
            low, high = xyz[right.row, 0].min(), xyz[left.row, 0].max()
            if not xyz[left.row, 0].min() < low < high:
                continue
            for tile, sign in ((left, 1), (right, -1)):
                x = xyz[tile.row[tile.is_core], 0]
                shared = x[(x > low) & (x < high)]
                assert len(shared)
                assert (sign * ((high - shared) - (shared - low)) > -VOXEL_SIZE_M).all()


def test_within_the_budget_there_is_one_tile_with_all_points() -> None:
    xyz = _storey()
    (tile,) = _tiles(xyz, _num_voxels(xyz))
    assert torch.equal(tile.row, torch.arange(len(xyz)))
    assert tile.is_core.all()
    assert len(_tiles(xyz, _num_voxels(xyz) - 1)) == 2


def test_points_count_where_memory_is_taken_for_each() -> None:
    xyz = _storey().repeat_interleave(8, dim=0)
    budget = _num_voxels(xyz)
    assert len(_tiles(xyz, budget)) == 1
    tiles = _tiles(xyz, budget, points_per_voxel=4)
    assert len(tiles) > 1
    assert all(int(tile.is_core.sum()) <= 4 * budget for tile in tiles)


def test_the_order_of_the_points_does_not_matter() -> None:
    xyz = _storey()
    order = torch.randperm(len(xyz), generator=torch.Generator().manual_seed(1))
    for tile, shuffled in zip(_tiles(xyz, 2000), _tiles(xyz[order], 2000), strict=True):
        assert torch.equal(order[shuffled.row].sort().values, tile.row)
        assert torch.equal(order[shuffled.row[shuffled.is_core]].sort().values, tile.row[tile.is_core])


@pytest.mark.parametrize("points_per_voxel", [None, 1])
def test_a_budget_too_small_for_a_margin_names_the_one_that_is_not(points_per_voxel: int | None) -> None:
    xyz = _storey()
    with pytest.raises(UsageError, match=r"scene0000_00: can't be cut into tiles of 10 voxels .* to (\d+) or") as error:
        _tiles(xyz, 10, points_per_voxel=points_per_voxel)
    assert "\n" not in str(error.value)
    needed = int(str(error.value).split(" or more")[0].split()[-1])
    assert len(_tiles(xyz, needed, points_per_voxel=points_per_voxel)) > 1
    with pytest.raises(UsageError, match=f"to {needed} or more"):
        _tiles(xyz, needed - 1, points_per_voxel=points_per_voxel)


def test_one_point_is_one_tile() -> None:
    (tile,) = _tiles(torch.zeros(1, 3), 1)
    assert tile.row.tolist() == [0]
    assert tile.is_core.tolist() == [True]


def test_a_scene_without_room_for_a_cut_is_refused() -> None:
    """A stack of voxels: there is nothing to cut in x and y."""
    xyz = torch.zeros(50, 3)
    xyz[:, 2] = torch.arange(50) * VOXEL_SIZE_M
    with pytest.raises(UsageError, match="to 50 or more"):
        _tiles(xyz, 49, margin=0)
