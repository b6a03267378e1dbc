"""Several processes under ``torchrun``; everything works, and costs nothing, with one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce as differentiable_all_reduce

from pointseg.errors import UsageError
from pointseg.models.recomputation import is_recomputing


@dataclass(frozen=True)
class Processes:
    """One process among those of the job."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Only this one writes."""
        return self.rank == 0

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of an int64 array over all processes."""
        if self.world_size == 1:
            return array
        tensor = torch.from_numpy(array).to(self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes, of one shape and dtype, in the order of their ranks; on the CPU."""
        if self.world_size == 1:
            return [tensor.cpu()]
        mine = tensor.to(self.device).contiguous()
        gathered = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(gathered, mine)
        return [other.cpu() for other in gathered]

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: batch norm's running statistics are gathered by each alone."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.sum(np.array([int(flag)]))[0])


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda``; under ``torchrun`` each local process has a GPU of its own."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("run.device=cuda: PyTorch finds no GPU; install a CUDA build of torch, or use run.device=cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"process {local_rank} has no GPU, there are {torch.cuda.device_count()}; lower --nproc-per-node"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def join_processes(device_name: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started (NCCL on GPUs, gloo on a CPU), and leave them at the end."""
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Processes(0, 1, device)
        return
    # A long validation on one process must not time out the others.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


class SyncBatchNorm(nn.BatchNorm1d):
    """Batch norm over the points of all processes, on any device (PyTorch's own is for GPUs only).

    Two sums are exchanged, first of the values and then of the squared deviations: the variance has no
    cancellation. Gradients flow through both.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (M, C) by mean and variance over all processes in training; as batch norm otherwise."""
        if not self.training:
            return super().forward(features)
        values = features.float() if features.dtype != torch.float64 else features
        local = torch.cat([values.sum(dim=0), values.new_tensor([float(len(values))])])
        total = differentiable_all_reduce(local)
        num_points = total[-1].detach().clamp_min(1)
        mean = total[:-1] / num_points
        centred = values - mean
        variance = differentiable_all_reduce(centred.square().sum(dim=0)) / num_points
        if not is_recomputing():
            self._update_running(mean.detach(), variance.detach(), num_points)
        normalised = centred * (variance + self.eps).rsqrt()
        return (normalised * self.weight + self.bias).to(features.dtype)

    def _update_running(self, mean: torch.Tensor, variance: torch.Tensor, num_points: torch.Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        unbiased = variance * num_points / (num_points - 1).clamp_min(1)
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
        self.num_batches_tracked.add_(1)


def synchronize_batch_norm(module: nn.Module) -> None:
    """Replace each ``BatchNorm1d`` below ``module`` by :class:`SyncBatchNorm`, with its weights and buffers."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d):
            synchronized = SyncBatchNorm(child.num_features, child.eps, child.momentum)
            synchronized.load_state_dict(child.state_dict())
            setattr(module, name, synchronized)
        else:
            synchronize_batch_norm(child)
