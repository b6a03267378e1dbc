"""What is found while a program runs on the pretended GPU: waits, races, memory."""

import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

_HERE = str(Path(__file__).parent)
_NOT_THE_PROGRAM = (_HERE, "/torch/", "/threading.py", "/contextlib.py")
_active: "list[State]" = []


class State:
    """Of one pretended GPU.

    Attributes:
        waits: (thread, kind, file:line) -> how often the host waited; ``autograd`` where no line of the program did.
        races: (kind, file:line) -> how often a stream used what another may still have been using.
        pageable: file:line -> asynchronous copies from memory that is not page-locked.
        operations: (name, types of its tensors) -> how often it ran on the GPU.
        allocated, peak: bytes of tensors, now and at most; of ``capacity``, where that is not None.
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity, self.allocated, self.peak = capacity, 0, 0
        self.sync_debug_mode: str | int = "default"
        self.pid = os.getpid()
        self.waits: Counter[tuple[str, str, str]] = Counter()
        self.races: Counter[tuple[str, str]] = Counter()
        self.pageable: Counter[str] = Counter()
        self.operations: Counter[tuple[str, str]] = Counter()
        self._local = threading.local()

    def allocate(self, num_bytes: int) -> None:
        """Count memory, and refuse what there is none for."""
        self.allocated += num_bytes
        self.peak = max(self.peak, self.allocated)
        if self.capacity is not None and self.allocated > self.capacity:
            raise torch.cuda.OutOfMemoryError(f"CUDA out of memory. ({self.allocated} of {self.capacity} bytes)")

    def host_clock(self) -> dict[int, int]:
        """What this thread has waited for."""
        return self._local.__dict__.setdefault("clock", {})

    def wait(self, kind: str, clock: Mapping[int, int]) -> None:
        """The host waits until what the clock counts is done; ``torch.cuda.set_sync_debug_mode`` has its say."""
        merge(self.host_clock(), clock)
        place, message = self.place(), f"called a synchronizing CUDA operation ({kind})"
        self.waits[threading.current_thread().name, kind, place] += 1
        if self.sync_debug_mode in ("warn", 1):
            file, line = place.rsplit(":", 1)
            warnings.warn_explicit(message, UserWarning, file, int(line))
        elif self.sync_debug_mode in ("error", 2):
            raise RuntimeError(message)

    def place(self) -> str:
        """The innermost line of the program."""
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if not any(part in name for part in _NOT_THE_PROGRAM):
                return f"{name}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return "autograd:0"

    def report(self) -> Iterator[str]:
        """What was found, in lines."""
        yield f"peak {self.peak / 2**20:.1f} MiB, {sum(self.operations.values())} operations"
        for title, counter in (("race", self.races), ("wait", self.waits), ("pageable", self.pageable)):
            yield from (f"{title} {times:6d} x {key}" for key, times in counter.most_common())


def current_state() -> State:
    """Of the GPU that is pretended now."""
    return _active[-1]


def activate(state: State) -> None:
    """Make it the current one."""
    _active.append(state)


def merge(clock: dict[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """Let the first clock know what the second does."""
    for stream, tick in list(other.items()):
        clock[stream] = max(clock.get(stream, 0), tick)
    return clock
