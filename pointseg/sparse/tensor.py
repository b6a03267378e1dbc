"""The sparse tensor: features of occupied voxels and where they are, and the shapes of its grid on the way down."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pointseg.sparse.keys import VoxelSet

Shape3 = tuple[int, int, int]


class SparseConvTensor:
    """Features at the occupied voxels of a batch of grids, with spconv's names.

    With a ``spatial_shape``, voxels lie in ``0 <= x < spatial_shape[0]`` (and so on), and a strided convolution
    drops what falls outside its output shape, as spconv does. ``spatial_shape=None`` is an unbounded grid:
    coordinates may be negative, strided convolutions divide them rounding down, and nothing is dropped.

    Args:
        features: (M, C) floating point.
        indices: (M, 4) int32, (batch, x, y, z), each row once. Rows sorted by (batch, x, y, z) are fastest.
        spatial_shape: three positive ints, or None.
        batch_size: number of scenes, >= 1. A scene may be without voxels.
        indice_dict: neighbour maps by indice_key, shared by all tensors derived from this one.

    Raises:
        ValueError: a shape, dtype or device is wrong, or a voxel is outside the grid or the batch (the message
            has the first one). Voxels that occur twice are found, and refused, by the first convolution.
    """

    def __init__(
        self,
        features: Tensor,
        indices: Tensor,
        spatial_shape: Sequence[int] | None,
        batch_size: int,
        indice_dict: dict[str, Any] | None = None,
    ) -> None:
        _check_features(features, indices)
        self.features = features
        self.voxels = VoxelSet.read(indices)
        self.spatial_shape: Shape3 | None = None if spatial_shape is None else _checked_shape(spatial_shape)
        self.batch_size = int(batch_size)
        self.indice_dict: dict[str, Any] = {} if indice_dict is None else indice_dict
        self._check_indices()

    def __repr__(self) -> str:
        return (
            f"SparseConvTensor(features={tuple(self.features.shape)} {self.features.dtype}, "
            f"spatial_shape={self.spatial_shape}, batch_size={self.batch_size})"
        )

    @property
    def indices(self) -> Tensor:
        """(M, 4) int32 (batch, x, y, z)."""
        return self.voxels.indices

    @property
    def num_voxels(self) -> int:
        """M, over all scenes."""
        return self.indices.shape[0]

    def replace_feature(self, feature: Tensor) -> "SparseConvTensor":
        """The same voxels with other features (M, C').

        Raises:
            ValueError: the features are not one row a voxel.
        """
        _check_features(feature, self.indices)
        return self.derive(feature, self.voxels, self.spatial_shape)

    def derive(self, features: Tensor, voxels: VoxelSet, spatial_shape: Shape3 | None) -> "SparseConvTensor":
        """A tensor of the same batch that shares the neighbour maps; for layers, whose results need no checks."""
        tensor = object.__new__(SparseConvTensor)
        tensor.features = features
        tensor.voxels = voxels
        tensor.spatial_shape = spatial_shape
        tensor.batch_size = self.batch_size
        tensor.indice_dict = self.indice_dict
        return tensor

    def find_indice_pair(self, key: str | None) -> Any | None:
        """The neighbour map stored under ``key``, or None."""
        return None if key is None else self.indice_dict.get(key)

    def dense(self, channels_first: bool = True) -> Tensor:
        """A dense (B, C, X, Y, Z) tensor, or (B, X, Y, Z, C); zero where no voxel is.

        Raises:
            ValueError: the tensor has no ``spatial_shape``.
        """
        if self.spatial_shape is None:
            raise ValueError("dense() needs a spatial_shape, and this tensor has none (an unbounded grid)")
        grid = self.features.new_zeros((self.batch_size, *self.spatial_shape, self.features.shape[1]))
        grid = grid.index_put(tuple(self.indices.long().unbind(1)), self.features)
        return grid.permute(0, 4, 1, 2, 3).contiguous() if channels_first else grid

    def _check_indices(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {self.batch_size}")
        if self.num_voxels == 0:
            return
        sizes = (self.batch_size, *(self.spatial_shape or ()))
        low, high = self.voxels.low[: len(sizes)], self.voxels.high[: len(sizes)]
        if min(low) < 0 or any(top >= size for top, size in zip(high, sizes, strict=True)):
            columns = self.indices[:, : len(sizes)]
            inside = ((columns >= 0) & (columns < torch.tensor(sizes, device=columns.device))).all(dim=1)
            first = int((~inside).nonzero()[0, 0])
            raise ValueError(
                f"voxel {first} is (batch, x, y, z) = {tuple(self.indices[first].tolist())}, outside the batch of "
                f"{self.batch_size} or the spatial shape {self.spatial_shape}"
            )


def _checked_shape(spatial_shape: Sequence[int]) -> Shape3:
    sizes = [int(size) for size in spatial_shape]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"spatial_shape: expected three positive numbers, got {sizes}")
    return sizes[0], sizes[1], sizes[2]


def _check_features(features: Tensor, indices: Tensor) -> None:
    if indices.dim() != 2 or indices.shape[1] != 4 or indices.dtype != torch.int32:
        raise ValueError(f"indices: expected (M, 4) int32, got {tuple(indices.shape)} {indices.dtype}")
    if features.dim() != 2 or features.shape[0] != indices.shape[0] or not features.is_floating_point():
        raise ValueError(
            f"features: expected ({indices.shape[0]}, C) floating point, got {tuple(features.shape)} {features.dtype}"
        )
    if features.device != indices.device:
        raise ValueError(f"features are on {features.device}, but indices on {indices.device}; move one of them")


def conv_output_shape(
    spatial_shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape3:
    """Spatial shape after a strided convolution: ``(s + 2 p - d (k - 1) - 1) // stride + 1`` on each axis.

    Raises:
        ValueError: the kernel is larger than the padded grid, so no output is left.
    """
    axes = zip(spatial_shape, kernel_size, stride, padding, dilation, strict=True)
    x, y, z = ((s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in axes)
    if min(x, y, z) < 1:
        raise ValueError(
            f"kernel {tuple(kernel_size)}, stride {tuple(stride)} and padding {tuple(padding)} leaves nothing of the "
            f"spatial shape {tuple(spatial_shape)}; give a larger spatial shape"
        )
    return x, y, z


def padded_spatial_shape(extent: Sequence[int], num_stages: int) -> Shape3:
    """The smallest spatial shape in which ``num_stages`` halvings (kernel 2, stride 2) drop no voxel.

    spconv drops the last plane of an odd grid when it halves it, together with the voxels there. Where every
    axis is a multiple of ``2**num_stages``, every grid on the way down is even.

    Args:
        extent: three positive ints, one more than the largest voxel coordinate on each axis.
        num_stages: how many times the network halves the grid, >= 0.

    Returns:
        Each axis rounded up to a multiple of ``2**num_stages``.

    Raises:
        ValueError: an extent is not positive, there are not three of them, or ``num_stages`` is negative.
    """
    sizes = [int(size) for size in extent]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"extent: expected three positive numbers of voxels, got {sizes}")
    if num_stages < 0:
        raise ValueError(f"num_stages: expected a number >= 0, got {num_stages}")
    step = 2**num_stages
    x, y, z = (-(-size // step) * step for size in sizes)
    return x, y, z
