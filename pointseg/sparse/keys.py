"""Voxels as 64-bit keys: one number a voxel, ordered like (batch, x, y, z)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_MAX_CELLS = 2**62  # half of what int64 holds, so that a key plus the step to a neighbour fits too


@dataclass(frozen=True)
class KeyGrid:
    """A box of voxels in which a voxel's key is its position in row-major order.

    ``origin`` (batch, x, y, z) has key 0; ``shape`` counts the positions on each axis. Built with room on one
    side of each axis, the key of a neighbour is the key plus a constant, and never the key of another voxel.
    """

    origin: tuple[int, int, int, int]
    shape: tuple[int, int, int, int]

    @classmethod
    def around(cls, low: Sequence[int], high: Sequence[int], margin: Sequence[int] = (0, 0, 0)) -> "KeyGrid":
        """The grid of the corners ``low`` and ``high`` (batch, x, y, z; inclusive), ``margin`` voxels wider in x, y, z.

        Raises:
            ValueError: the grid has more positions than a 64-bit key can number.
        """
        b, x, y, z = (int(h) - int(lo) + 1 + m for lo, h, m in zip(low, high, (0, *margin), strict=True))
        if b * x * y * z > _MAX_CELLS:
            raise ValueError(
                f"voxels span {b} scenes of {x} x {y} x {z} positions, more than 64-bit keys can number; "
                "remove far outliers or use larger voxels"
            )
        b0, x0, y0, z0 = (int(lo) for lo in low)
        return cls((b0, x0, y0, z0), (b, x, y, z))

    @property
    def num_cells(self) -> int:
        """How many keys there are."""
        b, x, y, z = self.shape
        return b * x * y * z

    @property
    def axis_steps(self) -> tuple[int, int, int]:
        """By how much the key grows for one step in x, y and z."""
        _, _, y, z = self.shape
        return y * z, z, 1

    @property
    def end(self) -> tuple[int, int, int, int]:
        """(batch, x, y, z) of the last key."""
        b, x, y, z = (start + size - 1 for start, size in zip(self.origin, self.shape, strict=True))
        return b, x, y, z

    def encode(self, columns: Sequence[Tensor]) -> Tensor:
        """Keys (M,) int64 of voxels that lie in the grid; ``columns`` are batch, x, y and z, (M,) each."""
        keys = columns[0].long() - self.origin[0]
        for column, start, size in zip(columns[1:], self.origin[1:], self.shape[1:], strict=True):
            keys.mul_(size).add_(column).sub_(start)
        return keys

    def decode(self, keys: Tensor) -> Tensor:
        """Indices (M, 4) int32 (batch, x, y, z) of ``keys`` (M,) int64."""
        columns = []
        rest = keys
        for start, size in zip(self.origin[:0:-1], self.shape[:0:-1], strict=True):
            above = torch.div(rest, size, rounding_mode="floor")
            columns.append(rest - above * size + start)
            rest = above
        columns.append(rest + self.origin[0])
        return torch.stack(columns[::-1], dim=1).to(torch.int32)


@dataclass(frozen=True)
class VoxelSet:
    """Where voxels are, and what the host knows of it: an accelerator is asked once, not by every layer.

    ``indices`` (M, 4) int32 (batch, x, y, z) lie in the box from ``low`` to ``high`` (inclusive), which may be larger
    than need be. Where ``ascending``, each is larger than the one before, so that none is there twice.
    """

    indices: Tensor
    low: tuple[int, ...] = (0, 0, 0, 0)
    high: tuple[int, ...] = (0, 0, 0, 0)
    ascending: bool = True

    @classmethod
    def read(cls, indices: Tensor) -> "VoxelSet":
        """Read the box and the order of ``indices`` (M, 4) int32."""
        if indices.shape[0] == 0:
            return cls(indices)
        low, high = torch.aminmax(indices, dim=0)
        ascending = torch.zeros(len(indices) - 1, dtype=torch.bool, device=indices.device)
        for column in indices.unbind(1)[::-1]:
            before, after = column[:-1], column[1:]
            ascending = (after > before) | ((after == before) & ascending)
        numbers = torch.cat([low, high, ascending.all().int()[None]]).tolist()
        return cls(indices, tuple(numbers[:4]), tuple(numbers[4:8]), bool(numbers[8]))

    def is_same(self, other: "VoxelSet") -> bool:
        """Whether the rows are the same voxels, in the same order; they are compared only where the sets are two."""
        return self is other or torch.equal(self.indices, other.indices)

    @cached_property
    def order(self) -> Tensor | None:
        """(M,) int64: the rows in ascending order; None where they are in it.

        Raises:
            ValueError: a voxel is there twice; the message has the first such pair.
        """
        if self.ascending:
            return None
        sorted_keys, order = torch.sort(KeyGrid.around(self.low, self.high).encode(self.indices.unbind(1)), stable=True)
        same = sorted_keys[1:] == sorted_keys[:-1]
        if bool(same.any()):
            pairs = torch.stack([order[:-1][same], order[1:][same]], dim=1).tolist()
            first, second = min(pairs, key=lambda pair: pair[1])
            raise ValueError(
                f"voxels {first} and {second} are both (batch, x, y, z) = {tuple(self.indices[first].tolist())}; "
                "a voxel may occur once"
            )
        return order
