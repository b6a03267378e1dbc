"""Who is a neighbour of whom: tables of input rows for submanifold, strided and inverse convolutions."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pointseg.sparse.keys import KeyGrid, VoxelSet
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
    inputs: VoxelSet
    input_shape: Shape3 | None
    outputs: VoxelSet
    output_shape: Shape3 | None
    forward: Rulebook
    backward: Rulebook


def map_submanifold(
    voxels: VoxelSet, spatial_shape: Shape3 | None, geometry: ConvGeometry, num_channels: int
) -> NeighbourMap:
    """Neighbours among the voxels themselves: a submanifold convolution has outputs where it has inputs.

    Args:
        voxels: M voxels.
        spatial_shape: of the tensor; carried along.
        geometry: odd kernel size and dilation; stride and padding play no part.
        num_channels: of the features to come, about; for speed only.

    Raises:
        ValueError: a voxel occurs twice, or the voxels span more than 64-bit keys can number.
    """
    (rulebook,) = Rulebook.from_tables([submanifold_table(voxels, geometry)], num_channels)
    return NeighbourMap(geometry, True, voxels, spatial_shape, voxels, spatial_shape, rulebook, rulebook.mirror())


def submanifold_table(voxels: VoxelSet, geometry: ConvGeometry, dense_grid: bool | None = None) -> Tensor:
    """(K, M) int32: the row of the voxel at each kernel offset from each voxel, -1 = none.

    ``dense_grid`` chooses the search: an index grid, or a binary search in the sorted keys; None takes the faster.
    """
    num_voxels = len(voxels.indices)
    if num_voxels == 0:
        return voxels.indices.new_empty((geometry.num_offsets, 0))
    reach = [dilation * (size // 2) for size, dilation in zip(geometry.kernel_size, geometry.dilation, strict=True)]
    grid = KeyGrid.around(voxels.low, voxels.high, margin=reach)
    order = voxels.order
    keys = grid.encode(voxels.indices.unbind(1))
    if dense_grid is None:
        dense_grid = grid.num_cells <= min(_MAX_GRID_CELLS, _GRID_CELLS_PER_VOXEL * num_voxels)
    search = _search_grid if dense_grid else _search_keys
    if order is None:
        return search(keys, grid, geometry)
    table = search(keys[order], grid, geometry)
    table = torch.where(table >= 0, order.int()[table.clamp(min=0)], -1)
    return torch.empty_like(table).index_copy_(1, order, table)


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
    row_of_cell.scatter_(0, keys + room, rows)
    table = torch.empty((len(steps), len(keys)), dtype=torch.int32, device=keys.device)

    def look_up(offset: int) -> None:
        torch.index_select(row_of_cell, 0, keys + (room + steps[offset]), out=table[offset])

    run_parts(look_up, len(steps), keys.device)
    return table


def _search_keys(keys: Tensor, grid: KeyGrid, geometry: ConvGeometry) -> Tensor:
    """Table from binary searches in the sorted keys, for half of the offsets: each hit is also one of the opposite."""
    steps = _key_steps(grid, geometry)
    centre = len(steps) // 2
    num_voxels = len(keys)
    rows = torch.arange(num_voxels, dtype=torch.int32, device=keys.device)
    # The last column takes what has no place in the table.
    table = torch.full((len(steps), num_voxels + 1), -1, dtype=torch.int32, device=keys.device)
    table[centre, :-1] = rows
    for offset in range(centre + 1, len(steps)):
        wanted = keys + steps[offset]
        found = torch.searchsorted(keys, wanted).clamp_(max=num_voxels - 1)
        hit = keys[found] == wanted
        table[offset, :-1] = torch.where(hit, found, -1)
        table[2 * centre - offset].scatter_(0, torch.where(hit, found, num_voxels), rows)
    return table[:, :-1]


def map_strided(
    voxels: VoxelSet, spatial_shape: Shape3 | None, geometry: ConvGeometry, num_channels: int
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
    offset, input_row, key, exists, grid = _strided_pairs(voxels, output_shape, geometry)
    # A key beyond all others stands for what does not exist, once at least: so the host need not ask whether it occurs.
    beyond = key.new_full((1,), grid.num_cells)
    output_keys, output_row = torch.unique(torch.cat([torch.where(exists, key, beyond), beyond]), return_inverse=True)
    outputs = VoxelSet(grid.decode(output_keys[:-1]), grid.origin, grid.end)
    output_row = output_row[:-1]
    num_inputs, num_outputs = len(voxels.indices), len(outputs.indices)
    forward = _table_of_pairs(exists, offset, output_row, input_row, (geometry.num_offsets, num_outputs))
    backward = _table_of_pairs(exists, offset, input_row, output_row, (geometry.num_offsets, num_inputs))
    rulebooks = Rulebook.from_tables([forward, backward], num_channels)
    return NeighbourMap(geometry, False, voxels, spatial_shape, outputs, output_shape, *rulebooks)


def _strided_pairs(
    voxels: VoxelSet, output_shape: Shape3 | None, geometry: ConvGeometry
) -> tuple[Tensor, Tensor, Tensor, Tensor, KeyGrid]:
    """Candidates for pairs, as many for each voxel, and the grid of the output keys.

    Of each (P,): kernel offset, input row and output key (int64), and whether there is such a pair (bool).
    """
    _ = KeyGrid.around(voxels.low, voxels.high), voxels.order  # refuse voxels that no keys number, or that occur twice
    batch, *xyz = (column.long() for column in voxels.indices.unbind(1))
    candidates = [_outputs_on_axis(position, axis, output_shape, geometry) for axis, position in enumerate(xyz)]
    grid = _grid_of_outputs(voxels, geometry)
    _, size_y, size_z = geometry.kernel_size
    offsets, keys, existing = [], [], []
    for x, y, z in itertools.product(*candidates):
        offsets.append((x.kernel_position * size_y + y.kernel_position) * size_z + z.kernel_position)
        keys.append(grid.encode([batch, x.output, y.output, z.output]))
        existing.append(x.exists & y.exists & z.exists)
    input_row = torch.arange(len(batch), device=batch.device).repeat(len(keys))
    return torch.cat(offsets), input_row, torch.cat(keys), torch.cat(existing), grid


class _OutputOnAxis(NamedTuple):
    """For each input (M,): an output that sees it on one axis, from where in the kernel, and whether there is one."""

    kernel_position: Tensor
    output: Tensor
    exists: Tensor


def _outputs_on_axis(
    position: Tensor, axis: int, output_shape: Shape3 | None, geometry: ConvGeometry
) -> list[_OutputOnAxis]:
    """All outputs that see the inputs at ``position`` (M,) int64, from the largest down.

    Kernel position ``k`` and output ``o`` meet input ``o * stride - padding + k * dilation``: every ``period``-th
    ``k`` does, from a first one that depends on the input.
    """
    size, stride = geometry.kernel_size[axis], geometry.stride[axis]
    padding, dilation = geometry.padding[axis], geometry.dilation[axis]
    divisor = math.gcd(stride, dilation)
    period, step = stride // divisor, dilation // divisor
    moved = position + padding
    # k * step = moved / divisor (mod period), where that division leaves no remainder.
    quotient = torch.div(moved, divisor, rounding_mode="floor")
    meets = quotient * divisor == moved
    first = torch.remainder(quotient * pow(step, -1, period), period)
    largest = torch.div(moved - first * dilation, stride, rounding_mode="floor")
    outputs = []
    for turn in range(-(-size // period)):
        kernel_position, output = first + turn * period, largest - turn * step
        exists = meets & (kernel_position < size)
        if output_shape is not None:
            exists &= (output >= 0) & (output < output_shape[axis])
        outputs.append(_OutputOnAxis(kernel_position, output, exists))
    return outputs


def _grid_of_outputs(voxels: VoxelSet, geometry: ConvGeometry) -> KeyGrid:
    """Every output that an unbounded grid could have."""
    low, high = [voxels.low[0]], [voxels.high[0]]
    for axis in range(3):
        size, stride = geometry.kernel_size[axis], geometry.stride[axis]
        padding, dilation = geometry.padding[axis], geometry.dilation[axis]
        smallest = -((dilation * (size - 1) - padding - voxels.low[axis + 1]) // stride)
        low.append(smallest)
        high.append(max(smallest, (voxels.high[axis + 1] + padding) // stride))
    return KeyGrid.around(low, high)


def _table_of_pairs(exists: Tensor, offset: Tensor, to_row: Tensor, from_row: Tensor, shape: tuple[int, int]) -> Tensor:
    """(K, num_rows) int32 table with ``from_row`` at (offset, to_row) where the pair ``exists``, -1 elsewhere."""
    num_offsets, num_rows = shape
    num_cells = num_offsets * num_rows
    # The last cell, which is cut off, takes what does not exist.
    table = torch.full((num_cells + 1,), -1, dtype=torch.int32, device=offset.device)
    cell = torch.where(exists, offset * num_rows + to_row, num_cells)
    return table.scatter_(0, cell, from_row.int())[:-1].view(shape)


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
