"""Streams, events and memory with vector clocks: who may still be using what (as in ``torch.cuda._sanitizer``).

A clock says of each stream how many of its operations are known to be done: stream id -> count.
"""

import itertools
import time
import weakref
from typing import Any, ClassVar

import torch

from tests.pretended_gpu.shim import load_shim
from tests.pretended_gpu.state import State, current_state, merge

DEVICE = torch.device("cuda", 0)


class Event:
    """As ``torch.cuda.Event``."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self.clock: dict[int, int] = {}
        self._is_timed = enable_timing
        self._seconds: float | None = None

    def record(self, stream: "Stream | None" = None) -> None:
        self.clock = dict((stream or current_stream()).clock)
        self._seconds = time.perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds; what is asked of a stream is done at once."""
        if not (self._is_timed and end._is_timed) or self._seconds is None or end._seconds is None:
            raise RuntimeError("both events must be recorded, and made with enable_timing=True")
        return 1000 * (end._seconds - self._seconds)

    def wait(self, stream: "Stream | None" = None) -> None:
        merge((stream or current_stream()).clock, self.clock)

    def synchronize(self) -> None:
        merge(current_state().host_clock(), self.clock)


class Stream:
    """As ``torch.cuda.Stream``, and the context manager that ``torch.cuda.stream`` makes of it."""

    ids: ClassVar["itertools.count[int]"] = itertools.count()
    all: ClassVar["weakref.WeakValueDictionary[int, Stream]"] = weakref.WeakValueDictionary()

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.stream_id = self.cuda_stream = next(self.ids)
        self.device = DEVICE
        self.clock: dict[int, int] = {}
        self.all[self.stream_id] = self

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        event.wait(self)

    def wait_stream(self, stream: "Stream") -> None:
        merge(self.clock, stream.clock)

    def synchronize(self) -> None:
        current_state().wait("synchronize", self.clock)

    def __enter__(self) -> None:
        self._before = load_shim().get_stream()
        load_shim().set_stream(self.stream_id)

    def __exit__(self, *_: object) -> None:
        load_shim().set_stream(self._before)


DEFAULT_STREAM = Stream()


def current_stream(device: Any = None) -> Stream:
    """Of this thread; autograd's threads take over that of the forward pass."""
    return Stream.all[load_shim().get_stream()]


def wait(kind: str) -> None:
    """The host waits for all that was asked of the current stream."""
    current_state().wait(kind, current_stream().clock)


class Memory:
    """A storage, and which stream used it when."""

    def __init__(self, state: State, storage: torch.UntypedStorage) -> None:
        self.state, self.storage, self.stream = state, storage, current_stream()
        self.written = (self.stream.stream_id, 0)
        self.read: dict[int, int] = {}
        self.recorded = {self.stream.stream_id}
        state.allocate(storage.nbytes())

    def __del__(self) -> None:
        self.state.allocated -= self.storage.nbytes()
        known = merge(dict(self.stream.clock), self.state.host_clock())
        for stream, tick in [self.written, *self.read.items()]:
            if stream not in self.recorded and known.get(stream, 0) < tick:
                self.state.races["freed, without record_stream, while another stream may use it", "?"] += 1


def take_turn(reads: set[Memory], writes: set[Memory]) -> None:
    """An operation on the current stream: a race, where another stream is not known to be done with what it needs."""
    state, stream = current_state(), current_stream()
    clock, own = merge(stream.clock, state.host_clock()), stream.stream_id
    tick = clock[own] = clock.get(own, 0) + 1
    for memory in reads | writes:
        before = [memory.written, *(memory.read.items() if memory in writes else ())]
        if any(clock.get(other, 0) < when for other, when in before):
            state.races["used before another stream was done with it", state.place()] += 1
        memory.read[own] = tick
    for memory in writes:
        memory.written, memory.read = (own, tick), {}
