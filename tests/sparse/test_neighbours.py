"""Neighbour tables and rulebooks against a literal search with a dictionary."""

import itertools

import pytest
import torch

from pointseg.sparse.keys import VoxelSet
from pointseg.sparse.neighbours import ConvGeometry, submanifold_table
from pointseg.sparse.rulebook import Rulebook
from tests.sparse.dense_reference import random_voxels


def literal_table(indices: torch.Tensor, kernel_size: tuple[int, int, int], dilation: int) -> torch.Tensor:
    row_of = {tuple(voxel): row for row, voxel in enumerate(indices.tolist())}
    offsets = itertools.product(*(range(-(size // 2), size // 2 + 1) for size in kernel_size))
    return torch.tensor(
        [
            [row_of.get((b, x + dilation * dx, y + dilation * dy, z + dilation * dz), -1) for b, x, y, z in row_of]
            for dx, dy, dz in offsets
        ]
    ).int()


@pytest.mark.parametrize("dense_grid", [True, False])
@pytest.mark.parametrize("order", ["sorted", "random"])
@pytest.mark.parametrize(("kernel_size", "dilation"), [((3, 3, 3), 1), ((5, 5, 5), 1), ((3, 1, 5), 2)])
def test_both_searches_find_what_a_dictionary_finds(
    dense_grid: bool, order: str, kernel_size: tuple[int, int, int], dilation: int
) -> None:
    """Voxels fill a third of two small grids, so borders of axes and scenes have neighbours to mistake."""
    indices = random_voxels(150, (6, 5, 7), batch_size=2, order=order) - torch.tensor([0, 3, 3, 3]).int()
    geometry = ConvGeometry(kernel_size, dilation=(dilation,) * 3)
    table = submanifold_table(VoxelSet.read(indices), geometry, dense_grid)
    assert torch.equal(table, literal_table(indices, kernel_size, dilation))


def test_a_rulebook_holds_each_pair_of_its_table_once() -> None:
    """Whatever the cut into blocks, the pairs read from a rulebook are those of the table, offset by offset."""
    table = torch.randint(-40, 60, (7, 20000), generator=torch.Generator().manual_seed(0)).clamp(min=-1).int()
    (rulebook,) = Rulebook.from_tables([table], num_channels=64)
    assert len(rulebook.blocks) > 1
    assert rulebook.num_pairs == (table >= 0).sum()
    found = torch.full_like(table, -1)
    for block in rulebook.blocks:
        rows = (block.output_row + block.start).split(block.num_pairs)
        for offset, (row, inputs) in enumerate(zip(rows, block.input_row.split(block.num_pairs), strict=True)):
            found[offset, row] = inputs
        for row in range(block.num_rows):
            first = int(block.first_pair[row])
            last = int(block.first_pair[row + 1]) if row + 1 < block.num_rows else len(block.pair_of_sum)
            pairs = block.pair_of_sum[first:last].long()
            assert bool((block.output_row[pairs] == row).all()) if row % 97 == 0 else True
    assert torch.equal(found, table)
