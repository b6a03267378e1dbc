"""What stands between features and simplex. The U-Net's last features have fewer dimensions than 200 classes need."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import nn

Projection = Literal["none", "linear", "mlp"]
RELEASE_POINT_CHANNELS = 128
RELEASE_CENTER_CHANNELS = 512


class PointProjection(nn.Module):
    """(M, D) -> (M, D'): a linear map without bias and batch norm, the 1x1 convolution of the authors' code."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = PointNorm(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Project each point."""
        return self.norm(self.linear(features))


class PointNorm(nn.BatchNorm1d):
    """Batch norm over points that takes a single one, too: it has no variance, so the running statistics serve.

    The U-Net's batch norm does the same and more; this one is here so that nothing of the package is needed.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (M, C)."""
        if self.training and len(features) < 2:
            return F.batch_norm(features, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(features)


def build_projection(
    kind: Projection, feature_channels: int, num_classes: int
) -> tuple[nn.Module, nn.Module, int, int]:
    """The maps before the simplex.

    ``none``: the features themselves. ``linear``: one linear map to K dimensions without bias; it commutes with the
    mean, so it is applied to K centers rather than to M points. ``mlp``: the release's; each point: linear to 128,
    batch norm; each center: linear to 512 (K-1 for more than 513 classes), ReLU.

    Args:
        kind: one of the three.
        feature_channels: D.
        num_classes: K.

    Returns:
        the map of points (M, D) -> (M, D'), the map of centers (K, D') -> (K, E), D', and E.

    Raises:
        ValueError: it is another kind.
    """
    if kind == "none":
        return nn.Identity(), nn.Identity(), feature_channels, feature_channels
    if kind == "linear":
        lift = nn.Linear(feature_channels, num_classes, bias=False)
        return nn.Identity(), lift, feature_channels, num_classes
    if kind == "mlp":
        dim = max(RELEASE_CENTER_CHANNELS, num_classes - 1)
        point_projection = PointProjection(feature_channels, RELEASE_POINT_CHANNELS)
        lift_and_relu = nn.Sequential(nn.Linear(RELEASE_POINT_CHANNELS, dim), nn.ReLU())
        return point_projection, lift_and_relu, RELEASE_POINT_CHANNELS, dim
    raise ValueError(f"expected a projection of {', '.join(get_args(Projection))}, got {kind!r}")
