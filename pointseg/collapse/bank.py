"""A memory of class centers, for the classes that a batch does not have. The paper has none."""

import torch
from torch import nn

from pointseg.collapse.centers import Centers


class CenterBank(nn.Module):
    """Exponential moving average of each class's center; it stands in where the class is absent.

        b_k <- m b_k + (1 - m) z̄_k   where k is present,      z̄_k := b_k   where it is absent and was seen before

    A stand-in carries no gradient to any point. With a fixed simplex it acts only through what all centers share: a
    projection that learns is held to the absent classes' places as well, and the mean of the centers (where it is
    subtracted) is that of all classes rather than of those that happen to be present.

    Not in CeCo (CVPR 2023); the idea is the memory bank's of He et al., "Momentum Contrast" (CVPR 2020), for centers.

    Args:
        num_classes: K.
        channels: D.
        momentum: m, the share of the old center; 0 remembers the latest only.

    Raises:
        ValueError: the momentum is not in 0 <= m < 1.
    """

    centers: torch.Tensor
    is_known: torch.Tensor

    def __init__(self, num_classes: int, channels: int, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"expected a momentum in 0 <= m < 1, got {momentum}")
        self.momentum = momentum
        self.register_buffer("centers", torch.zeros(num_classes, channels))
        self.register_buffer("is_known", torch.zeros(num_classes, dtype=torch.bool))

    def forward(self, batch: Centers) -> tuple[torch.Tensor, torch.Tensor]:
        """Fill in the absent classes; in training, remember the present ones.

        Returns:
            centers (K, D) and a mask (K,): the classes that have one.
        """
        present = batch.present
        before, was_known = self.centers.clone(), self.is_known.clone()
        if self.training:
            new = batch.centers.detach().to(self.centers)
            # A class that is seen for the first time has no old center to keep a share of.
            mixed = torch.where(was_known.unsqueeze(1), before.lerp(new, 1 - self.momentum), new)
            self.centers.copy_(torch.where(present.unsqueeze(1), mixed, before))
            self.is_known.logical_or_(present)
        filled = torch.where(present.unsqueeze(1), batch.centers, before.to(batch.centers))
        return filled, present | was_known
