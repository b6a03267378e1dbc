"""The processes that make scenes ready: what they leave to the training process, and what is known of one that dies."""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.data import get_worker_info

from pointseg.errors import DataError

_WORKER_DIED = r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)"
"""What PyTorch says; it has no exception of its own for that."""


class WorkerWatch:
    """Which scene each worker is at: all that is left to know of one that dies.

    Args:
        folders: of the training scenes.
        num_workers: processes.
    """

    def __init__(self, folders: Sequence[Path], num_workers: int) -> None:
        self._folders = folders
        # For each worker its process and its scene.
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


def leave_stopping_to_the_trainer(worker: int) -> None:
    """A SIGTERM to a whole group of processes, as torchrun's or a cluster's, asks for a checkpoint first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
