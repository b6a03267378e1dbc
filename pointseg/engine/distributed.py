"""Several processes under ``torchrun``, and how they stop; everything works, and costs nothing, with one.

The hosts talk to each other by gloo, over the CPU, also where the network is on GPUs: by that a process sees at once
that another has ended, while a kernel of NCCL would wait for it.
"""

import gc
import os
import re
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from pointseg.errors import DataError, StoppedError, UsageError

_STOP = "stop"
"""Key of the job's store: a process was asked to stop."""
_POLL_S = 0.02
_LOST = re.compile(r"gloo|remote process exited|TCPStore|[Cc]onnection (reset|closed|refused)|[Bb]roken pipe")
"""In what PyTorch says where another process is gone: it has no exception of its own for that."""


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
        tensor = torch.from_numpy(array).clone()
        dist.all_reduce(tensor)
        return tensor.numpy()

    def gather(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes, of one shape and dtype, in the order of their ranks; on the CPU."""
        if self.world_size == 1:
            return [tensor.cpu()]
        mine = tensor.cpu().contiguous()
        gathered = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(gathered, mine)
        return gathered

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: batch norm's running statistics are gathered by each alone."""
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.sum(np.array([int(flag)]))[0])

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that each process goes through by itself; where one fails in it, none goes on.

        Raises:
            StoppedError: another process was stopped in it.
            DataError: another failed in it.
        """
        if self.world_size == 1:
            yield
            return
        try:
            yield
        except Exception as error:
            self._meet(1 if isinstance(error, StoppedError) else 2)
            raise
        worst = self._meet(0)
        if worst == 1:
            raise StoppedError("stopped with another process of the job")
        if worst == 2:
            raise DataError("another process of the job failed; the line that it wrote says why")

    def _meet(self, number: int) -> int:
        """Wait for all processes, and return the highest number of any."""
        highest = torch.tensor([number])
        work = dist.all_reduce(highest, op=dist.ReduceOp.MAX, async_op=True)
        assert work is not None
        while not work.is_completed():
            time.sleep(_POLL_S)  # in work.wait() no signal would be heard
        work.wait()
        return int(highest)


class StopRequest:
    """Turns SIGINT and SIGTERM into a flag that is read between two steps, and tells the other processes.

    A second Ctrl-C stops at once. A second SIGTERM does not: torchrun's agent and a cluster's manager both send one,
    and the checkpoint would be lost.

    Args:
        world_size: number of processes.
    """

    def __init__(self, world_size: int = 1) -> None:
        self.requested = False
        self._store = dist.distributed_c10d._get_default_store() if world_size > 1 else None
        self._num_interrupts = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def is_known(self) -> bool:
        """Whether this process was asked to stop, or another that has said so; they may answer differently."""
        if not self.requested and self._store is not None:
            self.requested = self._store.check([_STOP])
        return self.requested

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._num_interrupts += number == signal.SIGINT
        if self._num_interrupts > 1:
            raise KeyboardInterrupt
        if self._store is not None:
            with suppress(RuntimeError):  # the process that keeps it is gone: then all will end
                self._store.set(_STOP, "asked")


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


@contextmanager
def join_processes(device_name: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, and leave them at the end. Between GPUs they talk by NCCL.

    Raises:
        DataError: another process has ended before this one.
    """
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Processes(0, 1, device)
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    # A long validation on one process must not time out the others.
    dist.init_process_group(backend, timeout=timedelta(hours=2))
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), device)
    except BaseException as error:
        _forget_frames(error)
        if isinstance(error, RuntimeError) and _LOST.search(str(error)):
            raise DataError(
                "another process of the job ended before this one; the line that it wrote says why"
            ) from None
        raise
    finally:
        # Whatever holds the group, as DDP does, goes first: freed after it, it would wait for threads of gloo that
        # wait for Python.
        gc.collect()
        dist.destroy_process_group()


def _forget_frames(error: BaseException) -> None:
    """Free what the functions held that an exception went through, and those of the exceptions before it."""
    errors: list[BaseException | None] = [error]
    for each in errors:
        if each is not None:
            traceback.clear_frames(each.__traceback__)
            errors += [other for other in (each.__cause__, each.__context__) if other not in errors]
