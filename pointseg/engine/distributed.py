"""Several processes under ``torchrun`` or ``srun``; everything works, and costs nothing, with one."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from pointseg.errors import PointsegError, UsageError

T = TypeVar("T")
_PATIENCE = timedelta(hours=2)
"""A long validation on one process must not time out the others."""


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

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """The mean of a floating-point tensor over all processes, on each of them."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes, of one shape and dtype, in the order of their ranks; on the CPU."""
        if self.world_size == 1:
            return [tensor.cpu()]
        mine = tensor.to(self.device).contiguous()
        gathered = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(gathered, mine)
        return [other.cpu() for other in gathered]

    def gather_objects(self, value: T) -> list[T]:
        """What all processes have, in the order of their ranks; anything small that can be pickled."""
        if self.world_size == 1:
            return [value]
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, value)
        return gathered

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: batch norm's running statistics are gathered by each alone."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def let_first(self, function: Callable[[], object]) -> None:
        """Let the first process do what the others can't go on without, as checking a folder.

        Raises:
            PointsegError, OSError: as the function does, in the first process.
            SystemExit: in the others, with the same status and without a word.
        """
        with self.together():
            if self.is_first:
                function()

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block of which no process goes on before all have come to its end, and none if one failed in it.

        Raises:
            PointsegError, OSError: as the block, in the first of the processes in which it did.
            SystemExit: in the others, with the same status and without a word.
        """
        failure: PointsegError | OSError | None = None
        try:
            yield
        except (PointsegError, OSError) as error:
            failure = error
        own = getattr(failure, "exit_status", 1) if failure else 0
        statuses = [int(status) for status in self.gather(torch.tensor([own]))]
        if any(statuses):
            first = next(rank for rank, status in enumerate(statuses) if status)
            raise failure if failure and first == self.rank else SystemExit(statuses[first])

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
    variables, num_gpus = read_launcher(), torch.cuda.device_count()
    local_rank = int(variables.get("LOCAL_RANK", 0))
    if num_gpus == 1 and variables is not os.environ:
        local_rank = 0  # Slurm shows each task its own GPU alone
    if local_rank >= num_gpus:
        raise UsageError(
            f"process {local_rank} has no GPU, there are {num_gpus}; lower --nproc-per-node (srun: --ntasks-per-node)"
        )
    return torch.device("cuda", local_rank)


def read_launcher() -> Mapping[str, str]:
    """The environment with torchrun's variables, also where srun has started several processes and set its own."""
    several = os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    if not several or "WORLD_SIZE" in os.environ or "SLURM_PTY_PORT" in os.environ:  # the last: a shell, by srun --pty
        return os.environ
    from pointseg.engine.slurm import as_torchrun

    return as_torchrun(os.environ)


@contextmanager
def join_processes(device_name: str) -> Iterator[Processes]:
    """Join the processes that torchrun or srun started (NCCL on GPUs, gloo on a CPU), and leave them at the end.

    Raises:
        UsageError: a device is not there; or processes of srun did not find each other.
    """
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    variables = read_launcher()
    if int(variables.get("WORLD_SIZE", 1)) == 1:
        yield Processes(0, 1, device)
        return
    meeting: dict[str, Any] = {}  # torchrun's
    if variables is not os.environ:
        from pointseg.engine.slurm import meet

        meeting = meet(variables, _PATIENCE)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE, **meeting)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()
