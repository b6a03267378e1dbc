"""The processes that make scenes ready: how they hand batches over, and what is known of one that dies."""

import atexit
import errno
import multiprocessing
import os
import pickle
import re
import resource
import signal
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import get_worker_info

from pointseg.commands import ignore_held
from pointseg.data.batch import Batch
from pointseg.errors import DataError, first_line

_WORKER_DIED = r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)"
"""What PyTorch says; it has no exception of its own for that."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What asks a training to stop: its workers leave that to it."""


class Parcel:
    """A batch in shared memory, and where it is there: what a worker puts into PyTorch's queue.

    Left to itself, PyTorch moves a batch into shared memory in a thread of the queue. What goes wrong there is printed
    and forgotten, and the training process waits for ever. Here it goes wrong where the batch was made, as any error
    of a scene does.

    Raises:
        DataError: there is too little shared memory, or too many files are open.
    """

    def __init__(self, batch: Batch) -> None:
        num_bytes = sum(tensor.nbytes for tensor in batch.tensors)
        with explain_handing_over(f"a batch of {num_bytes / 2**20:.1f} MiB"):
            # What a worker opens: two for each tensor, the socket from which they are asked for, and a connection to
            # it. More would refuse what works.
            num_files = 2 * len(batch.tensors) + 2
            # Looked at before: without files that it can open, the thread that gives them away would write tracebacks.
            if resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(list(Path("/dev/fd").iterdir())) < num_files:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._content = bytes(ForkingPickler.dumps(batch))

    def open(self) -> Batch:
        """The batch; once, and not in the process that made it.

        Raises:
            DataError: too many files are open.
        """
        with explain_handing_over("a batch"):
            batch: Batch = pickle.loads(self._content)
        return batch

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; PyTorch's thread for that calls this."""
        return self.open().pin_memory()


def hand_over(batch: Any) -> Batch | Parcel:
    """What a loader passes on: from a worker to the training process a parcel."""
    return batch if get_worker_info() is None else Parcel(batch)


@contextmanager
def explain_handing_over(what: str = "batches") -> Iterator[None]:
    """Say what helps where processes can't share memory.

    Raises:
        DataError: in place of the error of the system, or of PyTorch.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "shared memory" not in str(error):
            raise
        many_files = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
        many_files = many_files or os.strerror(errno.EMFILE) in str(error)
        remedy = "allow more open files (ulimit -n)" if many_files else "give /dev/shm more room (docker: --shm-size)"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise DataError(
            f"{what} can't be handed over by the loading processes through shared memory ({reason}); {remedy}, lower "
            "data.num_workers, or use data.num_workers=0"
        ) from None


class WorkerWatch:
    """Which scene each worker is at: all that is left to know of one that dies.

    Args:
        folders: of the training scenes.
        num_workers: processes.
    """

    def __init__(self, folders: Sequence[Path], num_workers: int) -> None:
        self._folders = folders
        # For each worker its process and its scene.
        with explain_handing_over():
            self._at_work = torch.full((num_workers, 2), -1).share_memory_()

    def begins(self, scene_index: int) -> None:
        """Called by a worker before it reads a scene; does nothing in the training process."""
        worker = get_worker_info()
        if worker is not None:
            self._at_work[worker.id] = torch.tensor([os.getpid(), scene_index])

    @contextmanager
    def explain_death(self) -> Iterator[None]:
        """Say which scene a worker was at when it died. PyTorch may raise that anywhere, by a signal.

        Raises:
            DataError: in place of PyTorch's error.
        """
        try:
            yield
        except RuntimeError as error:
            # Where the loop was waiting for the worker, the signal stands in the cause.
            texts = (str(error.__cause__), str(error))
            death = next(filter(None, (re.match(_WORKER_DIED, text) for text in texts)), None)
            if death is None:
                raise
            pids = [int(pid) for pid in death[1].split(",")]
            scenes = [self._folders[scene] for pid, scene in self._at_work.tolist() if pid in pids]
            where = " and ".join(map(str, scenes)) or "before its first scene"
            raise DataError(
                f"{where}: the loading process that was at it (pid {death[1]}) {death[2].split('. ')[0].rstrip('. ')}; "
                "give it more memory (also in /dev/shm), lower data.num_workers, or see more with data.num_workers=0"
            ) from None


def end_workers(stream: Any) -> None:
    """End the workers of a ``DataLoader``'s iterator; once more, or where it has none, does nothing."""
    if hasattr(stream, "_shutdown_workers"):  # PyTorch's, which is not to be asked for otherwise
        stream._shutdown_workers()
        for worker in stream._workers:
            worker.kill()


def end_workers_with(loader: Any, stream: Any) -> None:
    """End the workers of ``stream`` when its loader is garbage, or when Python leaves.

    Python's own way is the SIGTERM that they leave to the trainer, and it would wait for them for ever.
    """
    # The last that is registered is the first to be called: before those who wait.
    atexit.register(weakref.finalize(loader, end_workers, stream))


def leave_stopping_to_the_trainer(worker: int) -> None:
    """A signal to a whole group of processes, as a terminal's, torchrun's or a cluster's, asks for a checkpoint first.

    Nor has a worker anything to say of a training process that is gone: the thread that gives files away would write a
    traceback.
    """
    trainer = multiprocessing.parent_process()
    if trainer is not None and os.getppid() != trainer.pid:
        os._exit(1)  # killed since it forked this: PyTorch would take whoever has adopted it for the trainer, and wait
    ignore_held(STOP_SIGNALS)
    tell = sys.excepthook

    def tell_what_is_not_its_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, (ConnectionError, EOFError)):
            tell(kind, error, trace)

    sys.excepthook = tell_what_is_not_its_end
