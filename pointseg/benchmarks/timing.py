"""Measuring time: warm-up, medians, and rivals in turn, so that whatever else the machine does slows them alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

from pointseg.processes import set_num_threads

Measurement = Callable[[], float]
"""Does its work once and says how many seconds that took."""
Name = TypeVar("Name")


def stopwatch(work: Callable[[], object], device: torch.device) -> Measurement:
    """``work`` as a measurement; on a GPU the time until its last kernel is done."""

    def measure() -> float:
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        return time.perf_counter() - started

    return measure


def measure_in_turn(
    measurements: Mapping[Name, Measurement], num_repeats: int, num_warmups: int = 1
) -> dict[Name, float]:
    """The median seconds of each measurement.

    A round takes each of them once; every other round goes backwards, so that none always follows the same one.

    Raises:
        ValueError: there is no round to take the median of.
    """
    if num_repeats < 1:
        raise ValueError(f"a median needs at least one repeat, got {num_repeats}")
    names = list(measurements)
    for _ in range(num_warmups):
        for name in names:
            measurements[name]()
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    for turn in range(num_repeats):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds[name].append(measurements[name]())
    return {name: statistics.median(values) for name, values in seconds.items()}


def speedup(reference_s: float | None, own_s: float) -> float | None:
    """How many times as fast as the reference: above 1 is faster; None where there is no reference."""
    return None if reference_s is None else reference_s / own_s


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def limit_threads(num_threads: int | None) -> Iterator[int]:
    """Let PyTorch use so many CPU threads in this block, or as many as before for None; yield how many.

    What we compute with NumPy uses one, always.
    """
    before = torch.get_num_threads()
    set_num_threads(num_threads or 0, "--threads ")
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
