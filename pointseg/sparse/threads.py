"""Parts of one computation on the threads of the processor, each thread with its own cache and no waiting between.

Torch spreads each operation over all threads and joins them after it. A sparse convolution is thousands of short
operations, so the joins cost more than they bring, above all where data loading shares the cores. Here a thread
takes whole blocks through all their operations, and the threads meet once, at the end.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Result = TypeVar("Result")

# Beyond this the interpreter, which starts every operation, is the bottleneck.
_MAX_THREADS = 16
_pools: dict[int, ThreadPoolExecutor] = {}


def num_threads_on(device: torch.device) -> int:
    """How many threads share a computation: torch's number, within reason, on a CPU; one to drive an accelerator."""
    return min(torch.get_num_threads(), _MAX_THREADS) if device.type == "cpu" else 1


def run_parts(work: Callable[[int], Result], num_parts: int, device: torch.device) -> list[Result]:
    """``[work(0), ..., work(num_parts - 1)]``, computed on the threads, without recording gradients.

    Raises:
        Exception: what the first part that failed raised.
    """
    num_threads = num_threads_on(device)
    if num_parts == 1 or num_threads == 1:
        with torch.no_grad():
            return [work(part) for part in range(num_parts)]
    inference = torch.is_inference_mode_enabled()

    def run(part: int) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return work(part)

    return list(_pool(num_threads).map(run, range(num_parts)))


def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads in which torch's own operations run on that thread alone."""
    if num_threads not in _pools:
        torch_threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(num_threads, "sparse", initializer=_compute_alone)
        everyone = Barrier(num_threads)
        list(pool.map(lambda _: everyone.wait(), range(num_threads)))
        # The number is also the default of threads to come, such as those of other libraries: put it back.
        torch.set_num_threads(torch_threads)
        _pools[num_threads] = pool
    return _pools[num_threads]


def _compute_alone() -> None:
    # A thread takes over torch's default when it is first asked, and would do so later over the 1 set here.
    torch.get_num_threads()
    torch.set_num_threads(1)


# A forked process has a copy of the pools, but none of their threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)
