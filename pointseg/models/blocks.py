"""The parts of the sparse U-Net: batch norm over voxels, convolution with norm, residual block."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.sparse import Backend


class VoxelBatchNorm(nn.BatchNorm1d):
    """Batch norm over the voxels of a batch; same parameters, buffers and results as ``nn.BatchNorm1d``.

    The one difference: a training batch of fewer than two voxels, whose variance means nothing and which torch
    refuses, is normalised with the running statistics and leaves them as they are. A grid of a small scene can
    have a single voxel at the coarsest level.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (M, C)."""
        if self.training and features.shape[0] < 2:
            return F.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(features)


# As in the published network.
make_norm = partial(VoxelBatchNorm, eps=1e-3, momentum=0.01)


def make_conv_norm_relu(backend: Backend, convolution: Any) -> Any:
    """``convolution`` followed by batch norm and ReLU, as children 0, 1 and 2."""
    return backend.SparseSequential(convolution, make_norm(convolution.out_channels), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """``ReLU(norm2(conv2(ReLU(norm1(conv1(x))))) + shortcut(x))`` with 3x3x3 submanifold convolutions.

    The shortcut is the identity, or a 1x1x1 convolution and batch norm where the channels differ (He et al., 2016).

    Args:
        backend: what makes the convolutions.
        in_channels, out_channels: of the features.
        indice_key: names the neighbour map that all blocks of one resolution share.
    """

    def __init__(self, backend: Backend, in_channels: int, out_channels: int, indice_key: str) -> None:
        super().__init__()
        make_conv = partial(backend.SubMConv3d, kernel_size=3, padding=1, bias=False, indice_key=indice_key)
        self.conv1 = make_conv(in_channels, out_channels)
        self.bn1 = make_norm(out_channels)
        self.conv2 = make_conv(out_channels, out_channels)
        self.bn2 = make_norm(out_channels)
        self.proj = None
        if in_channels != out_channels:
            shortcut = backend.SubMConv3d(in_channels, out_channels, kernel_size=1, bias=False)
            self.proj = backend.SparseSequential(shortcut, make_norm(out_channels))

    def forward(self, tensor: Any) -> Any:
        """A sparse tensor of the same voxels, with ``out_channels``."""
        shortcut = tensor if self.proj is None else self.proj(tensor)
        hidden = self.conv1(tensor)
        hidden = hidden.replace_feature(F.relu_(self.bn1(hidden.features)))
        hidden = self.conv2(hidden)
        return hidden.replace_feature(torch.add(self.bn2(hidden.features), shortcut.features).relu_())
