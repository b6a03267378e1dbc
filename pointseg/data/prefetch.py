"""Batches made ahead by a thread, on a GPU beside the training step."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch

from pointseg.data.batch import Batch

Work = TypeVar("Work")
Result = tuple[Batch, torch.cuda.Event | None] | BaseException | None
_POLL_S = 0.1


def prefetch(
    make: Callable[[Work], Batch], work: Iterable[Work], device: torch.device, num_ahead: int = 2
) -> Iterator[Batch]:
    """Yield ``make(item)`` of each item, in order. Closing the iterator ends the thread.

    On a GPU the thread has a stream of its own, so that its kernels need not wait for those of the training step; the
    caller's stream waits for a batch, and not the host.

    Args:
        make: called by the thread.
        work: iterated by the thread.
        device: where ``make`` computes.
        num_ahead: batches that are ready before they are asked for.

    Raises:
        Exception: what ``make`` or ``work`` raised.
    """
    thread = _Producer(make, work, device, num_ahead)
    thread.start()
    try:
        while (result := thread.ready.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            batch, event = result
            if event is not None:
                consumer = torch.cuda.current_stream(device)
                consumer.wait_event(event)
                # The allocator must not give the memory to the thread again before the consumer is done with it.
                for tensor in batch.tensors:
                    tensor.record_stream(consumer)
            yield batch
    finally:
        thread.closed.set()
        thread.join()
        if thread.stream is not None:
            # What the thread has used, as scenes and objects that are kept, may be freed from here on.
            torch.cuda.current_stream(device).wait_stream(thread.stream)


class _Producer(threading.Thread):
    """Puts (batch, event) after (batch, event) into ``ready``, then None or what went wrong."""

    def __init__(
        self, make: Callable[[Work], Batch], work: Iterable[Work], device: torch.device, num_ahead: int
    ) -> None:
        super().__init__(name="prefetch", daemon=True)
        self.make = make
        self.work = work
        self.ready: queue.Queue[Result] = queue.Queue(num_ahead)
        self.closed = threading.Event()
        self.stream = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)
            # On the stream of now, scenes may have been cached.
            self.stream.wait_stream(torch.cuda.current_stream(device))

    def run(self) -> None:
        try:
            with nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
                for item in self.work:
                    if self.closed.is_set():
                        return
                    batch = self.make(item)
                    self.hand_over((batch, None if self.stream is None else self.stream.record_event()))
            self.hand_over(None)
        except BaseException as error:
            self.hand_over(error)

    def hand_over(self, result: Result) -> None:
        while not self.closed.is_set():
            try:
                self.ready.put(result, timeout=_POLL_S)
                return
            except queue.Full:
                continue
