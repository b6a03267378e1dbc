"""The parts of the sparse U-Net: batch norm over voxels, convolution with norm, residual block."""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.models.recomputation import recomputing
from pointseg.sparse import Backend


class VoxelBatchNorm(nn.BatchNorm1d):
    """Batch norm over the voxels of a batch; same parameters, buffers and results as ``nn.BatchNorm1d``.

    Two differences. A training batch of fewer than two voxels, whose variance means nothing and which torch
    refuses, is normalised with the running statistics and leaves them as they are: a grid of a small scene can
    have a single voxel at the coarsest level. And a batch that a backward pass computes again
    (:mod:`pointseg.models.recomputation`) is not counted twice in the running statistics.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (M, C)."""
        if self.training and features.shape[0] < 2:
            return F.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        if self.training and recomputing.get():
            # Copies, and not None: autograd has to find as many tensors as the first time.
            assert self.running_mean is not None and self.running_var is not None
            mean, variance = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(features, mean, variance, self.weight, self.bias, training=True, eps=self.eps)
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
        # In place: neither batch norm nor convolution needs its output in the backward pass.
        return hidden.replace_feature(self.bn2(hidden.features).add_(shortcut.features).relu_())
