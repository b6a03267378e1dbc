"""The mean of the class centers over many batches. The paper takes none off."""

import torch
from torch import nn

from pointseg.collapse.centers import has_other_processes, sum_over_processes


class RunningMean(nn.Module):
    """Exponential moving average of the mean of the centers.

        m <- μ m + (1 - μ) mean_k z̄_k

    A batch has few of K classes, and their mean moves with which these are; that of many batches moves less. The
    gradient flows through the batch's share of it.

    Args:
        channels: D.
        momentum: μ, the share of the old mean.
        over_processes: whether the batch is that of all processes of the job, each of which has other centers.

    Raises:
        ValueError: the momentum is not in 0 <= μ < 1.
    """

    mean: torch.Tensor
    is_known: torch.Tensor

    def __init__(self, channels: int, momentum: float, over_processes: bool = False) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"expected a momentum in 0 <= m < 1, got {momentum}")
        self.momentum = momentum
        self.over_processes = over_processes
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("is_known", torch.zeros((), dtype=torch.bool))

    def forward(self, batch_mean: torch.Tensor, has_center: torch.Tensor) -> torch.Tensor:
        """The mean to take off; in training, this batch's becomes part of it.

        Args:
            batch_mean: (..., 1, D), of the centers present; with scope ``scene`` one a scene.
            has_center: (...,) bool: where there is a center at all.

        Returns:
            (D,).
        """
        weight = has_center.to(batch_mean).view(-1, 1)
        total, number = (batch_mean.reshape(-1, batch_mean.shape[-1]) * weight).sum(dim=0), weight.sum()
        if self.over_processes and has_other_processes():
            both = sum_over_processes(torch.cat([total, number.view(1)]))
            total, number = both[:-1], both[-1].detach()
        new = total / number.clamp_min(1)
        # What has no center has no mean, and the first mean no old one to keep a share of.
        share = torch.where(number > 0, torch.where(self.is_known, 1 - self.momentum, 1.0), 0.0).to(new)
        # The buffer itself changes below, and autograd must not see that.
        mean = self.mean.clone().to(new).lerp(new, share)
        if self.training:
            self.mean.copy_(mean.detach())
            self.is_known.logical_or_(number > 0)
        return mean
