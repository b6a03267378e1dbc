"""Sparse convolutions on voxels: spconv's names and semantics in plain PyTorch, and the choice of another backend."""

from pointseg.sparse.backends import BACKENDS, Backend, backend
from pointseg.sparse.modules import SparseConv3d, SparseInverseConv3d, SparseModule, SparseSequential, SubMConv3d
from pointseg.sparse.tensor import SparseConvTensor, conv_output_shape, padded_spatial_shape

__all__ = [
    "BACKENDS",
    "Backend",
    "SparseConv3d",
    "SparseConvTensor",
    "SparseInverseConv3d",
    "SparseModule",
    "SparseSequential",
    "SubMConv3d",
    "backend",
    "conv_output_shape",
    "padded_spatial_shape",
]
