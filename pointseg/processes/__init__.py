"""Several processes under ``torchrun`` or ``srun``, and how they stop; everything works, and costs nothing, with one.

The hosts talk to each other by gloo, over the CPU, also where the network is on GPUs: by that a process sees at once
that another has ended, while a kernel of NCCL would wait for it.
"""

import gc
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from pointseg.cores import count_cores
from pointseg.errors import DataError, PointsegError, StoppedError, UsageError, first_line
from pointseg.processes.launcher import Launch, read_launch

T = TypeVar("T")
_PATIENCE = timedelta(hours=2)
"""A long validation on one process must not time out the others."""
_STOP = "stop"
"""Key of the job's store: a process was asked to stop."""
_POLL_S = 0.02
_LOST = re.compile(r"gloo|remote process exited|TCPStore|[Cc]onnection (reset|closed|refused)|[Bb]roken pipe")
"""In what PyTorch says where another process is gone: it has no exception of its own for that."""

_MOST_THREADS_PER_CORE = 16


def count_processes() -> int:
    """Of the job that this process has joined; 1 where it is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


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
        mine = tensor.cpu().contiguous()
        gathered = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(gathered, mine)
        return gathered

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
            PointsegError, OSError: as the block, in one of the processes in which it did; a failure goes before a stop.
            SystemExit: in the others, with the same status and without a word.
        """
        failure: PointsegError | OSError | None = None
        try:
            yield
        except (PointsegError, OSError) as error:
            failure = error
        statuses = self._meet(getattr(failure, "exit_status", 1) if failure else 0)
        ended = [rank for rank, status in enumerate(statuses) if status]
        if ended:
            speaker = next((rank for rank in ended if statuses[rank] != StoppedError.exit_status), ended[0])
            raise failure if failure and speaker == self.rank else SystemExit(statuses[speaker])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.sum(np.array([int(flag)]))[0])

    def _meet(self, number: int) -> list[int]:
        """Wait for all processes, and return the number of each."""
        if self.world_size == 1:
            return [number]
        gathered = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        work = dist.all_gather(gathered, torch.tensor([number]), async_op=True)
        assert work is not None
        while not work.is_completed():
            time.sleep(_POLL_S)  # in work.wait() no signal would be heard
        work.wait()
        return [int(other) for other in gathered]


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
        if self.requested and self._store is not None:
            # The second SIGTERM may come while the processes leave each other; it would end one in the middle of that.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

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


def choose_device(name: str, key: str = "run.device=") -> torch.device:
    """The device of a name; under ``torchrun`` each local process has a GPU of its own.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.
        key: where the name comes from, for the message.

    Raises:
        UsageError: there is no such device here, or a variable of the launcher is wrong.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"{key}{name}: is no device; use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{key}cuda: PyTorch finds no GPU; install a CUDA build of torch, or use {key}cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    launch, num_gpus = read_launch(), torch.cuda.device_count()
    local_rank = launch.local_rank
    if num_gpus == 1 and launch.by_slurm:
        local_rank = 0  # Slurm shows each task its own GPU alone
    if local_rank >= num_gpus:
        raise UsageError(
            f"process {local_rank} has no GPU, there are {num_gpus}; lower --nproc-per-node (srun: --ntasks-per-node)"
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
    num_cores = count_cores()
    most = _MOST_THREADS_PER_CORE * num_cores
    if num_threads > most:
        cores = "one core" if num_cores == 1 else f"{num_cores} cores"
        raise UsageError(f"{key}{num_threads}: this process may use {cores}; choose {most} at most")
    if num_threads:
        torch.set_num_threads(num_threads)


@contextmanager
def join_processes(device_name: str) -> Iterator[Processes]:
    """Join the processes that torchrun or srun started, and leave them at the end. Between GPUs they talk by NCCL.

    Raises:
        UsageError: a device is not there, a variable of the launcher is wrong, or the processes did not find each
            other.
        DataError: another process has ended before this one.
    """
    device = choose_device(device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    launch = read_launch()
    if launch.world_size == 1:
        yield Processes(0, 1, device)
        return
    _meet_others(launch, device)
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


def _meet_others(launch: Launch, device: torch.device) -> None:
    meeting: dict[str, Any] = {}  # torchrun's
    if launch.by_slurm:
        from pointseg.processes.slurm import meet

        meeting = meet(launch, _PATIENCE)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE, **meeting)
    except RuntimeError as error:  # all of torch.distributed's are
        raise UsageError(
            f"{launch.address}:{launch.port}: the {launch.world_size} processes did not find each other there "
            f"({first_line(error)}); start them with torchrun, or set MASTER_ADDR and MASTER_PORT"
        ) from None


def _forget_frames(error: BaseException) -> None:
    """Free what the functions held that an exception went through, and those of the exceptions before it."""
    errors: list[BaseException | None] = [error]
    for each in errors:
        if each is not None:
            traceback.clear_frames(each.__traceback__)
            errors += [other for other in (each.__cause__, each.__context__) if other not in errors]
