"""How fast the machine multiplies matrices: the most that a convolution can hope for."""

import torch

from pointseg.benchmarks.timing import Measurement, stopwatch

_SIDE_OF_DEVICE = {"cpu": 2048, "cuda": 8192}
"""Large enough that a larger matrix is not multiplied at a higher rate."""


class MatrixProduct:
    """A product of two square float32 matrices, on the device."""

    def __init__(self, device: torch.device) -> None:
        side = _SIDE_OF_DEVICE[device.type]
        left, right = torch.randn(2, side, side, device=device)
        out = torch.empty_like(left)
        self.num_flops = 2 * side**3
        self.measurement: Measurement = stopwatch(lambda: torch.mm(left, right, out=out), device)
