"""Batch norm that several processes share."""

import torch
from torch import nn

from pointseg.collapse.centers import sum_over_processes
from pointseg.models.recomputation import recomputing


class SyncBatchNorm(nn.BatchNorm1d):
    """Batch norm over the points of all processes, on any device (PyTorch's own is for GPUs only).

    Two sums are exchanged, first of the values and then of the squared deviations: the variance has no
    cancellation. Gradients flow through both. Fewer than two points in all have no variance: they are normalised with
    the running statistics and leave them as they are, as with :class:`pointseg.models.unet.VoxelBatchNorm`.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (M, C) by mean and variance over all processes in training; as batch norm otherwise."""
        if not self.training:
            return super().forward(features)
        values = features.to(torch.promote_types(features.dtype, torch.float32))
        local = torch.cat([values.sum(dim=0), values.new_full((1,), len(values))])
        total = sum_over_processes(local)
        has_variance = total[-1].detach() > 1  # asked on the device alone
        num_points = total[-1].detach().clamp_min(1)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        mean = torch.where(has_variance, total[:-1] / num_points, self.running_mean.to(total))
        centred = values - mean
        variance = sum_over_processes(centred.square().sum(dim=0)) / num_points
        variance = torch.where(has_variance, variance, self.running_var.to(total))
        if not recomputing.get():
            # To their own mean and variance running statistics stay as they are.
            self._update_running(mean.detach(), variance.detach(), num_points)
            self.num_batches_tracked.add_(has_variance)
        normalised = centred * (variance + self.eps).rsqrt()
        return (normalised * self.weight + self.bias).to(features.dtype)

    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor, num_points: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        unbiased = variance * num_points / (num_points - 1).clamp_min(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)


def synchronize_batch_norm(module: nn.Module) -> None:
    """Replace each ``BatchNorm1d`` below ``module`` by :class:`SyncBatchNorm`, with its weights and buffers."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            synchronized = SyncBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight.device)
            synchronized.load_state_dict(child.state_dict())
            synchronized.weight, synchronized.bias = child.weight, child.bias  # frozen ones stay frozen
            setattr(module, name, synchronized)
        else:
            synchronize_batch_norm(child)
