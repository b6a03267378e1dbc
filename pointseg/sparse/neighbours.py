"""Who is a neighbour of whom: tables of input rows for submanifold, strided and inverse convolutions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pointseg.sparse.keys import KeyGrid, corners, sort_unique
from pointseg.sparse.rulebook import Rulebook, run_parts
from pointseg.sparse.tensor import Shape3, conv_output_shape

# A dense grid of row numbers finds a neighbour with one read, but has to be filled first. Beyond this many cells
# a voxel (and beyond 1 GiB) a binary search in the sorted keys is as fast and takes no memory.
_GRID_CELLS_PER_VOXEL = 256
_MAX_GRID_CELLS = 2**28


@dataclass(frozen=True)
class ConvGeometry:
    """Kernel size, stride, padding and dilation of a convolution on x, y and z."""

    kernel_size: Shape3
    stride: Shape3 = (1, 1, 1)
    padding: Shape3 = (0, 0, 0)
    dilation: Shape3 = (1, 1, 1)

    @property
    def num_offsets(self) -> int:
        """Positions in the kernel."""
        x, y, z = self.kernel_size
        return x * y * z


@dataclass(frozen=True)
class NeighbourMap:
    """What the layers of one indice_key share: the voxels on both sides and the pairs between them.

    ``forward`` sums input rows into output rows, ``backward`` output rows into input rows: the gradient of the
    one convolution, and the inverse convolution.
    """

    geometry: ConvGeometry
    submanifold: bool
    input_indices: Tensor
    input_shape: Shape3 | None
    output_indices: Tensor
    output_shape: Shape3 | None
    forward: Rulebook
    backward: Rulebook


def map_submanifold(
    indices: Tensor, spatial_shape: Shape3 | None, geometry: ConvGeometry, num_channels: int
) -> NeighbourMap:
    """Neighbours among the voxels themselves: a submanifold convolution has outputs where it has inputs.

    Args:
        indices: (M, 4) int32 (batch, x, y, z).
        spatial_shape: of the tensor; carried along.
        geometry: odd kernel size and dilation; stride and padding play no part.
        num_channels: of the features to come, about; for speed only.

    Raises:
        ValueError: a voxel occurs twice, or the voxels span more than 64-bit keys can number.
    """
    table = submanifold_table(indices, geometry)
    rulebook = Rulebook.from_table(table, num_channels)
    return NeighbourMap(geometry, True, indices, spatial_shape, indices, spatial_shape, rulebook, rulebook.mirror())


def submanifold_table(indices: Tensor, geometry: ConvGeometry, dense_grid: bool | None = None) -> Tensor:
    """(K, M) int32: the row of the voxel at each kernel offset from each voxel, -1 = none.

    ``dense_grid`` chooses the search: an index grid, or a binary search in the sorted keys; None takes the faster.
    """
    num_voxels = indices.shape[0]
    if num_voxels == 0:
        return indices.new_empty((geometry.num_offsets, 0))
    reach = [dilation * (size // 2) for size, dilation in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    grid = KeyGrid.around(*corners(indices), margin=reach)
    keys, permutation = sort_unique(grid.encode(indices), indices)
    if dense_grid is None:
        dense_grid = grid.num_cells <= min(_MAX_GRID_CELLS, _GRID_CELLS_PER_VOXEL * num_voxels)
    search = _search_grid if dense_grid else _search_keys
    table = search(keys, grid, geometry)
    if permutation is None:
        return table
    permutation = permutation.to(torch.int32)
    table = torch.where(table >= 0, permutation[table.clamp(min=0)], -1)
    return torch.empty_like(table).index_copy_(1, permutation.long(), table)


def _key_steps(grid: KeyGrid, geometry: ConvGeometry) -> list[int]:
    """What to add to a key to get the key at each kernel offset, in the order of the weights."""
    axes = [
        [(position - size // 2) * dilation * step for position in range(size)]
        for size, dilation, step in zip(geometry.kernel_size, geometry.dilation, grid.axis_steps, strict=True)
    ]
    return [sum(steps) for steps in itertools.product(*axes)]


def _search_grid(keys: Tensor, grid: KeyGrid, geometry: ConvGeometry) -> Tensor:
    """Table from a dense grid of row numbers with room for the largest step on both ends."""
    steps = _key_steps(grid, geometry)
    room = max(steps)
    rows = torch.arange(len(keys), dtype=torch.int32, device=keys.device)
    row_of_cell = torch.full((grid.num_cells + 2 * room,), -1, dtype=torch.int32, device=keys.device)
    row_of_cell[keys + room] = rows
    table = torch.empty((len(steps), len(keys)), dtype=torch.int32, device=keys.device)

    def look_up(offset: int) -> None:
        torch.index_select(row_of_cell, 0, keys + (room + steps[offset]), out=table[offset])

    run_parts(look_up, len(steps), keys.device)
    return table


def _search_keys(keys: Tensor, grid: KeyGrid, geometry: ConvGeometry) -> Tensor:
    """Table from binary searches in the sorted keys, for half of the offsets: each hit is also one of the opposite."""
    steps = _key_steps(grid, geometry)
    centre = len(steps) // 2
    rows = torch.arange(len(keys), dtype=torch.int32, device=keys.device)
    table = torch.full((len(steps), len(keys)), -1, dtype=torch.int32, device=keys.device)
    table[centre] = rows
    for offset in range(centre + 1, len(steps)):
        wanted = keys + steps[offset]
        found = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
        hit = (keys[found] == wanted).nonzero()[:, 0]
        neighbour = found[hit]
        table[offset, hit] = rows[neighbour]
        table[2 * centre - offset, neighbour] = rows[hit]
    return table


def map_strided(
    indices: Tensor, spatial_shape: Shape3 | None, geometry: ConvGeometry, num_channels: int
) -> NeighbourMap:
    """Neighbours of a strided convolution: an output wherever at least one voxel is under the kernel.

    Output ``o`` sees input ``o * stride - padding + offset * dilation``. With a ``spatial_shape`` only outputs in
    :func:`conv_output_shape` exist, and voxels that reach none of them are dropped, as in spconv; without one
    every integer output exists. Outputs are sorted by (batch, x, y, z).

    Raises:
        ValueError: a voxel occurs twice, the voxels span more than 64-bit keys can number, or the output shape
            would be empty.
    """
    output_shape = None
    if spatial_shape is not None:
        output_shape = conv_output_shape(
            spatial_shape, geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation
        )
    num_inputs = indices.shape[0]
    offset, input_row, keys, grid = _strided_pairs(indices, output_shape, geometry)
    output_keys, output_row = torch.unique(keys, return_inverse=True)
    output_indices = grid.decode(output_keys) if num_inputs else indices.new_empty((0, 4))
    num_outputs = output_keys.numel()
    forward = _table_of_pairs(offset, output_row, input_row, geometry.num_offsets, num_outputs)
    backward = _table_of_pairs(offset, input_row, output_row, geometry.num_offsets, num_inputs)
    return NeighbourMap(
        geometry,
        False,
        indices,
        spatial_shape,
        output_indices,
        output_shape,
        Rulebook.from_table(forward, num_channels),
        Rulebook.from_table(backward, num_channels),
    )


def _strided_pairs(
    indices: Tensor, output_shape: Shape3 | None, geometry: ConvGeometry
) -> tuple[Tensor, Tensor, Tensor, KeyGrid]:
    """Kernel offset, input row and output key (all (P,) int64) of every pair, and the grid of the output keys."""
    if indices.shape[0] == 0:
        empty = indices.new_empty((0,), dtype=torch.int64)
        return empty, empty, empty, KeyGrid((0, 0, 0, 0), (1, 1, 1, 1))
    low, high = corners(indices)
    input_grid = KeyGrid.around(low, high)
    sort_unique(input_grid.encode(indices), indices)

    reached = [_outputs_on_axis(indices[:, axis + 1].long(), axis, output_shape, geometry) for axis in range(3)]
    out_low, out_high = [low[0]], [high[0]]
    for axis in range(3):
        size, stride = geometry.kernel_size[axis], geometry.stride[axis]
        padding, dilation = geometry.padding[axis], geometry.dilation[axis]
        out_low.append((low[axis + 1] + padding - dilation * (size - 1)) // stride)
        out_high.append((high[axis + 1] + padding) // stride)
    grid = KeyGrid.around(out_low, out_high)

    scene_keys = indices[:, 0].long() - out_low[0]
    offsets, rows, keys = [], [], []
    for offset, (x, y, z) in enumerate(itertools.product(*(range(size) for size in geometry.kernel_size))):
        chosen = [reached[0][x], reached[1][y], reached[2][z]]
        row = (chosen[0][1] & chosen[1][1] & chosen[2][1]).nonzero()[:, 0]
        key = scene_keys[row]
        for (position, _), start, size in zip(chosen, out_low[1:], grid.shape[1:], strict=True):
            key = key * size + (position[row] - start)
        offsets.append(torch.full_like(row, offset))
        rows.append(row)
        keys.append(key)
    return torch.cat(offsets), torch.cat(rows), torch.cat(keys), grid


def _outputs_on_axis(
    position: Tensor, axis: int, output_shape: Shape3 | None, geometry: ConvGeometry
) -> list[tuple[Tensor, Tensor]]:
    """For each kernel position on one axis: the output that sees each input there, and whether it exists."""
    outputs = []
    stride = geometry.stride[axis]
    for kernel_position in range(geometry.kernel_size[axis]):
        moved = position + (geometry.padding[axis] - kernel_position * geometry.dilation[axis])
        output = torch.div(moved, stride, rounding_mode="floor")
        exists = output * stride == moved
        if output_shape is not None:
            exists &= (output >= 0) & (output < output_shape[axis])
        outputs.append((output, exists))
    return outputs


def _table_of_pairs(offset: Tensor, to_row: Tensor, from_row: Tensor, num_offsets: int, num_rows: int) -> Tensor:
    """(K, num_rows) int32 table with ``from_row`` at (offset, to_row), -1 elsewhere."""
    table = torch.full((num_offsets, num_rows), -1, dtype=torch.int32, device=offset.device)
    return table.index_put_((offset, to_row), from_row.to(torch.int32))


def expand3(name: str, value: int | Sequence[int], least: int) -> Shape3:
    """One int or three as (x, y, z), each at least ``least``.

    Raises:
        ValueError: not one or three ints, or one below ``least``.
    """
    values = (value,) * 3 if isinstance(value, int) else tuple(value)
    valid = len(values) == 3 and all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in values)
    if not valid:
        raise ValueError(f"{name}: expected an int or three ints >= {least}, got {value!r}")
    return values[0], values[1], values[2]
