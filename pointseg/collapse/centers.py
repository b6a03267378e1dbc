"""Class centers: the mean feature of each class, by scatter."""

from typing import NamedTuple

import torch
from torch import nn


class Centers(NamedTuple):
    """One center a class."""

    centers: torch.Tensor
    """(K, D) float32 (float64 for float64 features); zero where the class is absent."""
    counts: torch.Tensor
    """(K,) the same dtype: points of each class; 0 where it is absent."""

    @property
    def present(self) -> torch.Tensor:
        """(K,) bool: the classes that have a center."""
        return self.counts > 0


class ClassCenters(nn.Module):
    """Features to class centers.

        z̄_k = (1/n_k) Σ_{i: y_i = k} z_i

    (CeCo, CVPR 2023). Sums and counts are scattered in float32 under any autocast: n_k reaches 10⁵,
    which half precision can't add up.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> Centers:
        """Average the features of each class.

        Args:
            features: (M, D) floating point.
            labels: (M,) int64; outside 0..K-1: left out.

        Raises:
            ValueError: the shapes do not fit.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"expected features (M, D) and labels (M,), got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        with torch.autocast(features.device.type, enabled=False):
            features = features.float() if features.dtype != torch.float64 else features
            # What is left out is summed into one more row, which is dropped: no copy of the features, no sync.
            valid = (labels >= 0) & (labels < self.num_classes)
            row = torch.where(valid, labels, self.num_classes)
            total = features.new_zeros(self.num_classes + 1, features.shape[1]).index_add(0, row, features)[:-1]
            count = features.new_zeros(self.num_classes + 1).index_add_(
                0, row, torch.ones_like(row, dtype=total.dtype)
            )[:-1]
            return Centers(total / count.clamp_min(1).unsqueeze(1), count)

    def extra_repr(self) -> str:
        """What ``print`` shows in the brackets."""
        return f"num_classes={self.num_classes}"
