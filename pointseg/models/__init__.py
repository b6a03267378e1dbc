"""Networks."""

from pointseg.models.blocks import ResidualBlock, VoxelBatchNorm
from pointseg.models.unet import SIZES, SparseUNet, UNetOutput, UNetSize, choose_size

__all__ = ["SIZES", "ResidualBlock", "SparseUNet", "UNetOutput", "UNetSize", "VoxelBatchNorm", "choose_size"]
