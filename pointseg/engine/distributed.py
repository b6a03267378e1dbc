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

from pointseg.errors import UsageError

_MOST_THREADS_PER_CORE = 16


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
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"run.device={name}: is no device; use auto, cpu or cuda")
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


def set_num_threads(num_threads: int, key: str = "train.num_threads=") -> None:
    """How many threads PyTorch computes with on the CPU; 0: what it chooses.

    Args:
        num_threads: of this process.
        key: where the number comes from, for the message.

    Raises:
        UsageError: there are many more than cores; OpenMP ends the process where it can't start them.
    """
    most = _MOST_THREADS_PER_CORE * (os.cpu_count() or 1)
    if num_threads > most:
        raise UsageError(f"{key}{num_threads}: this machine has {os.cpu_count()} cores; choose {most} at most")
    if num_threads:
        torch.set_num_threads(num_threads)


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
