"""Two processes of a job that do one thing after another, so that tests need not wait for PyTorch to be imported."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as LateError
from multiprocessing import get_context
from typing import Any

import torch

from pointseg.errors import PointsegError
from tests.conftest import free_ports


class Ranks:
    """Calls ``function(rank, *arguments)`` in both processes at once. They end with :meth:`close`, hung or not."""

    def __init__(self) -> None:
        self._pools: list[ProcessPoolExecutor] = []

    def run(self, function: Callable[..., Any], *arguments: Any, timeout_s: float = 120) -> list[Any]:
        """What each returned, or ``KIND: line`` of its PointsegError.

        Raises:
            AssertionError: one did not end in time.
        """
        if not self._pools:
            self._pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(2)]
        port = free_ports(1)[0]
        futures = [pool.submit(_run, rank, port, function, arguments) for rank, pool in enumerate(self._pools)]
        try:
            return [future.result(timeout_s) for future in futures]
        except LateError:
            states = ["ended" if future.done() else "hangs" for future in futures]
            self.close()
            raise AssertionError(f"process 0 {states[0]}, process 1 {states[1]} after {timeout_s} s") from None

    def close(self) -> None:
        for pool in self._pools:
            for process in list(pool._processes.values()):
                process.kill()
            pool.shutdown()
        self._pools = []


def _run(rank: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    try:
        return function(rank, *arguments)
    except PointsegError as error:
        return f"{type(error).__name__}: {error}"
