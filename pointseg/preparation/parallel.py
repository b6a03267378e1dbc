"""One function over many scenes in several processes, with a progress bar."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

from pointseg.commands import ignore_held, signals_held
from pointseg.cores import count_cores
from pointseg.errors import DataError, UsageError

Job = TypeVar("Job")
Result = TypeVar("Result")

_INTERRUPT = (signal.SIGINT,)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def map_scenes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, description: str
) -> Iterator[Result]:
    """Yield ``function(job)`` in the order of the jobs; the first exception ends it, and the jobs not yet begun.

    Args:
        function: a function of a module, so that other processes find it.
        jobs: what to do, picklable.
        workers: number of processes; 1 works in this one; None takes one a core.
        description: what the progress bar says. It is shown on a terminal only.

    Raises:
        UsageError: ``workers`` is below 1.
        DataError: a worker process died.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers can't do any work; give 1 or more, or leave the option out")
    num_workers = min(workers or count_cores(), len(jobs))
    bar = tqdm(total=len(jobs), desc=description, unit="scene", disable=None)
    with bar:
        for result in _run_jobs(function, jobs, num_workers):
            yield result
            bar.update()


def _run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], num_workers: int) -> Iterator[Result]:
    if num_workers <= 1:
        yield from map(function, jobs)
        return
    # Spawned, not forked: a fork copies locks that the threads of this process may hold.
    context = multiprocessing.get_context("spawn")
    try:
        with (
            _one_thread_each(),
            ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin_worker) as pool,
        ):
            with signals_held(_INTERRUPT):
                results = pool.map(function, jobs)  # starts the processes
            yield from results
    except BrokenProcessPool:
        raise DataError(
            f"one of {num_workers} worker processes died, most likely for lack of memory; "
            "run the same command again with a smaller --workers"
        ) from None


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes started in this block use one thread for linear algebra: they already share the cores."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end with it, also where it is killed."""
    ignore_held(_INTERRUPT)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # woken by the system, when the parent's end of a pipe is closed
    os._exit(1)
