"""Sparse convolutions the literal way: a dense grid, torch's conv3d, and the values at the voxels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pointseg.sparse import SparseConvTensor


def random_voxels(
    num_voxels: int, spatial_shape: tuple[int, int, int], batch_size: int = 1, seed: int = 0, order: str = "sorted"
) -> Tensor:
    """(num_voxels, 4) int32 distinct voxels; ``order`` is ``sorted`` or ``random``."""
    generator = torch.Generator().manual_seed(seed)
    x, y, z = spatial_shape
    cells = torch.randperm(batch_size * x * y * z, generator=generator)[:num_voxels]
    if order == "sorted":
        cells = cells.sort().values
    return torch.stack([cells // (x * y * z), cells // (y * z) % x, cells // z % y, cells % z], dim=1).int()


def random_tensor(
    num_voxels: int,
    spatial_shape: tuple[int, int, int],
    channels: int,
    batch_size: int = 1,
    seed: int = 0,
    order: str = "sorted",
    dtype: torch.dtype = torch.float64,
) -> SparseConvTensor:
    """Random voxels with random features that require a gradient."""
    indices = random_voxels(num_voxels, spatial_shape, batch_size, seed, order)
    features = torch.randn(num_voxels, channels, generator=torch.Generator().manual_seed(seed + 1), dtype=dtype)
    return SparseConvTensor(features.requires_grad_(), indices, spatial_shape, batch_size)


def dense_weight(weight: Tensor) -> Tensor:
    """(out, kx, ky, kz, in) as conv3d's (out, in, kx, ky, kz); a 1x1x1 weight is (in, out) in memory, as in spconv."""
    if weight.shape[1:4] == (1, 1, 1):
        out_channels, in_channels = weight.shape[0], weight.shape[4]
        return weight.reshape(in_channels, out_channels).t().reshape(out_channels, in_channels, 1, 1, 1)
    return weight.permute(0, 4, 1, 2, 3)


def submanifold_reference(
    tensor: SparseConvTensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1
) -> Tensor:
    """(M, out): conv3d with same padding, read at the voxels."""
    padding = [dilation * (size // 2) for size in weight.shape[1:4]]
    dense = F.conv3d(tensor.dense(), dense_weight(weight), bias, padding=padding, dilation=dilation)
    return read_at(dense, tensor.indices)


def read_at(dense: Tensor, indices: Tensor) -> Tensor:
    """(M, C) values of a (B, C, X, Y, Z) grid at ``indices`` (M, 4)."""
    b, x, y, z = indices.long().unbind(1)
    return dense[b, :, x, y, z]


def occupied(tensor: SparseConvTensor) -> Tensor:
    """(B, 1, X, Y, Z): one where a voxel is, else zero."""
    ones = torch.ones(tensor.num_voxels, 1, dtype=torch.float64)
    return tensor.replace_feature(ones).dense()
