"""Voxels as 64-bit keys: one number a voxel, ordered like (batch, x, y, z)."""

from collections.abc import Sequence
from dataclasses import dataclass

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

    def encode(self, indices: Tensor) -> Tensor:
        """Keys (M,) int64 of ``indices`` (M, 4) (batch, x, y, z), which must lie in the grid."""
        columns = indices.unbind(1)
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


def corners(indices: Tensor) -> tuple[list[int], list[int]]:
    """The smallest and the largest (batch, x, y, z) of ``indices`` (M, 4), M >= 1."""
    low, high = torch.aminmax(indices, dim=0)
    both = torch.stack([low, high]).tolist()
    return both[0], both[1]


def sort_unique(keys: Tensor, indices: Tensor) -> tuple[Tensor, Tensor | None]:
    """Sorted keys and the permutation that sorts them, or None where they were sorted already.

    Raises:
        ValueError: two voxels have the same key; the message has the first such pair.
    """
    if keys.numel() < 2 or bool((keys[1:] > keys[:-1]).all()):
        return keys, None
    sorted_keys, permutation = torch.sort(keys, stable=True)
    same = (sorted_keys[1:] == sorted_keys[:-1]).nonzero()[:, 0]
    if same.numel() > 0:
        pairs = torch.stack([permutation[same], permutation[same + 1]], dim=1).tolist()
        first, second = min(pairs, key=lambda pair: pair[1])
        raise ValueError(
            f"voxels {first} and {second} are both (batch, x, y, z) = {tuple(indices[first].tolist())}; "
            "a voxel may occur once"
        )
    return sorted_keys, permutation
