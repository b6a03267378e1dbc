"""Scenes that several processes of a machine keep once, in memory that all of them map.

Each reads a share of them into a file that is memory and has no name (``memfd_create``); the others find it among its
open files. Nothing lies in /dev/shm, which in Docker has 64 MB, or on a disk. The memory is free again when the last
process has ended, however it ends.
"""

import mmap
import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from pointseg.data.points import PackedScene
from pointseg.processes import Processes, count_processes

MEMORY_NAME = "pointseg-scenes"
_ALIGNMENT_BYTES = 64


class _Place(NamedTuple):
    """Where a tensor lies in a file."""

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class _Share(NamedTuple):
    """What a process has read."""

    path: str
    scenes: dict[int, dict[str, Any]]
    """Index of a scene -> its parts, each tensor as a place in the file of this path."""


def read_once_a_machine(read: Callable[[int], PackedScene], num_scenes: int) -> list[PackedScene] | None:
    """Read all scenes, each on one process of every machine; all processes of the job call this.

    Args:
        read: index of a scene -> the scene, on the CPU.
        num_scenes: how many there are.

    Returns:
        The scenes, in memory that can't be written; None where no machine has two processes of the job that can share.

    Raises:
        PointsegError, OSError, SystemExit: as ``read``; see :meth:`pointseg.processes.Processes.together`.
    """
    processes = Processes(dist.get_rank(), count_processes(), torch.device("cpu"))
    rank, machine_of = processes.rank, processes.gather_objects(_describe_machine())
    if len(set(machine_of)) == len(machine_of):
        return None
    neighbours = [other for other, machine in enumerate(machine_of) if machine == machine_of[rank]]
    file = os.memfd_create(MEMORY_NAME)
    try:
        mine = range(neighbours.index(rank), num_scenes, len(neighbours))
        with processes.together():
            own = _read_share(file, read, mine)
        shares = processes.gather_objects(own)
        scenes = {index: scene for other in neighbours for index, scene in _map_share(shares[other]).items()}
        dist.barrier()  # before the others have opened it, the file must not be closed
    finally:
        os.close(file)
    return [scenes[index] for index in range(num_scenes)]


def _describe_machine() -> object:
    """Equal for two processes that find each other in ``/proc``, unlike those of two containers of one machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return boot, Path("/proc/self/ns/pid").stat().st_ino, os.geteuid()
    except OSError:  # no Linux: each for itself
        return socket.gethostname(), os.getpid()


def _read_share(file: int, read: Callable[[int], PackedScene], indices: range) -> _Share:
    scenes = {}
    with open(file, "wb", closefd=False) as memory:
        for index in indices:
            scene, parts = read(index), {}
            for field in fields(scene):
                part = getattr(scene, field.name)
                if isinstance(part, torch.Tensor):
                    memory.write(bytes(-memory.tell() % _ALIGNMENT_BYTES))
                    place = _Place(memory.tell(), part.dtype, tuple(part.shape))
                    memory.write(part.numpy().tobytes())
                    part = place
                parts[field.name] = part
            scenes[index] = parts
    return _Share(f"/proc/{os.getpid()}/fd/{file}", scenes)


def _map_share(share: _Share) -> dict[int, PackedScene]:
    """What another process has read, or this one, in the memory where it lies."""
    if not share.scenes:
        return {}
    with open(share.path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def rebuild(parts: dict[str, Any]) -> PackedScene:
        views = {name: _view(memory, part) for name, part in parts.items() if isinstance(part, _Place)}
        return PackedScene(**{**parts, **views})

    return {index: rebuild(parts) for index, parts in share.scenes.items()}


def _view(memory: mmap.mmap, place: _Place) -> torch.Tensor:
    count = torch.Size(place.shape).numel()
    if count == 0:
        return torch.empty(place.shape, dtype=place.dtype)
    with warnings.catch_warnings():
        # Nobody writes into a scene that is kept; the system would end a process that did.
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return torch.frombuffer(memory, dtype=place.dtype, count=count, offset=place.offset).view(place.shape)
