"""Networks."""

from pointseg.models.blocks import ResidualBlock, VoxelBatchNorm
from pointseg.models.unet import SparseUNet, UNetOutput

__all__ = ["ResidualBlock", "SparseUNet", "UNetOutput", "VoxelBatchNorm"]
